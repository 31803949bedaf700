"""The format of a store: bodies, which are JSON objects, one after another; then tables that say where each is.

body body ... | files | annotations | JSON that says where the tables are | length of the JSON and magic number
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ANNOTATION",
    "FILE",
    "IMAGE",
    "NOWHERE",
    "OBJECT",
    "path_hash",
    "table_places",
    "tables_to_bytes",
    "to_path_bytes",
]

FORMAT = b"dirvae-annotations-2\n"
FOOTER_BYTES = 8 + len(FORMAT)
NOWHERE = -1

IMAGE = np.dtype(
    [("source", "<i4"), ("id", "<i8"), ("file", "<i8"), ("width", "<f8"), ("height", "<f8"), ("is_whole", "?"),
     ("license", "<i8"), ("offset", "<i8"), ("length", "<i4"), ("hash", "<i8")]
)  # fmt: skip
"""An image entry while a store is built: sides are NaN if unusable, `is_whole` if they are whole numbers."""

OBJECT = np.dtype(
    [("source", "<i4"), ("is_caption", "?"), ("names_itself", "?"), ("is_odd", "?"), ("image", "<i8"), ("id", "<i8"),
     ("category", "<i8"), ("least", "<f8"), ("right", "<f8"), ("bottom", "<f8"), ("offset", "<i8"), ("length", "<i4")]
)  # fmt: skip
"""An annotation while a store is built: its extent in pixels is NaN for a caption.

`names_itself`: it already has "category" or "class". `is_odd`: its category id has a decimal point.
"""

FILE = np.dtype(
    [("hash", "<u8"), ("path", "<i8"), ("path_length", "<i4"), ("row", "<i8"), ("row_length", "<i4"), ("image", "<i8"),
     ("image_length", "<i4"), ("license", "<i8"), ("license_length", "<i4"), ("width", "<i4"), ("height", "<i4"),
     ("first", "<i8"), ("last", "<i8")]
)  # fmt: skip
"""What a store has of a file, sorted by the hash of its path: offsets or -1, and the range of its annotations.

`width` and `height` in pixels are 0 if the image has none, or they are not whole numbers.
"""

ANNOTATION = np.dtype([("offset", "<i8"), ("length", "<i4"), ("meaning", "<i4")])
"""Where an annotation is, and which of the endings of the store it gets; -1 for a caption."""


def to_path_bytes(path: str) -> bytes:
    """A path of a listing as it is stored: names that are not UTF-8 have surrogates."""
    return path.encode("utf-8", "surrogatepass")


def path_hash(path: bytes) -> int:
    """64 bits by which a path is looked up."""
    return int.from_bytes(blake2b(path, digest_size=8).digest(), "little")


def tables_to_bytes(tables: Mapping[str, NDArray[Any]], content: Mapping[str, Any]) -> bytes:
    """The end of a store."""
    sizes = {name: len(table) for name, table in tables.items()}
    about = json.dumps({**content, "sizes": sizes}).encode("ascii")
    parts = [table.tobytes() for table in tables.values()]
    return b"".join([*parts, about, len(about).to_bytes(8, "little"), FORMAT])


def table_places(content: Any, dtypes: Mapping[str, np.dtype[Any]]) -> tuple[dict[str, int], dict[str, Any]]:
    """Where the tables begin, and the JSON, of a store whose bytes are in a buffer.

    Raises `ValueError` for anything else.
    """
    if len(content) < FOOTER_BYTES or content[-len(FORMAT) :] != FORMAT:
        raise ValueError("it is of another form or version")
    end = len(content) - FOOTER_BYTES
    begin = end - int.from_bytes(content[end : end + 8], "little")
    about: dict[str, Any] = json.loads(bytes(content[begin:end]))
    places = {}
    for name, num in reversed(about["sizes"].items()):
        begin -= num * dtypes[name].itemsize
        places[name] = begin
    return places, about
