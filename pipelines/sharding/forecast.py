"""make_shards --dry-run: what a run would do, how many bytes it would write, and how long that takes.

Nothing is written to the folder of shards, and nothing is removed from it. A sample of the files is packed into a
folder for temporary files, to measure the time; the tables of annotations are built there too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Unpack

from ..child_process import end_idle_children, usable_cores
from ..errors import PipelineError
from ..storage.walk import Failure
from .attached_records import attach_records, earlier_of, open_store
from .disk_space import check_free_bytes, free_bytes
from .engines import make_engine
from .foretelling import bytes_to_write, shard_bytes
from .manner import Manner, manner_of
from .packing_state import PackingState
from .places import place_of
from .plan import Plan, PlannedFiles
from .request import PackRequest
from .resume_decision import Decision, complete_manifest, decide
from .settings import PackOptions, PackSettings, known_settings
from .shard_job import ShardResult, ShardTask
from .shard_target import FolderTarget
from .source_job import found_work, unusable_places
from .source_reader import PackingStoppedError
from .survey import FoundSet
from .temporary_disk import temporary_folder
from .time_sample import SampleTimes, sample_times

__all__ = ["Forecast", "SetForecast", "forecast_shards"]

Action = Literal["new", "continue", "append", "retry", "again", "nothing", "refused"]


@dataclass(frozen=True)
class SetForecast:
    """What would be done about the set of one modality.

    `action` is "new", "continue" (a run that was interrupted), "append", "retry", "again" (with overwrite), "nothing"
    or "refused", for the reason `refusal`. `files` would be packed into `new_shards`, of `new_bytes` together; the set
    would then have `shards` and `bytes`. `is_exact` says that the bytes are those of the run, if every file can be
    packed; else they are estimated from a sample of `sample_files`. `seconds` of the run are estimated from it,
    with the time for looking through the source. `finished_shards` are those of the run that is continued, `failures`
    what is known not to be packable. `free_bytes` of the disk are None where they are not known. `would_stop` is
    True if the run would raise `PackingStoppedError`, as for a full disk, and not refuse the settings.
    """

    modality: str
    out: Path | str
    action: Action
    files: int = 0
    new_shards: int = 0
    new_bytes: int = 0
    shards: int = 0
    bytes: int = 0
    is_exact: bool = True
    seconds: float = 0.0
    sample_files: int = 0
    finished_shards: int = 0
    free_bytes: int | None = None
    failures: tuple[Failure, ...] = ()
    refusal: str = ""
    would_stop: bool = False


@dataclass(frozen=True)
class Forecast:
    """What `make_shards` would do: a forecast for each set, files passed over, remarks, and worker processes."""

    sets: tuple[SetForecast, ...]
    skipped: int
    notes: tuple[str, ...]
    workers: int


def forecast_shards(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    only: str | None = None,
    workers: int | None = None,
    strict: bool = False,
    append: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "processes",
    ray_address: str | None = None,
    **options: Unpack[PackOptions],
) -> Forecast:
    """Say what `make_shards` would do with these arguments, which are explained there. Nothing is packed.

    Files, shards and, where files are packed as they are, bytes are those of the run. The rest is estimated by packing
    a sample for about two seconds into a folder for temporary files: on this machine, also where Ray is to pack. For as
    many `workers` as it has CPUs, name their number; this machine's cores are counted otherwise.

    Raises what `make_shards` raises before it looks at the folder of a set; what it raises for one is in its forecast.
    """
    began = time.monotonic()
    request = PackRequest(
        source=source,
        out=out,
        only=only,
        workers=workers,
        strict=strict,
        append=append,
        overwrite=overwrite,
        retry_failed=retry_failed,
        storage_options=storage_options,
        engine=engine,
        ray_address=ray_address,
        options=options,
    )
    known, manner = known_settings(options), manner_of(request)
    if engine == "ray" and not manner.workers:
        manner = replace(manner, workers=usable_cores())
    try:
        with unusable_places(request):
            work = found_work(request, known, manner)
            listed = (time.monotonic() - began) / len(work.found.sets)
            sets = tuple(_forecast(one, work.settings[one.modality], manner, listed) for one in work.found.sets)
    finally:
        end_idle_children()
    return Forecast(sets, work.found.skipped, work.notes, manner.workers)


def _forecast(found: FoundSet, settings: PackSettings, manner: Manner, listed: float) -> SetForecast:
    """The forecast for one set; a refusal is one, too."""
    state = PackingState(place_of(found.out, manner.storage_options))
    try:
        manifest = complete_manifest(state, found.listing, settings, manner.asked)
        if manifest is not None:
            return _nothing(found, Decision(None, manifest, found.listing))
        decision = decide(state, found.listing, settings, manner.asked)
        if decision.plan is None:
            return _nothing(found, decision)
        with temporary_folder() as scratch:
            return _of_plan(found, state, decision, decision.plan, manner, scratch, listed)
    except PipelineError as error:
        stops = isinstance(error, PackingStoppedError)
        return SetForecast(found.modality, found.out, "refused", refusal=str(error), would_stop=stops)


def _nothing(found: FoundSet, decision: Decision) -> SetForecast:
    assert decision.base is not None
    columns = decision.base.shards
    return SetForecast(
        found.modality,
        found.out,
        "nothing",
        shards=len(columns.name),
        bytes=sum(columns.bytes),
        free_bytes=free_bytes(found.out),
        failures=tuple(Failure(one["path"], one["reason"]) for one in decision.base.failures),
    )


def _of_plan(
    found: FoundSet,
    state: PackingState,
    decision: Decision,
    plan: Plan,
    manner: Manner,
    scratch: Path,
    listed: float,
) -> SetForecast:
    """The forecast for a set of which shards are to be made."""
    finished = {} if decision.begins is not None else state.finished(plan)
    records = _records(plan, decision, scratch)
    store = None if records is None else open_store(records)
    missing = [number for number in plan.numbered if number not in finished]
    files = plan.numbered.files_of(missing)
    foretold = shard_bytes(plan, missing, found.source, store)
    task = (
        ShardTask(next(plan.shards), found.source, FolderTarget(scratch, scratch), plan.settings, records)
        if files
        else None
    )
    sample = None if task is None else _sample(task, files, manner)
    is_exact = plan.settings.media.keeps_files and (sample is None or sample.is_as_foretold)
    new_bytes = foretold if is_exact or sample is None else round(foretold * sample.size_ratio)
    kept, kept_bytes = _kept(decision, finished)
    if is_exact and isinstance(found.out, Path):
        check_free_bytes(found.out, bytes_to_write(plan, finished))
    return SetForecast(
        modality=found.modality,
        out=found.out,
        action=_action(decision, manner),
        files=len(files),
        new_shards=len(missing),
        new_bytes=new_bytes,
        shards=kept + len(missing),
        bytes=kept_bytes + new_bytes,
        is_exact=is_exact,
        seconds=listed + (sample.seconds(files, len(missing), new_bytes, manner.workers) if sample else 0.0),
        sample_files=0 if sample is None else sample.files,
        finished_shards=len(finished),
        free_bytes=free_bytes(found.out),
        failures=tuple(sorted({*decision.listing.failures, *_failures(finished)})),
    )


def _sample(task: ShardTask, files: PlannedFiles, manner: Manner) -> SampleTimes:
    """A sample packed by processes of this machine, no more than it has cores where a cluster is to pack."""
    workers = min(manner.workers, usable_cores()) if manner.engine == "ray" else manner.workers
    return sample_times(task, files, make_engine(workers), workers)


def _records(plan: Plan, decision: Decision, scratch: Path) -> Path | None:
    """The store of what annotations and tables say, made in a temporary folder; None without."""
    attachments = plan.settings.attachments
    if not attachments:
        return None
    paths, new = decision.listing.columns.paths, set(plan.files.columns.paths) if decision.base else set[str]()
    earlier = earlier_of(decision.base, attachments, paths, new)
    return attach_records(scratch, attachments, paths, earlier).store


def _kept(decision: Decision, finished: Mapping[int, ShardResult]) -> tuple[int, int]:
    """Shards, and their bytes, that are there and stay."""
    made = [result.summary for result in finished.values() if result.summary.examples]
    base = None if decision.base is None else decision.base.shards
    shards = len(made) + (0 if base is None else len(base.name))
    return shards, sum(summary.bytes for summary in made) + (0 if base is None else sum(base.bytes))


def _failures(finished: Mapping[int, ShardResult]) -> list[Failure]:
    return [failure for result in finished.values() for failure in result.failures]


def _action(decision: Decision, manner: Manner) -> Action:
    if decision.begins is None:
        return "continue"
    if decision.clears == "all":
        return "again"
    if decision.base is None:
        return "new"
    return "append" if manner.asked.append else "retry"
