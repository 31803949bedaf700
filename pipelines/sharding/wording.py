"""Names and numbers as they are shown to people."""

from __future__ import annotations

__all__ = ["FILE_OF", "a_kind", "counted", "printable"]

FILE_OF = {"image": "image", "audio": "recording", "video": "video"}
"""What one file of a kind of media is called."""


def printable(path: str) -> str:
    """A path that can be shown on a terminal: control characters and bytes that are no UTF-8, as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in path)


def counted(num: int, noun: str) -> str:
    """A number and what it counts: `1 file`, `1,200 files`."""
    return f"{num:,} {noun}" if num == 1 else f"{num:,} {noun}s"


def a_kind(kind: str) -> str:
    """One file of a kind, with its article: `an image`, `a recording`."""
    return f"{'an' if kind == 'image' else 'a'} {FILE_OF[kind]}"
