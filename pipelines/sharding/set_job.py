"""One set of shards, from its listing to its manifest, in whatever state its folder is found."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from ..errors import PipelineError, ShardingError
from ..modality import find_modality
from ..order.curve_rates import joined_rates
from ..storage.label_table import LabelTable
from ..storage.listing import Listing
from ..storage.manifest import Manifest, ShardColumns
from ..storage.walk import Failure
from .attached_records import AttachedRecords, earlier_of
from .attached_settings import ATTACHED, with_part
from .engines import Engine, make_engine
from .findings import Findings, joined_findings
from .label_counting import class_labels, joined_labels
from .packing import example_key
from .packing_state import PackingState, hold_folder_of_shards
from .plan import Plan, PlannedFile
from .progress_bar import Progress
from .resume_decision import Decision, complete_manifest, decide
from .settings import PackSettings
from .shard_job import ShardTask
from .source_place import SourceUrl
from .source_reader import PackingStoppedError
from .survey import FoundSet
from .wording import counted, joined, printable

__all__ = ["Manner", "SetReport", "pack_set", "strict_error"]


@dataclass(frozen=True)
class Manner:
    """How a set is made, none of which decides its bytes: see `make_shards`. `stream` shows the progress."""

    workers: int
    strict: bool
    append: bool
    overwrite: bool
    stream: TextIO | None


@dataclass(frozen=True)
class SetReport:
    """What is in one folder of shards now, and what of its source could not be packed.

    `new_shards` were made by this call, in `seconds`; `was_complete` says that there was nothing to do. `is_cut` says
    that a file may be several examples.
    """

    modality: str
    out: Path
    examples: int
    shards: int
    bytes: int
    new_shards: int
    was_complete: bool
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]
    seconds: float
    is_cut: bool


def pack_set(found: FoundSet, settings: PackSettings, manner: Manner) -> SetReport:
    """Make the shards of one modality, continue making them, or leave them alone. Raises as `make_shards` does."""
    began = time.monotonic()
    manifest = None if manner.overwrite else complete_manifest(found.out, found.listing, settings)
    new_shards, was_complete, notes, before = 0, manifest is not None, tuple[str, ...](), frozenset[str]()
    if manifest is None:
        _make_folder(found.out)
        try:
            with hold_folder_of_shards(found.out):
                state = PackingState(found.out)
                state.refuse_links()
                decision = decide(state, found.listing, settings, append=manner.append, overwrite=manner.overwrite)
                was_complete = decision.plan is None
                if decision.base is not None and not was_complete:
                    before = frozenset(decision.base.remarks)
                if decision.gone:
                    gone = counted(decision.gone, f"packed {find_modality(found.modality).noun}")
                    notes = (f"{gone} no longer in the folder: kept in the shards. --overwrite leaves them out.",)
                job = _Job(found.source, state, found.listing, decision, make_engine(manner.workers))
                notes += job.attach(strict=manner.strict)
                new_shards = job.pack(manner.stream)
                manifest = job.finish(strict=manner.strict)
        except OSError as error:
            reason = error.strerror or str(error)
            raise PackingStoppedError(
                f"{found.out}: cannot be written to ({reason}). Finished shards are kept; repair it and run again."
            ) from error
    failures = tuple(Failure(failure["path"], failure["reason"]) for failure in manifest.failures)
    if manner.strict and failures:
        raise strict_error(failures)
    media = find_modality(found.modality)
    new_remarks = (remark for remark in manifest.remarks if remark not in before)
    notes = (*new_remarks, *notes, *(f"Earlier: {remark}" for remark in manifest.remarks if remark in before))
    notes += tuple(
        f"{name}: {joined([f'{float(rate):g}' for rate in rates], 'and')} rows per second; iterators take one rate: "
        f"give all {media.plural} one {media.rate_setting}."
        for name, rates in manifest.curve_rates.items()
        if len(rates) > 1
    )
    return SetReport(
        modality=found.modality,
        out=found.out,
        examples=manifest.examples,
        shards=len(manifest.shards.name),
        bytes=sum(manifest.shards.bytes),
        new_shards=new_shards,
        was_complete=was_complete,
        failures=failures,
        notes=notes,
        seconds=time.monotonic() - began,
        is_cut=settings.media.cuts,
    )


class _Job:
    """Carries a plan out in a folder whose lock is held."""

    def __init__(
        self, source: Path | SourceUrl, state: PackingState, listing: Listing, decision: Decision, engine: Engine
    ) -> None:
        self._source, self._state, self._listing, self._engine = source, state, listing, engine
        self._plan, self._base = decision.plan, decision.base
        self._records: AttachedRecords | None = None
        self._results = {} if self._plan is None else state.finished(self._plan)

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
        with self._state.scratch() as scratch, Progress(total, done, stream=stream, noun=noun) as progress:
            tasks = (ShardTask(shards[number], self._source, scratch, settings, store) for number in missing)
            for result in self._engine.run(tasks, progress.on_file):
                self._state.publish(result, scratch)
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
        manifest = self._manifest(self._plan, failures, findings)
        if not manifest.examples:
            self._state.wipe()
            noun = find_modality(self._plan.settings.modality).noun
            raise PackingStoppedError(
                f"{self._source}: none of its {counted(len(failures), noun)} can be "
                f"packed: {printable(failures[0].path)} is refused: {failures[0].reason}.",
                failures,
            )
        self._state.finish(manifest, self._names(self._plan), kept=self._base.examples if self._base else 0)
        return manifest

    def _names(self, plan: Plan) -> Iterator[tuple[str, str]]:
        """Key and original path of every new example, in the order of the shards."""
        cuts = plan.settings.media.cuts
        for planned, num in self._packed_files(plan):
            for piece in range(num):
                yield example_key(planned.key, piece if cuts else None), planned.file.path

    def _packed_files(self, plan: Plan) -> Iterator[tuple[PlannedFile, int]]:
        """Every file of the plan, in the order of the shards, and how many examples it became."""
        for shard in plan.shards:
            result = self._results[shard.number]
            unpacked = {failure.path for failure in result.failures}
            for number, planned in enumerate(shard.files):
                is_packed = planned.file.path not in unpacked
                yield planned, result.pieces[number] if plan.settings.media.cuts else int(is_packed)

    def _labels(self, plan: Plan, found: Findings) -> LabelTable | None:
        """What labels mean: categories of objects, or else sub-folders."""
        known = None if self._base is None else self._base.labels
        defined = () if self._records is None else self._records.labels
        if defined or found.labels or not plan.classes:
            return joined_labels(known, defined, found.labels)
        counts: dict[int, int] = {}
        for planned, num in self._packed_files(plan):
            if planned.label is not None:
                counts[planned.label] = counts.get(planned.label, 0) + num
        return class_labels(known, plan.classes, counts)

    def _manifest(self, plan: Plan, failures: tuple[Failure, ...], findings: Findings) -> Manifest:
        old = self._base.shards if self._base else ShardColumns()
        made = [result.summary for _, result in sorted(self._results.items()) if result.summary.examples]
        columns = ShardColumns(
            name=old.name + [summary.name for summary in made],
            examples=old.examples + [summary.examples for summary in made],
            bytes=old.bytes + [summary.bytes for summary in made],
            sha256=old.sha256 + [summary.sha256 for summary in made],
            index_hash=old.index_hash + [summary.index_hash for summary in made],
            frames_hash=old.frames_hash + [summary.frames_hash for summary in made],
        )
        kept = [self._base.curve_rates] if self._base else []
        return Manifest(
            modality=plan.settings.modality,
            shards=columns,
            listing=plan.listing,
            settings=self._settings(plan, has_part=bool(made)),
            curve_rates=joined_rates([*kept, *(result.curve_rates for result in self._results.values())]),
            failures=[{"path": failure.path, "reason": failure.reason} for failure in failures],
            labels=self._labels(plan, findings),
            remarks=self._remarks(findings),
        )

    def _settings(self, plan: Plan, *, has_part: bool) -> dict[str, Any]:
        """Those of the manifest; annotation files and a table with which nothing was added are not among them."""
        classes = {"classes": plan.classes} if plan.classes else {}
        own = {**plan.settings.describe(), **classes}
        if self._base is None:
            return own
        if has_part:
            return with_part(self._base.settings, own)
        kept = {name: value for name, value in self._base.settings.items() if name.startswith(ATTACHED)}
        return {name: value for name, value in own.items() if name not in ATTACHED} | kept

    def _remarks(self, findings: Findings) -> list[str]:
        """What is odd about annotations: in the set that stays, in the annotation files, and in what was packed."""
        found = [] if self._base is None else list(self._base.remarks)
        found += () if self._records is None else (*self._records.faults, *self._records.lasting)
        return list(dict.fromkeys([*found, *(remark.sentence() for remark in findings.remarks)]))


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ShardingError(f"{out}: cannot be made ({error.strerror}). Name another folder with --out.") from error


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
