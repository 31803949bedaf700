"""The findings of a check: their kinds, one finding, and a list of findings."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Literal

__all__ = ["KINDS", "Finding", "Findings", "Severity"]

Severity = Literal["error", "remark"]

KINDS: dict[str, tuple[Severity, str]] = {
    "damaged-manifest": ("error", "The manifest is damaged"),
    "missing-manifest": ("error", "There is no manifest"),
    "wrong-count": ("error", "The manifest gives a wrong number of examples"),
    "missing-tar": ("error", "A shard is missing"),
    "unreadable-file": ("error", "A file cannot be read"),
    "cut-tar": ("error", "A shard is cut off"),
    "swapped-tar": ("error", "A shard has the name of another one"),
    "trailing-bytes": ("error", "More stands behind the end of a shard"),
    "damaged-tar": ("error", "A shard is damaged"),
    "damaged-example": ("error", "Examples whose bytes have changed"),
    "undecodable-example": ("error", "Examples that cannot be decoded"),
    "missing-index": ("error", "An index is missing"),
    "damaged-index": ("error", "An index is damaged"),
    "stale-index": ("error", "An index does not fit its shard"),
    "swapped-index": ("error", "An index has the name of another one"),
    "missing-frames": ("error", "A frame table is missing"),
    "damaged-frames": ("error", "A frame table is damaged"),
    "swapped-frames": ("error", "A frame table has the name of another one"),
    "duplicate-keys": ("error", "Examples with the same key"),
    "missing-names": ("error", "The list of names is missing"),
    "damaged-names": ("error", "The list of names is damaged"),
    "wrong-names": ("error", "The list of names has other keys than the shards"),
    "duplicate-names": ("error", "The list of names has a file twice"),
    "missing-classes": ("error", "The table of classes is missing"),
    "wrong-classes": ("error", "The table of classes is not that of the manifest"),
    "missing-labels": ("error", "The table of labels is missing"),
    "wrong-labels": ("error", "The table of labels is not that of the manifest"),
    "foreign-tar": ("error", "Tars that the manifest does not name"),
    "unfinished-run": ("error", "A run of make_shards was not finished"),
    "unfinished-file": ("remark", "Files that were never finished"),
    "stray-file": ("remark", "Files that do not belong to the set"),
}
"""Kind of finding → severity and heading, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault or remark.

    kind      one of KINDS
    file      the path or URL of the file, without secrets
    sentence  what is wrong, and what to do
    key       the key of the example, None for a whole file
    offset    the position in the file in bytes, None if there is none
    severity  "error", or "remark" for something that does not disturb readers
    repaired  what `--repair` did; empty if nothing was done
    """

    kind: str
    file: str
    sentence: str
    key: str | None = None
    offset: int | None = None
    severity: Severity = "error"
    repaired: str = ""

    def to_json(self) -> dict[str, Any]:
        """All fields by name, as JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def with_repair(self, done: str) -> Finding:
        """A copy that says what the repair did."""
        return replace(self, repaired=done)


class Findings:
    """A list of findings, of each kind no more than `most`.

    `counts` has the true number of each kind; `num_remarks` and `num_repaired` are true numbers over all kinds.
    """

    def __init__(self, most: int = 10_000) -> None:
        self.most = most
        self.found: list[Finding] = []
        self.counts: dict[str, int] = {}
        self.num_remarks = self.num_repaired = 0
        self._num_kept = Counter[str]()

    def add(
        self,
        kind: str,
        file: str,
        sentence: str,
        *,
        key: str | None = None,
        offset: int | None = None,
        severity: Severity | None = None,
    ) -> None:
        """Add a finding; `severity` None means the usual severity of its kind."""
        finding = Finding(kind, file, sentence, key, offset, severity or KINDS[kind][0])
        self.count(kind, 1)
        self.num_remarks += finding.severity == "remark"
        self._keep(finding)

    def count(self, kind: str, num: int) -> None:
        """Count `num` errors of a kind without keeping them."""
        if num:
            self.counts[kind] = self.counts.get(kind, 0) + num

    def mark_repaired(self, finding: Finding, done: str) -> None:
        """Replace a finding of this list by the same one with what the repair did."""
        self.found[self.found.index(finding)] = finding.with_repair(done)
        self.num_repaired += 1

    def extend(self, other: Findings) -> None:
        """Add the findings of another list; all are counted, also those that the other list did not keep."""
        for kind, num in other.counts.items():
            self.count(kind, num)
        self.num_remarks += other.num_remarks
        self.num_repaired += other.num_repaired
        for finding in other.found:
            self._keep(finding)

    def _keep(self, finding: Finding) -> None:
        if self._num_kept[finding.kind] < self.most:
            self._num_kept[finding.kind] += 1
            self.found.append(finding)

    def __contains__(self, kind: object) -> bool:
        return kind in self.counts

    def __bool__(self) -> bool:
        return bool(self.found)
