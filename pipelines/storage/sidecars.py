"""Which sidecar file goes with which media file, and as what field.

voice.wav   voice.json      the field json of voice.wav
            voice.f0.npy    the field f0.npy of voice.wav, unless there is a media file voice.f0.*
            voice.wav.json  belongs to nothing
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set

from .media_types import SIDECAR_SUFFIXES, media_names, media_suffix
from .walk import WalkedFile

__all__ = ["Sidecars", "is_field_name", "owner_of", "stem_of"]

FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def stem_of(path: str) -> str:
    """A path without its last suffix."""
    slash, dot = path.rfind("/"), path.rfind(".")
    return path[:dot] if dot > slash + 1 else path


def is_field_name(name: str) -> bool:
    """Whether `voice.NAME.npy` can be a field of `voice.wav`: a word that is no suffix of a media file."""
    return FIELD_NAME.fullmatch(name) is not None and name.lower() not in media_names()


def owner_of(path: str, stems: Set[str]) -> str | None:
    """The longest of the stems a sidecar's path begins with, if what is left is a suffix that can be a field's."""
    stem = stem_of(path)
    while stem not in stems:
        shorter = stem_of(stem)
        middle = stem[len(shorter) + 1 :]
        if shorter == stem or not is_field_name(middle):
            return None
        stem = shorter
    return stem


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
