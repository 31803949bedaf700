"""The media files of a listing in columns; a file becomes an object on access."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .row_sequence import RowSequence
from .sidecars import NO_SIDECARS, SidecarColumns, stem_of
from .texts import Texts

__all__ = ["FileTable", "PathsOf", "SourceFile", "SourceFiles"]

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A media file of the listing: path below the source, bytes, suffix in the tar, sidecars as (suffix, bytes)."""

    path: str
    size: int
    suffix: str
    sidecars: tuple[tuple[str, int], ...] = ()

    @property
    def stem(self) -> str:
        """The path without its last suffix: what sidecars share with it."""
        return stem_of(self.path)


@dataclass(frozen=True)
class FileTable:
    """Files in columns: `paths`; `sizes` (n,) int64 in bytes; `suffixes[codes[row]]` is a file's suffix in the tar."""

    paths: Texts
    sizes: NDArray[np.int64]
    codes: NDArray[np.int32]
    suffixes: Sequence[str]
    sidecars: SidecarColumns = NO_SIDECARS


class SourceFiles(RowSequence[SourceFile]):
    """Some files of a table: its rows `rows`, (n,) int64, in this order."""

    def __init__(self, table: FileTable, rows: Rows) -> None:
        self.table, self.rows = table, rows

    @classmethod
    def of(cls, files: Iterable[SourceFile]) -> SourceFiles:
        """These files, in their order."""
        if isinstance(files, SourceFiles):
            return files
        files = list(files)
        numbers: dict[str, int] = {}
        codes = [numbers.setdefault(file.suffix, len(numbers)) for file in files]
        sidecars = SidecarColumns.of([file.sidecars for file in files])
        sizes = np.array([file.size for file in files], np.int64)
        table = FileTable(
            Texts.of(file.path for file in files), sizes, np.array(codes, np.int32), list(numbers), sidecars
        )
        return cls(table, np.arange(len(files)))

    def __len__(self) -> int:
        return len(self.rows)

    def _objects(self, rows: slice) -> list[SourceFile]:
        found = SourceFiles(self.table, self.rows[rows])
        return [SourceFile(*file) for file in found.columns(0, len(found))]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(mine == theirs for mine, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SourceFiles({len(self):,} files)"

    def only(self, rows: Rows | NDArray[np.bool_]) -> SourceFiles:
        """Those at these places, (m,) int64 or a mask (n,) bool."""
        return SourceFiles(self.table, self.rows[rows])

    def where(self, is_wanted: Callable[[str], bool]) -> SourceFiles:
        """Those whose path is wanted."""
        return self.only(np.fromiter(map(is_wanted, self.paths), np.bool_, len(self)))

    @property
    def paths(self) -> PathsOf:
        """The paths, made on access."""
        return PathsOf(self.table.paths, self.rows)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(n,) int64: the bytes of each file, without its sidecars."""
        return self.table.sizes[self.rows]

    def columns(self, start: int, stop: int) -> Iterator[tuple[str, int, str, tuple[tuple[str, int], ...]]]:
        """Path, bytes, suffix and sidecars of the files from `start` to before `stop`: of few at a time."""
        table, rows = self.table, self.rows[start:stop]
        suffixes = [table.suffixes[code] for code in table.codes[rows].tolist()]
        paths, sizes = table.paths.take(rows), table.sizes[rows].tolist()
        return zip(paths, sizes, suffixes, table.sidecars.take(rows), strict=True)


class PathsOf(RowSequence[str]):
    """Some texts of many: those of `rows`, (n,) int64, in this order."""

    def __init__(self, texts: Texts, rows: Rows) -> None:
        self._texts, self._rows = texts, rows

    def __len__(self) -> int:
        return len(self._rows)

    def _objects(self, rows: slice) -> list[str]:
        return self._texts.take(self._rows[rows])
