"""The format of arrays for the page: a line of JSON, then the raw bytes of each array.

Raw pixels go straight onto a canvas. Nothing is encoded here or decoded there, so sliders respond quickly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack"]

DTYPES = {"uint8": "|u1", "float32": "<f4", "int32": "<i4"}


def pack(facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """`facts` with "arrays", their names, dtypes and shapes, as one line of UTF-8; padded to 8 bytes; the arrays.

    Each array is uint8, float32 or int32, little-endian, and is followed by zeros up to 8 bytes, so that typed arrays
    of the page can lie on the bytes.
    """
    listed = [{"name": name, "dtype": str(a.dtype), "shape": list(a.shape)} for name, a in arrays.items()]
    head = json.dumps({**facts, "arrays": listed}, allow_nan=False).encode() + b"\n"
    parts = [head + b" " * (-len(head) % 8)]
    for array in arrays.values():
        content = np.ascontiguousarray(array.astype(DTYPES[str(array.dtype)], copy=False)).tobytes()
        parts += [content, bytes(-len(content) % 8)]
    return b"".join(parts)
