"""The files that a walk finds, sorted by path, in columns: a million take about 60 MB."""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice
from operator import gt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .row_sequence import RowSequence
from .texts import Texts, TextsWriter

__all__ = ["RUN_FILES", "FoundFiles", "FoundFilesWriter", "WalkedFile"]

RUN_FILES = 65_536
"""Files of one folder that are sorted at a time; runs of them are merged."""


class WalkedFile(NamedTuple):
    """A regular file: path below the walked folder with `/` between names, and bytes.

    The path is the UTF-8 text of the bytes that the names are, whatever the locale, with `\\udc80` and so on for bytes
    that are not UTF-8; `plain_files.system_path` gives what opens it.
    """

    path: str
    size: int


class FoundFiles(RowSequence[WalkedFile]):
    """Files sorted by path: `paths`, and `sizes` (n,) int64 in bytes."""

    def __init__(self, paths: Texts, sizes: NDArray[np.int64]) -> None:
        self.paths, self.sizes = paths, sizes

    def __len__(self) -> int:
        return len(self.paths)

    def _objects(self, rows: slice) -> list[WalkedFile]:
        return list(map(WalkedFile, self.paths[rows], self.sizes[rows].tolist()))

    def below(self, folder: str) -> FoundFiles:
        """The files in a folder, and in its folders, with their paths below it."""
        start, stop = self._rows_below(folder)
        paths = TextsWriter()
        for first in range(start, stop, RUN_FILES):
            some = self.paths.between(first, min(first + RUN_FILES, stop))
            paths.add([path[len(folder) + 1 :] for path in some])
        return FoundFiles(paths.finish(), self.sizes[start:stop])

    def without(self, folder: str) -> FoundFiles:
        """All files but those in a folder, and in its folders."""
        start, stop = self._rows_below(folder)
        rows = np.concatenate([np.arange(start), np.arange(stop, len(self))])
        return self if start == stop else FoundFiles(self.paths.in_order(rows), self.sizes[rows])

    def _rows_below(self, folder: str) -> tuple[int, int]:
        behind = chr(ord("/") + 1)
        return bisect_left(self.paths, f"{folder}/"), bisect_left(self.paths, folder + behind)


class FoundFilesWriter:
    """Collects files in any order; what comes sorted already costs nothing to sort."""

    def __init__(self) -> None:
        self._paths, self._sizes = TextsWriter(), array("q")
        self._runs: list[int] = []
        self._last = ""

    def mark(self) -> tuple[int, int, str]:
        """Where the collection stands, for `back_to`."""
        return len(self._paths), len(self._runs), self._last

    def back_to(self, mark: tuple[int, int, str]) -> None:
        """Forget what was added since a mark."""
        num, runs, self._last = mark
        self._paths.cut(num)
        del self._sizes[num:], self._runs[runs:]

    def add(self, paths: list[str], sizes: list[int]) -> None:
        """Append some files: at most `RUN_FILES` or so, which are sorted as Python objects."""
        if not paths:
            return
        if any(map(gt, paths, islice(paths, 1, None))):
            order = sorted(range(len(paths)), key=paths.__getitem__)
            paths, sizes = [paths[place] for place in order], [sizes[place] for place in order]
        if not self._runs or paths[0] < self._last:
            self._runs.append(len(self._paths))
        self._last = paths[-1]
        self._paths.add(paths)
        self._sizes.extend(sizes)

    def finish(self) -> FoundFiles:
        """All of them, sorted; nothing can be added after."""
        paths, sizes = self._paths.finish(), np.frombuffer(self._sizes, np.int64)
        if len(self._runs) > 1:
            merged = heapq.merge(*self._numbered_runs(paths))
            order = np.fromiter((row for _, row in merged), np.int64, len(paths))
            paths, sizes = paths.in_order(order), sizes[order]
        return FoundFiles(paths, sizes)

    def _numbered_runs(self, paths: Texts) -> Iterator[Iterator[tuple[bytes, int]]]:
        for start, stop in zip(self._runs, [*self._runs[1:], len(paths)], strict=True):
            yield zip(paths.encoded_between(start, stop), range(start, stop), strict=True)
