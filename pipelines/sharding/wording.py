"""Names and numbers as they are shown to people."""

from __future__ import annotations

from collections.abc import Iterable

from ..modality import Modality
from ..shown_names import escaped as printable

__all__ = ["counted", "joined", "plurals", "printable"]


def counted(num: int, noun: str) -> str:
    """A number and what it counts: `1 file`, `1,200 files`."""
    return f"{num:,} {noun}" if num == 1 else f"{num:,} {noun}s"


def joined(words: Iterable[str], conjunction: str) -> str:
    """Words in a sentence: `a`, `a or b`, `a, b or c`."""
    *first, last = words
    return f"{', '.join(first)} {conjunction} {last}" if first else last


def plurals(modalities: Iterable[Modality], conjunction: str) -> str:
    """Files of these modalities, for sentences: `images or recordings`."""
    return joined([modality.plural for modality in modalities], conjunction)
