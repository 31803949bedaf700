"""What is known of the examples of a shard: from its index, and by one look at each example where that says nothing.

Records that were found by looking are kept in the cache under what identifies the shard's bytes on this machine, so
that a file that changes is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..child_process import usable_cores
from ..storage.index import INDEX_DTYPE, Index, Record
from .located import LocatedExample, ReadOrder

__all__ = ["Probe", "completed", "is_known", "measure_all"]

MEASURED = ("frames", "rate_numerator", "rate_denominator", "width", "height", "channels", "table_offset")


class Probe(Protocol):
    """How the records of one modality are found; `kind` names how, and its version, in the cache.

    `at_once` examples are looked at at the same time, where that is quicker.
    """

    kind: str
    modality: str
    at_once: int

    def measure(self, located: LocatedExample) -> Record:
        """Look at one example; `frames` is UNREADABLE where it cannot be decoded. Only what it measures counts."""

    def expect(self, order: ReadOrder) -> None:
        """Say in which kind of order clips are read from now on."""

    def close(self) -> None:
        """Close open files."""


def is_known(records: Index) -> NDArray[np.bool_]:
    """Which of them an index had: packed examples have a rate, those of foreign tars none."""
    known: NDArray[np.bool_] = records["rate_numerator"] > 0
    return known


def measure_all(located: Iterable[LocatedExample], probe: Probe, num: int) -> Index:
    """Look at every one of `num` examples: (num,) records, what says where they lie left out."""
    records = np.zeros(num, INDEX_DTYPE)
    if probe.at_once == 1 or num == 1:
        for row, example in enumerate(located):
            records[row] = probe.measure(example)
        return records
    with ThreadPoolExecutor(min(probe.at_once, num, usable_cores())) as threads:
        for row, record in enumerate(threads.map(probe.measure, located)):
            records[row] = record
    return records


def completed(records: Index, rows: NDArray[np.int64], measured: Index) -> Index:
    """A copy of the records in which these rows have what was measured."""
    whole = np.array(records)
    for name in MEASURED:
        whole[name][rows] = measured[name]
    return whole
