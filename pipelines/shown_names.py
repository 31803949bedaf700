"""Names out of other people's files, as sentences and terminals show them."""

from __future__ import annotations

__all__ = ["escaped", "shown_name"]

MOST_CHARACTERS = 60


def escaped(text: str) -> str:
    """A text with control characters, lone surrogates and the like as escapes, such as `\\x1b`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def shown_name(name: str, *, quoted: bool = True) -> str:
    """A name for a sentence: escaped, in quotes unless `quoted` is False, and cut after 60 characters.

    >>> shown_name("traffic light"), shown_name("dog\\x00", quoted=False), shown_name("a" * 500_000)[-5:]
    ("'traffic light'", 'dog\\\\x00', "aaa…'")
    """
    cut = name if len(name) <= MOST_CHARACTERS else name[: MOST_CHARACTERS - 1] + "…"
    return repr(cut) if quoted else escaped(cut)
