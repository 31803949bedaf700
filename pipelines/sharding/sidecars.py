"""The sidecar files of a listing, sorted to the media files they belong to."""

from __future__ import annotations

from collections.abc import Sequence

from ..storage.media_types import SIDECAR_SUFFIXES, media_suffix
from ..storage.sidecars import owner_of
from ..storage.walk import WalkedFile

__all__ = ["Sidecars"]


class Sidecars:
    """The sidecar files among `files`, for media files of the `stems`; `unused` of them belong to none."""

    def __init__(self, files: Sequence[WalkedFile], stems: set[str]) -> None:
        self.unused = 0
        self._found: dict[str, list[tuple[str, int]]] = {}
        for file in sorted(files):
            if media_suffix(file.path) not in SIDECAR_SUFFIXES:
                continue
            stem = owner_of(file.path, stems)
            if stem is None:
                self.unused += 1
                continue
            own, suffix = self._found.setdefault(stem, []), file.path[len(stem) + 1 :]
            if suffix.lower() not in {name.lower() for name, _ in own}:
                own.append((suffix, file.size))

    def of(self, stem: str) -> tuple[tuple[str, int], ...]:
        """(suffix, bytes) of each sidecar file of a stem; suffixes as they are written, no two alike in lower case."""
        return tuple(self._found.get(stem, ()))
