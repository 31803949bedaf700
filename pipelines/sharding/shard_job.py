"""The work of one process: the files of one planned shard, read, checked and written.

What comes out is a function of the task alone. A file that cannot be used is left out with its reason;
anything wrong with the disk, or a source that changes meanwhile, stops the run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..order.curve_rates import CurveRates, joined_rates
from ..storage.json_text import encode_json, parse_json
from ..storage.walk import Failure
from .findings import NO_FINDINGS, Findings, Remark, joined_findings
from .packing import example_key
from .plan import PlannedFile, PlannedShard
from .settings import PackSettings
from .shard_content import ShardSummary, encode_example
from .shard_target import OpenShard, ShardTarget, new_attempt
from .source_reader import PackingStoppedError, SourceReader, UnpackableError
from .task_inputs import open_inputs
from .wording import printable
from .writer import shard_name

if TYPE_CHECKING:
    from .annotations.store import AnnotationStore
    from .source_bucket import SourceUrl

__all__ = ["ShardResult", "ShardTask", "add_record", "pack_shard"]

NO_OBJECT = "the .json file beside a file is not an object, so that annotations or a table cannot be added to it"
IN_BOTH = "the .json file beside a file has a value that annotations or a table have too; its own is kept"


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A planned shard, where its files are, and where it is to be written, complete with its index.

    `records` is the store of what annotations and tables say of the files, None without. `crashed` has the numbers in
    the shard of files whose reader ends its process, each with how it ended.
    """

    shard: PlannedShard
    source: Path | SourceUrl
    target: ShardTarget
    settings: PackSettings
    records: Path | None = None
    crashed: dict[int, str] = field(default_factory=dict)

    def without(self, number: int, reason: str) -> ShardTask:
        """The same task, with one file counted as a failure unread."""
        return replace(self, crashed={**self.crashed, number: reason})


@dataclass(frozen=True, slots=True)
class ShardResult:
    """A shard in `ShardTask.target`, or none there if `summary.examples` is 0; and what was left out.

    `attempt` is the name of the attempt that wrote it there, which decides nothing else; `seconds` those that its files
    took, and those in which it was ended.
    `pieces` says for each file of the shard how many examples it became; empty where files are not cut.
    `curve_rates` are those of the fields that were computed; `findings` what there is to say of annotations.
    """

    number: int
    summary: ShardSummary
    failures: tuple[Failure, ...]
    pieces: tuple[int, ...] = ()
    curve_rates: CurveRates = field(default_factory=dict)
    findings: Findings = NO_FINDINGS
    attempt: str = field(default="", compare=False)
    seconds: tuple[float, float] = field(default=(0.0, 0.0), compare=False)


def pack_shard(task: ShardTask, on_file: Callable[[int], None]) -> ShardResult:
    """Write one shard. `on_file` gets the number in the shard of every file before it is opened.

    Raises `PackingStoppedError` where the shard cannot be written or the source has changed since it was
    listed.
    """
    settings, shard_number = task.settings, task.shard.number
    name, attempt = shard_name(settings.modality, shard_number), new_attempt()
    failures: list[Failure] = []
    pieces: list[int] = []
    rates: list[CurveRates] = []
    findings: list[Findings] = []
    store = None if task.records is None else task.target.open_records(task.records)
    try:
        with contextlib.closing(open_inputs(task.source, [planned.file for planned in task.shard.files])) as inputs:
            shard = task.target.begin(name, attempt)
            try:
                began = time.monotonic()
                for number, planned in enumerate(task.shard.files):
                    on_file(number)
                    before = shard.examples
                    try:
                        if number in task.crashed:
                            raise UnpackableError(task.crashed[number])
                        with shard.all_or_none():
                            found, said = _add(shard, planned, task, store, partial(inputs.reader, number))
                        rates.append(found)
                        findings.append(said)
                    except UnpackableError as error:
                        failures.append(Failure(planned.file.path, str(error)))
                    pieces.append(shard.examples - before)
                counts, packed = tuple(pieces) if settings.media.cuts else (), time.monotonic()
                if shard.examples:
                    joined = joined_rates(rates), joined_findings(findings)
                    summary = shard.finish()
                    seconds = packed - began, time.monotonic() - packed
                    return ShardResult(shard_number, summary, tuple(failures), counts, *joined, attempt, seconds)
                shard.abort()
                return ShardResult(shard_number, ShardSummary(name, 0, 0, ""), tuple(failures), counts)
            except BaseException:
                shard.abort()
                raise
    except OSError as error:
        written = task.target.written(name)
        raise PackingStoppedError(
            f"{written}: cannot be written ({error.strerror or error}). Make room, and run the same command again: "
            "finished shards are kept."
        ) from error


def _add(
    shard: OpenShard,
    planned: PlannedFile,
    task: ShardTask,
    store: AnnotationStore | None,
    read: Callable[[str, int], SourceReader],
) -> tuple[CurveRates, Findings]:
    """All examples of one file, which stay in the shard unless an exception leaves; what there is to say of them."""
    file, rates = planned.file, dict[str, tuple[Fraction, ...]]()
    fields = {}
    if file.sidecars:
        stem = file.stem
        fields = {suffix.lower(): _content(read(f"{stem}.{suffix}", size)) for suffix, size in file.sidecars}
    if planned.label is not None:
        fields["cls"] = b"%d" % planned.label
    said = [] if store is None else [add_record(fields, store, file.path)]
    with read(file.path, file.size) as reader:
        for made in task.settings.media.prepare(reader, file.suffix, fields):
            if made.curve_rates:
                rates.update({name: (rate,) for name, rate in made.curve_rates.items()})
            said.append(made.findings)
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
    return rates, joined_findings(said)


def add_record(fields: dict[str, bytes], store: AnnotationStore, path: str) -> Findings:
    """Put what annotations and tables say of a file into its field `json`; what the file says itself stays as it is."""
    text = store.record_text(path)
    if text is None:
        return Findings()
    if (own := fields.get("json")) is None:
        fields["json"] = text
        return Findings()
    remarks: tuple[Remark, ...] = ()
    try:
        known = parse_json(own)
    except ValueError:
        known = None
    if not isinstance(known, dict):
        return Findings(remarks=(Remark(NO_OBJECT, 1, printable(path)),))
    record = parse_json(text)
    if both := sorted(known.keys() & record.keys()):
        remarks = (Remark(IN_BOTH, 1, f"{printable(path)}: {printable(both[0])}"),)
    fields["json"] = encode_json({**record, **known})
    return Findings(remarks=remarks)


def _content(reader: SourceReader) -> bytes:
    with reader as file:
        return file.content()
