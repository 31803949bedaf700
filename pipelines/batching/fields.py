"""The other members of examples (captions, labels, arrays), gathered for a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..boxes.packed import Packed
from ..sources.source import Example
from ..storage.json_text import parse_json
from ..storage.media_types import media_suffix
from ..storage.npy import load_npy

__all__ = ["Packed", "absent_fields", "gather_field", "parse_field"]


def parse_field(name: str, example: Example) -> Any:
    """The member `name` (a suffix, such as "json") of an example, None where it has none.

    json → an object; cls → an int of 64 bits; txt → str; npy → an array; anything else → bytes. Raises
    `ExampleError` for a member that cannot be read.
    """
    try:
        content = example.fields.get(name)
        return None if content is None else _parser(name)(content)
    except Exception as error:  # NumPy evaluates an array's header as Python, and raises whatever that provokes
        raise example.error(f"its field {name!r} is damaged ({error})") from error


def gather_field(name: str, values: list[Any]) -> Any:
    """What `parse_field` gave for the examples of a batch, as one thing.

    arrays (npy) → one array (batch, ...) where the shapes agree, `Packed` where only the first axis differs;
    cls → (batch,) int64; anything else, and where an example has no such member, the list as it is, with None in
    its place.
    """
    if all(isinstance(value, np.ndarray) for value in values):
        return _stack(values)
    if _parser(name) is _parse_cls and all(value is not None for value in values):
        return np.array(values, np.int64)
    return values


def absent_fields(fields: Mapping[str, Any]) -> list[str]:
    """The names of those fields of a batch that none of its examples has."""
    return [
        name
        for name, values in fields.items()
        if isinstance(values, list) and all(value is None for value in values)
    ]


def _parser(name: str) -> Callable[[bytes], Any]:
    return _PARSERS.get(media_suffix("." + name), bytes)


def _parse_cls(content: bytes) -> int:
    try:
        number = int(content.decode("ascii"))
    except ValueError:
        raise ValueError(f"{content[:40]!r} is not a whole number of 64 bits") from None
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError(f"{number} does not fit 64 bits")
    return number


def _parse_txt(content: bytes) -> str:
    return content.decode("utf-8")


_PARSERS: dict[str, Callable[[bytes], Any]] = {
    "json": parse_json,
    "cls": _parse_cls,
    "txt": _parse_txt,
    "npy": load_npy,
}


def _stack(arrays: list[NDArray[Any]]) -> Any:
    if len({(array.shape, array.dtype) for array in arrays}) == 1:
        return np.stack(arrays)
    if len({(array.shape[1:], array.dtype) for array in arrays if array.ndim}) == 1 and all(a.ndim for a in arrays):
        return Packed.of(arrays)
    return arrays
