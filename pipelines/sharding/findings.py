"""What is found out about annotations and labels while files are packed: how many of each, and what is odd."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

__all__ = ["NO_FINDINGS", "Findings", "LabelCounts", "LabelKey", "Remark", "joined_findings"]


class LabelKey(NamedTuple):
    """A label as annotations name it: the class from 0, the number that the data came with, and its name."""

    number: int
    id: int
    name: str


LabelCounts = Mapping[LabelKey, tuple[int, int]]
"""Of each label: its objects, and the examples that have one."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something odd that `count` files have in common, and the `first` of them with its values."""

    what: str
    count: int
    first: str

    def sentence(self) -> str:
        """For people: "2 × a picture has another size than its annotations say (first: …).\""""
        return f"{self.count:,} × {self.what} (first: {self.first})."


@dataclass(frozen=True, slots=True)
class Findings:
    """Of an example, a shard or a set."""

    labels: LabelCounts = field(default_factory=dict)
    remarks: tuple[Remark, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """For a line of the journal; empty where there is nothing."""
        found: dict[str, Any] = {}
        if self.labels:
            found["labels"] = [[*key, *counts] for key, counts in self.labels.items()]
        if self.remarks:
            found["remarks"] = [[one.what, one.count, one.first] for one in self.remarks]
        return found

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Findings:
        """From a line of the journal. Raises `ValueError` or `TypeError` for nonsense."""
        labels = {}
        for number, identity, name, objects, examples in content.get("labels", ()):
            numbers = (number, identity, objects, examples)
            if any(type(one) is not int for one in numbers) or not isinstance(name, str):
                raise ValueError("a count of labels is not a whole number")
            labels[LabelKey(number, identity, name)] = (objects, examples)
        remarks = []
        for what, count, first in content.get("remarks", ()):
            if type(count) is not int or not isinstance(what, str) or not isinstance(first, str):
                raise ValueError("a remark is not a text with a number")
            remarks.append(Remark(what, count, first))
        return cls(labels, tuple(remarks))


NO_FINDINGS = Findings()
"""Of most examples: one value, because it is cheaper than many."""


def joined_findings(several: Iterable[Findings]) -> Findings:
    """Counts added up; of remarks of one kind the first stays."""
    found = [one for one in several if one.labels or one.remarks]
    if len(found) <= 1:
        return found[0] if found else NO_FINDINGS
    labels: dict[LabelKey, tuple[int, int]] = {}
    remarks: dict[str, Remark] = {}
    for one in found:
        for key, (objects, examples) in one.labels.items():
            before = labels.get(key, (0, 0))
            labels[key] = before[0] + objects, before[1] + examples
        for remark in one.remarks:
            known = remarks.get(remark.what)
            remarks[remark.what] = (
                remark if known is None else Remark(known.what, known.count + remark.count, known.first)
            )
    return Findings(labels, tuple(remarks.values()))
