"""Fields of examples besides their media (captions, labels, arrays, annotations), read and joined for a batch."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..boxes import Packed, is_record
from ..sources.source import Example
from ..storage.json_text import parse_json, parse_json_quickly
from ..storage.media_types import media_suffix
from ..storage.npy import load_npy
from .record_fields import RECORD_FIELDS

__all__ = ["FieldReader", "Packed", "absent_fields", "gather_field", "near_field"]

NEAR = 0.6
"""The least similarity (`difflib`'s ratio) at which a name counts as a misspelling of another."""


class FieldReader:
    """The fields of one example, by name; its annotations are parsed once for all fields.

    A name is the suffix of a member: json → an object; cls → an int of 64 bits; txt → str; npy → an array; anything
    else → bytes. A name in `RECORD_FIELDS` without such a member is read from the annotations in the member `json`.
    """

    def __init__(self, example: Example) -> None:
        self._example = example
        self._json: Any = _NOT_READ
        self._record: Any = _NOT_READ

    def value(self, name: str) -> Any:
        """One field, None if absent. Raises `ExampleError` for a member that cannot be read."""
        fields = self._example.fields
        try:
            if name == "json":
                return self._parsed()
            content = fields.get(name)
            if content is not None:
                return _parser(name)(content)
            return self._of_record(name) if name in RECORD_FIELDS else None
        except Exception as error:  # NumPy evaluates an array's header as Python, and raises whatever that provokes
            member = "json" if name in RECORD_FIELDS and name not in fields else name
            raise self._example.error(f"its field {member!r} is damaged ({error})") from error

    def _parsed(self) -> Any:
        if self._json is _NOT_READ:
            content = self._example.fields.get("json")
            self._json = None if content is None else parse_json(content)
        return self._json

    def _of_record(self, name: str) -> Any:
        if self._record is _NOT_READ:
            content = self._example.fields.get("json") if self._json is _NOT_READ else None
            found = self._parsed() if content is None else parse_json_quickly(content)
            self._record = found if is_record(found) else None
        return None if self._record is None else RECORD_FIELDS[name].read(self._record)


def gather_field(name: str, values: list[Any]) -> Any:
    """One field of a batch, from the values that `FieldReader` returns for its examples.

    arrays (npy) → one array (batch, ...) if the shapes agree, `Packed` if only the first axis differs;
    cls → (batch,) int64; boxes, classes, crowd, keypoints → `Packed`, masks → `Masks`: an example without annotations
    has no objects there. Anything else → the list as it is, and so if an example lacks the member: its value is None.
    """
    if name in RECORD_FIELDS and not any(isinstance(value, bytes) for value in values):
        return RECORD_FIELDS[name].gather(values)
    if all(isinstance(value, np.ndarray) for value in values):
        return _stack(values)
    if _parser(name) is _parse_cls and all(value is not None for value in values):
        return np.array(values, np.int64)
    return values


def absent_fields(fields: Mapping[str, Any]) -> list[str]:
    """The names of the fields that no example of a batch has."""
    return [
        name
        for name, values in fields.items()
        if isinstance(values, list) and all(value is None for value in values)
    ]


def near_field(name: str, known: Iterable[str]) -> str | None:
    """The name most like `name` among `known` and the fields of annotations; None if none is similar."""
    names = dict.fromkeys((*RECORD_FIELDS, *known))
    names.pop(name, None)
    lowered = {one.lower(): one for one in reversed(names)}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=NEAR)
    return lowered[found[0]] if found else None


_NOT_READ = object()


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
