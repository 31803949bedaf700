"""What a decoder says of an example that it cannot decode."""

from __future__ import annotations

__all__ = ["UndecodableError"]


class UndecodableError(Exception):
    """An example, or a field of it, that cannot be decoded; `str()` is the reason, without its name or where it lies.

    Whoever knows the example raises `ExampleError` from it.
    """
