"""Which sidecar file goes with which media file, and as what field.

voice.wav   voice.json      the field json of voice.wav
            voice.f0.npy    the field f0.npy of voice.wav, unless there is a media file voice.f0.*
            voice.wav.json  belongs to nothing
"""

from __future__ import annotations

import re
from collections.abc import Set

from .media_types import MEDIA_SUFFIXES

__all__ = ["owner_of", "stem_of"]

FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
MEDIA_NAMES = frozenset[str]().union(*MEDIA_SUFFIXES.values())


def stem_of(path: str) -> str:
    """A path without its last suffix."""
    slash, dot = path.rfind("/"), path.rfind(".")
    return path[:dot] if dot > slash + 1 else path


def owner_of(path: str, stems: Set[str]) -> str | None:
    """The longest of the stems a sidecar's path begins with, if what is left is a suffix that can be a field's."""
    stem = stem_of(path)
    while stem not in stems:
        shorter = stem_of(stem)
        middle = stem[len(shorter) + 1 :]
        if shorter == stem or not FIELD_NAME.fullmatch(middle) or middle.lower() in MEDIA_NAMES:
            return None
        stem = shorter
    return stem
