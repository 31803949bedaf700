"""The work of one process: the files of one planned shard, read, checked and written.

What comes out is a function of the task alone. A file that cannot be used is left out with its reason;
anything wrong with the disk, or a source that changes meanwhile, stops the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

from ..order.curve_rates import CurveRates, joined_rates
from ..storage.walk import Failure
from .packing import example_key
from .plan import PlannedFile, PlannedShard
from .settings import PackSettings
from .shard_file import ShardFile, ShardSummary, encode_example
from .source_reader import PackingStoppedError, SourceReader, UnpackableError
from .writer import shard_name

__all__ = ["ShardResult", "ShardTask", "pack_shard"]


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A planned shard, where its files are, and where it is to be written, complete with its index.

    `crashed` has the numbers in the shard of files whose reader ends its process, each with how it ended.
    """

    shard: PlannedShard
    source: Path
    target: Path
    settings: PackSettings
    crashed: dict[int, str] = field(default_factory=dict)

    def without(self, number: int, reason: str) -> ShardTask:
        """The same task, with one file counted as a failure unread."""
        return replace(self, crashed={**self.crashed, number: reason})


@dataclass(frozen=True, slots=True)
class ShardResult:
    """A shard in `ShardTask.target`, or none there if `summary.examples` is 0; and what was left out.

    `pieces` says for each file of the shard how many examples it became; empty where files are not cut.
    `curve_rates` are those of the fields that were computed.
    """

    number: int
    summary: ShardSummary
    failures: tuple[Failure, ...]
    pieces: tuple[int, ...] = ()
    curve_rates: CurveRates = field(default_factory=dict)


def pack_shard(task: ShardTask, on_file: Callable[[int], None]) -> ShardResult:
    """Write one shard. `on_file` gets the number in the shard of every file before it is opened.

    Raises `PackingStoppedError` where the shard cannot be written or the source has changed since it was
    listed.
    """
    settings, shard_number = task.settings, task.shard.number
    name = shard_name(settings.modality, shard_number)
    failures: list[Failure] = []
    pieces: list[int] = []
    rates: list[CurveRates] = []
    try:
        shard = ShardFile(task.target / name)
        try:
            for number, planned in enumerate(task.shard.files):
                on_file(number)
                before = shard.examples
                try:
                    if number in task.crashed:
                        raise UnpackableError(task.crashed[number])
                    with shard.all_or_none():
                        found = _add(shard, planned, task)
                    rates.append(found)
                except UnpackableError as error:
                    failures.append(Failure(planned.file.path, str(error)))
                pieces.append(shard.examples - before)
            counts = tuple(pieces) if settings.media.cuts else ()
            if shard.examples:
                return ShardResult(shard_number, shard.finish(), tuple(failures), counts, joined_rates(rates))
            shard.abort()
            return ShardResult(shard_number, ShardSummary(name, 0, 0, ""), tuple(failures), counts)
        except BaseException:
            shard.abort()
            raise
    except OSError as error:
        raise PackingStoppedError(
            f"{task.target.parent.parent / name}: cannot be written ({error.strerror or error}). Make room, and "
            "run the same command again: finished shards are kept."
        ) from error


def _add(shard: ShardFile, planned: PlannedFile, task: ShardTask) -> CurveRates:
    """All examples of one file, which stay in the shard unless an exception leaves; the rates of computed fields."""
    file, rates = planned.file, dict[str, tuple[Fraction, ...]]()
    fields = {suffix.lower(): _read(task.source, f"{file.stem}.{suffix}", size) for suffix, size in file.sidecars}
    if planned.label is not None:
        fields["cls"] = b"%d" % planned.label
    with SourceReader(task.source, file.path, file.size) as reader:
        for made in task.settings.media.prepare(reader, file.suffix, fields):
            rates.update({name: (rate,) for name, rate in made.curve_rates.items()})
            shard.add(
                encode_example(
                    example_key(planned.key, made.piece),
                    made.media,
                    made.suffix,
                    media_bytes=made.media_bytes,
                    fields=made.fields,
                    record=made.record,
                    table=made.table,
                )
            )
    return rates


def _read(source: Path, path: str, size: int) -> bytes:
    with SourceReader(source, path, size) as file:
        return file.content()
