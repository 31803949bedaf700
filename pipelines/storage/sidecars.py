"""Which sidecar file goes with which media file, and as what field.

voice.wav   voice.json      the field json of voice.wav
            voice.f0.npy    the field f0.npy of voice.wav, unless there is a media file voice.f0.*
            voice.wav.json  belongs to nothing
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .media_types import media_names
from .row_sequence import batches
from .texts import Texts

__all__ = ["NO_SIDECARS", "SidecarColumns", "SidecarFinder", "is_field_name", "stem_of"]

Rows = NDArray[np.int64]
FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def stem_of(path: str) -> str:
    """A path without its last suffix."""
    slash, dot = path.rfind("/"), path.rfind(".")
    return path[:dot] if dot > slash + 1 else path


def is_field_name(name: str) -> bool:
    """Whether `voice.NAME.npy` can be a field of `voice.wav`: a word that is no suffix of a media file."""
    return FIELD_NAME.fullmatch(name) is not None and name.lower() not in media_names()


class SidecarColumns:
    """The sidecar files of many files: those of row i stand from `starts[i]` to before `stops[i]` in the columns.

    `suffixes[codes[place]]` is the suffix of a sidecar as it is written, `sizes[place]` its bytes.
    """

    def __init__(self, starts: Rows, stops: Rows, codes: Rows, sizes: Rows, suffixes: Sequence[str]) -> None:
        self._starts, self._stops, self._codes, self._sizes = starts, stops, codes, sizes
        self._suffixes = suffixes

    @classmethod
    def of(cls, sidecars: Sequence[Sequence[tuple[str, int]]]) -> SidecarColumns:
        """Of row i the pairs (suffix, bytes) `sidecars[i]`."""
        if not any(sidecars):
            return NO_SIDECARS
        stops = np.cumsum([len(own) for own in sidecars], dtype=np.int64)
        pairs, numbers = [pair for own in sidecars for pair in own], dict[str, int]()
        codes = np.array([numbers.setdefault(suffix, len(numbers)) for suffix, _ in pairs], np.int64)
        sizes = np.array([size for _, size in pairs], np.int64)
        return cls(np.concatenate([[0], stops[:-1]]), stops, codes, sizes, list(numbers))

    def __bool__(self) -> bool:
        return bool(len(self._codes))

    def take(self, rows: Rows) -> list[tuple[tuple[str, int], ...]]:
        """(suffix, bytes) of each sidecar file of each of these rows, (n,) int64."""
        if not self:
            return [()] * len(rows)
        spans = zip(self._starts[rows].tolist(), self._stops[rows].tolist(), strict=True)
        return [tuple(self._pair(place) for place in range(start, stop)) for start, stop in spans]

    def _pair(self, place: int) -> tuple[str, int]:
        return self._suffixes[int(self._codes[place])], int(self._sizes[place])

    def sums(self, rows: Rows, of_size: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each of these rows the sum over its sidecars of `of_size`, which stands in the order of `sizes`."""
        if not self:
            return np.zeros(len(rows), np.int64)
        sums = np.concatenate([np.zeros(1, np.int64), np.cumsum(of_size)])
        return np.asarray(sums[self._stops[rows]] - sums[self._starts[rows]])

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(m,) int64: the bytes of all sidecar files."""
        return self._sizes

    @property
    def suffixes(self) -> Sequence[str]:
        """The suffixes that there are, as they are written."""
        return self._suffixes


_NOTHING = np.zeros(0, np.int64)
NO_SIDECARS = SidecarColumns(_NOTHING, _NOTHING, _NOTHING, _NOTHING, ())


class SidecarFinder:
    """The sidecar files at `rows` of the paths, for the media files at `media`; both are sorted.

    `columns` has them for every row of the paths; `unused` of them belong to none. The files at `beside` have those of
    media files of the same stem.
    """

    def __init__(self, paths: Texts, sizes: Rows, *, rows: Rows, media: Rows, beside: Rows = _NOTHING) -> None:
        self.columns, self.unused = NO_SIDECARS, len(rows)
        self._owner = np.zeros(0, np.int64)
        if not len(rows) or not len(media):
            return
        stems = _Stems(paths, media)
        owners, codes, suffixes = stems.owners(rows)
        is_used = owners >= 0
        self.unused = int((~is_used).sum())
        owners, codes, rows = owners[is_used], codes[is_used], rows[is_used]
        kept = _first_of_each(owners, _alike(suffixes)[codes])
        kept = kept[np.argsort(owners[kept], kind="stable")]
        self._owner = owners[kept]
        self._first = np.full(len(paths), -1, np.int64)
        for some in (media, beside):
            self._first[some] = stems.first_alike(some)
        starts = np.searchsorted(self._owner, self._first, side="left")
        stops = np.searchsorted(self._owner, self._first, side="right")
        self.columns = SidecarColumns(starts, stops, codes[kept], sizes[rows[kept]], suffixes)

    def num_of_others(self, media: Rows) -> int:
        """How many belong to media files none of which is among these."""
        if not len(self._owner):
            return 0
        return int((~np.isin(self._owner, self._first[media])).sum())


class _Stems:
    """Finds the first of the media files that has a stem, by the hash of it; files of one hash are compared."""

    def __init__(self, paths: Texts, media: Rows) -> None:
        hashes = array("q")
        for start, stop in batches(len(media)):
            hashes.extend([hash(stem_of(path)) for path in paths.take(media[start:stop])])
        found = np.frombuffer(hashes, np.int64)
        order = np.argsort(found, kind="stable")
        self._paths, self._hashes, self._rows = paths, found[order], media[order]

    def rows_of(self, stems: Sequence[str]) -> list[int]:
        """For each stem the row of the first media file that has it, -1 for none."""
        wanted = np.array([hash(stem) for stem in stems], np.int64)
        places = np.searchsorted(self._hashes, wanted)
        inside = np.minimum(places, len(self._hashes) - 1)
        candidates = np.where(self._hashes[inside] == wanted, places, -1)
        known = candidates >= 0
        first = np.full(len(stems), -1, np.int64)
        first[known] = self._rows[candidates[known]]
        found = iter(self._paths.take(first[known]))
        return [
            -1 if row < 0 else row if stem_of(next(found)) == stem else self._behind(place, stem)
            for stem, row, place in zip(stems, first.tolist(), candidates.tolist(), strict=True)
        ]

    def _behind(self, place: int, stem: str) -> int:
        """The first row of a stem among those of the same hash, of which the one at `place` has another."""
        for other in range(place + 1, len(self._hashes)):
            if self._hashes[other] != self._hashes[place]:
                break
            if stem_of(self._paths[int(self._rows[other])]) == stem:
                return int(self._rows[other])
        return -1

    def first_alike(self, media: Rows) -> Rows:
        """For each of these files the first media file that has its stem, -1 for none: (n,) int64."""
        found = array("q")
        for start, stop in batches(len(media)):
            found.extend(self.rows_of([stem_of(path) for path in self._paths.take(media[start:stop])]))
        return np.frombuffer(found, np.int64)

    def owners(self, rows: Rows) -> tuple[Rows, Rows, list[str]]:
        """Of each sidecar file the media file whose stem is the longest it begins with, -1 for none.

        It is a sidecar only if what is left of its path is a suffix that can be a field's. Returns the owners
        (n,) int64, the numbers (n,) int64 of the suffixes, and the suffixes.
        """
        owners, codes, numbers = array("q"), array("q"), dict[str, int]()
        for start, stop in batches(len(rows)):
            for path, (owner, stem) in self._owned(self._paths.take(rows[start:stop])):
                owners.append(owner)
                codes.append(-1 if owner < 0 else numbers.setdefault(path[len(stem) + 1 :], len(numbers)))
        return np.frombuffer(owners, np.int64), np.frombuffer(codes, np.int64), list(numbers)

    def _owned(self, paths: Sequence[str]) -> Iterator[tuple[str, tuple[int, str]]]:
        """Each path, with the owner's row and stem."""
        stems, owners = [stem_of(path) for path in paths], [-1] * len(paths)
        searched = list(range(len(paths)))
        while searched:
            rows, going_on = self.rows_of([stems[number] for number in searched]), list[int]()
            for number, row in zip(searched, rows, strict=True):
                if row >= 0:
                    owners[number] = row
                elif (shorter := _shorter(stems[number])) is not None:
                    stems[number] = shorter
                    going_on.append(number)
            searched = going_on
        return zip(paths, zip(owners, stems, strict=True), strict=True)


def _shorter(stem: str) -> str | None:
    """A stem without its last suffix, if that can be the name of a field."""
    shorter = stem_of(stem)
    return None if shorter == stem or not is_field_name(stem[len(shorter) + 1 :]) else shorter


def _alike(suffixes: Sequence[str]) -> Rows:
    """A number for each suffix, the same for those that are alike in lower case."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(suffix.lower(), len(numbers)) for suffix in suffixes], np.int64)


def _first_of_each(owners: Rows, kinds: Rows) -> Rows:
    """The places, rising, at which a pair (owner, kind) stands for the first time."""
    order = np.lexsort((kinds, owners))
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = (np.diff(owners[order]) != 0) | (np.diff(kinds[order]) != 0)
    return np.sort(order[is_first])
