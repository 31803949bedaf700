"""What a set holds when its shards are packed: the names of its examples, and its manifest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..order.curve_rates import joined_rates
from ..storage.label_table import LabelTable
from ..storage.manifest import Manifest, ShardColumns
from ..storage.walk import Failure
from .attached_records import AttachedRecords
from .attached_settings import ATTACHED, with_part
from .findings import Findings
from .label_counting import class_labels, joined_labels
from .packing import example_key
from .plan import Plan, PlannedFile
from .shard_job import ShardResult

__all__ = ["PackedSet"]


@dataclass(frozen=True)
class PackedSet:
    """The results of all shards of a plan, by their numbers; `base` is the set they are added to, None for a new one.

    `records` is what annotations and tables say, None without.
    """

    plan: Plan
    base: Manifest | None
    results: Mapping[int, ShardResult]
    records: AttachedRecords | None

    def names(self) -> Iterator[tuple[str, str]]:
        """Key and original path of every new example, in the order of the shards."""
        for shard in self.plan.shards:
            result, pairs = self.results[shard.number], zip(shard.columns.keys, shard.columns.paths, strict=True)
            if self.plan.settings.media.cuts:
                for (key, path), num in zip(pairs, result.pieces, strict=True):
                    for piece in range(num):
                        yield example_key(key, piece), path
            else:
                unpacked = {failure.path for failure in result.failures}
                yield from (pair for pair in pairs if pair[1] not in unpacked)

    def _packed_files(self) -> Iterator[tuple[PlannedFile, int]]:
        """Every file of the plan, in the order of the shards, and how many examples it became."""
        for shard in self.plan.shards:
            result = self.results[shard.number]
            unpacked = {failure.path for failure in result.failures}
            for number, planned in enumerate(shard.files):
                is_packed = planned.file.path not in unpacked
                yield planned, result.pieces[number] if self.plan.settings.media.cuts else int(is_packed)

    def _labels(self, found: Findings) -> LabelTable | None:
        """What labels mean: categories of objects, or else sub-folders."""
        known = None if self.base is None else self.base.labels
        defined = () if self.records is None else self.records.labels
        if defined or found.labels or not self.plan.classes:
            return joined_labels(known, defined, found.labels)
        counts: dict[int, int] = {}
        for planned, num in self._packed_files():
            if planned.label is not None:
                counts[planned.label] = counts.get(planned.label, 0) + num
        return class_labels(known, self.plan.classes, counts)

    def manifest(self, failures: tuple[Failure, ...], findings: Findings) -> Manifest:
        """The manifest, with all failures and with what there is to say of annotations."""
        old = self.base.shards if self.base else ShardColumns()
        made = [result.summary for _, result in sorted(self.results.items()) if result.summary.examples]
        columns = ShardColumns(
            name=old.name + [summary.name for summary in made],
            examples=old.examples + [summary.examples for summary in made],
            bytes=old.bytes + [summary.bytes for summary in made],
            sha256=old.sha256 + [summary.sha256 for summary in made],
            index_hash=old.index_hash + [summary.index_hash for summary in made],
            frames_hash=old.frames_hash + [summary.frames_hash for summary in made],
        )
        kept = [self.base.curve_rates] if self.base else []
        return Manifest(
            modality=self.plan.settings.modality,
            shards=columns,
            listing=self.plan.listing,
            settings=self._settings(has_part=bool(made)),
            curve_rates=joined_rates([*kept, *(result.curve_rates for result in self.results.values())]),
            failures=[{"path": failure.path, "reason": failure.reason} for failure in failures],
            labels=self._labels(findings),
            remarks=self._remarks(findings),
        )

    def _settings(self, *, has_part: bool) -> dict[str, Any]:
        """Those of the manifest; annotation files and a table with which nothing was added are not among them."""
        classes = {"classes": self.plan.classes} if self.plan.classes else {}
        own = {**self.plan.settings.describe(), **classes}
        if self.base is None:
            return own
        if has_part:
            return with_part(self.base.settings, own)
        kept = {name: value for name, value in self.base.settings.items() if name.startswith(ATTACHED)}
        return {name: value for name, value in own.items() if name not in ATTACHED} | kept

    def _remarks(self, findings: Findings) -> list[str]:
        """What is odd about annotations: in the set that stays, in the annotation files, and in what was packed."""
        found = [] if self.base is None else list(self.base.remarks)
        found += () if self.records is None else (*self.records.faults, *self.records.lasting)
        return list(dict.fromkeys([*found, *(remark.sentence() for remark in findings.remarks)]))
