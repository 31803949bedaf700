"""One set of shards, from its listing to its manifest, in whatever state its folder is found."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from ..errors import PipelineError
from ..modality import Modality, find_modality
from ..storage.manifest import Manifest
from ..storage.walk import Failure
from .attached_records import AttachedRecords, earlier_of
from .disk_space import check_free_bytes
from .findings import joined_findings
from .foretelling import bytes_to_write
from .manner import Manner
from .packing_state import PackingState
from .places import place_of
from .plan import Plan
from .progress_bar import Progress
from .resume_decision import Decision, complete_manifest, decide
from .retrying import retried_note
from .set_contents import PackedSet
from .settings import PackSettings
from .shard_job import ShardResult, ShardTask
from .source_reader import PackingStoppedError
from .survey import FoundSet
from .wording import counted, joined, printable

if TYPE_CHECKING:
    from .engines import Engine
    from .source_bucket import SourceUrl

__all__ = ["SetReport", "pack_set", "strict_error"]


@dataclass(frozen=True)
class SetReport:
    """What is in one folder or bucket (`out` is its URL) now, and what of its source could not be packed.

    `new_shards` were made by this call, in `seconds`; `was_complete` says that there was nothing to do. `is_cut` says
    that a file may be several examples.
    """

    modality: str
    out: Path | str
    examples: int
    shards: int
    bytes: int
    new_shards: int
    was_complete: bool
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    seconds: float
    is_cut: bool


def pack_set(found: FoundSet, settings: PackSettings, manner: Manner, engine: Engine) -> SetReport:
    """Make the shards of one modality, continue making them, or leave them alone. Raises as `make_shards` does."""
    began = time.monotonic()
    engine.prepare(settings)
    place = place_of(found.out, manner.storage_options)
    state = PackingState(place)
    manifest = complete_manifest(state, found.listing, settings, manner.asked)
    new_shards, was_complete, notes, before = 0, manifest is not None, tuple[str, ...](), frozenset[str]()
    if manifest is None:
        try:
            with place.hold():
                decision = decide(state, found.listing, settings, manner.asked)
                decision.prepare(state)
                was_complete = decision.plan is None
                if decision.base is not None and not was_complete:
                    before = frozenset(decision.base.remarks)
                if decision.gone:
                    gone = counted(decision.gone, f"packed {find_modality(found.modality).noun}")
                    notes = (f"{gone} no longer in the folder: kept in the shards. --overwrite leaves them out.",)
                finished = {} if decision.plan is None else state.finished(decision.plan)
                _check_room(found, decision.plan, finished, state)
                job = _Job(found.source, state, decision, finished, engine)
                notes += job.attach(strict=manner.strict)
                new_shards = job.pack(manner.stream)
                manifest = job.finish(strict=manner.strict)
                if manner.asked.retry_failed and decision.base is not None and decision.base.failures:
                    notes += (retried_note(decision.base, manifest),)
        except OSError as error:
            reason = error.strerror or str(error)
            raise PackingStoppedError(
                f"{found.out}: cannot be written to ({reason}). Finished shards are kept; repair it and run again."
            ) from error
    failures = tuple(Failure(failure["path"], failure["reason"]) for failure in manifest.failures)
    if manner.strict and failures:
        raise strict_error(failures)
    return SetReport(
        modality=found.modality,
        out=found.out,
        examples=manifest.examples,
        shards=len(manifest.shards.name),
        bytes=sum(manifest.shards.bytes),
        new_shards=new_shards,
        was_complete=was_complete,
        failures=failures,
        notes=tuple(_all_notes(manifest, find_modality(found.modality), notes, before)),
        seconds=time.monotonic() - began,
        is_cut=settings.media.cuts,
    )


def _all_notes(manifest: Manifest, media: Modality, notes: Iterable[str], before: Collection[str]) -> Iterator[str]:
    """The notes of a run between new and earlier remarks of the manifest; then fields of which the rates differ."""
    yield from (remark for remark in manifest.remarks if remark not in before)
    yield from notes
    yield from (f"Earlier: {remark}" for remark in manifest.remarks if remark in before)
    for name, rates in manifest.curve_rates.items():
        if len(rates) > 1:
            numbers = joined([f"{float(rate):g}" for rate in rates], "and")
            yield (
                f"{name}: {numbers} rows per second; iterators take one rate: give all {media.plural} one "
                f"{media.rate_setting}."
            )


def _check_room(found: FoundSet, plan: Plan | None, finished: Collection[int], state: PackingState) -> None:
    """Raise `PackingStoppedError`, before anything is packed, where the disk has no room for files kept as they are."""
    if plan is None or not plan.settings.media.keeps_files or not isinstance(found.out, Path):
        return
    try:
        check_free_bytes(found.out, bytes_to_write(plan, finished))
    except PackingStoppedError:
        state.forget_if_nothing_is_finished()
        raise


class _Job:
    """Carries a plan out in a folder whose lock is held."""

    def __init__(
        self,
        source: Path | SourceUrl,
        state: PackingState,
        decision: Decision,
        finished: Mapping[int, ShardResult],
        engine: Engine,
    ) -> None:
        self._source, self._state, self._listing, self._engine = source, state, decision.listing, engine
        self._plan, self._base = decision.plan, decision.base
        self._records: AttachedRecords | None = None
        self._results = dict(finished)

    def attach(self, *, strict: bool) -> tuple[str, ...]:
        """Read annotations and tables, if there are any; returns sentences on what is worth knowing.

        With `strict`, raises `PackingStoppedError` where something is wrong with them.
        """
        if self._plan is None or not self._plan.settings.attachments:
            return ()
        attachments, files = self._plan.settings.attachments, self._listing.columns.paths
        try:
            self._engine.begin(len(self._plan.stops) - len(self._results))
            new = {one.file.path for one in self._plan.files} if self._base else set[str]()
            earlier = earlier_of(self._base, attachments, files, new)
            self._records = self._state.attach_records(attachments, files, earlier)
            if strict and self._records.faults:
                raise annotations_error(self._records.faults)
        except BaseException as error:
            self._engine.end()
            if isinstance(error, PipelineError):
                self._state.forget_if_nothing_is_finished()
            raise
        return self._records.notes

    def pack(self, stream: TextIO | None) -> int:
        """Make the shards that are not finished; returns how many that were."""
        if self._plan is None:
            return 0
        store = None if self._records is None else self._records.store
        shards, total, settings = self._plan.numbered, len(self._plan.files), self._plan.settings
        missing = [number for number in shards if number not in self._results]
        counts = {number: shards.num_files(number) for number in missing}
        done, noun = total - sum(counts.values()), find_modality(settings.modality).plural
        with self._state.scratch() as target, Progress(total, done, stream=stream, noun=noun) as progress:
            tasks = (ShardTask(shards[number], self._source, target, settings, store) for number in missing)
            for result in self._engine.run(tasks, progress.on_file):
                self._state.publish(result)
                self._results[result.number] = result
                progress.on_shard(result.number, counts[result.number])
        return len(missing)

    def finish(self, *, strict: bool) -> Manifest:
        """Write names and manifest. With `strict` and failures, raises and leaves the set unfinished."""
        if self._plan is None:
            assert self._base is not None
            return self._base
        found = [failure for result in self._results.values() for failure in result.failures]
        failures = tuple(sorted([*self._listing.failures, *found]))
        if strict and failures:
            raise strict_error(failures)
        findings = joined_findings(result.findings for _, result in sorted(self._results.items()))
        if strict and findings.remarks:
            raise annotations_error(tuple(remark.sentence() for remark in findings.remarks))
        packed = PackedSet(self._plan, self._base, self._results, self._records)
        manifest = packed.manifest(failures, findings)
        if not manifest.examples:
            self._state.wipe()
            noun = find_modality(self._plan.settings.modality).noun
            raise PackingStoppedError(
                f"{self._source}: none of its {counted(len(failures), noun)} can be "
                f"packed: {printable(failures[0].path)} is refused: {failures[0].reason}.",
                failures,
            )
        self._state.finish(manifest, packed.names(), kept=self._base.examples if self._base else 0)
        return manifest


def annotations_error(sentences: tuple[str, ...]) -> PackingStoppedError:
    """What strict runs end with where something is wrong with annotations or a table."""
    return PackingStoppedError("\n  ".join(("Repair this, or continue without --strict:", *sentences)))


def strict_error(failures: tuple[Failure, ...]) -> PackingStoppedError:
    """What strict runs end with where files cannot be packed."""
    return PackingStoppedError(
        f"{counted(len(failures), 'file')} cannot be packed. Repair or remove what is listed, "
        "or continue without --strict.",
        failures,
    )
