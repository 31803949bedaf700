"""Values of command-line flags that several types have, as they are typed."""

from __future__ import annotations

import argparse

__all__ = ["byte_count", "none_if_empty", "off_at_zero", "port_number", "prior_text", "size_value"]


def none_if_empty(text: str) -> str | None:
    """A text, None for an empty one."""
    return text or None


def byte_count(text: str) -> int:
    """A number of bytes such as 200G."""
    from pipelines.storage.remote.reading import number_of_bytes

    try:
        return number_of_bytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def off_at_zero(text: str) -> float | None:
    """A number, None for 0."""
    return float(text) or None


def port_number(text: str) -> int:
    """A port of this machine, from 1 to 65535."""
    port = int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0
    if not 0 < port < 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return port


def size_value(text: str) -> int | tuple[int, int]:
    """The side of squares, or `HEIGHTxWIDTH`. Raises ValueError, which a parser reports."""
    height, cross, width = text.partition("x")
    return (int(height), int(width)) if cross else int(text)


def prior_text(text: str) -> float | str:
    """A prior: a number, or "learned"."""
    if text == "learned":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor 'learned'") from None
