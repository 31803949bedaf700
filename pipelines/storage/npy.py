"""NumPy's file format, read from many threads at once.

NumPy evaluates a header as a Python literal, and in CPython 3.11 two threads that parse Python at the same time can
raise `SystemError: AST constructor recursion depth mismatch`. So ordinary headers are read here by a pattern, and
whatever is not ordinary is left to NumPy, one thread at a time.

Source: the format's own description, `numpy.lib.format`.
"""

from __future__ import annotations

import io
import math
import os
import re
import threading
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["load_npy", "npy_bytes", "read_npy_header"]

MAX_HEADER_BYTES = 10_000  # NumPy's own limit
MAX_AXES = 32  # of every version of NumPy
MAX_ARRAY_BYTES = 1 << 48  # more than any machine can address
_HEADER = re.compile(
    r"\{'descr': (?P<descr>'[^']*'|\[.*\]), 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>(?:\d{1,18}, )*(?:\d{1,18},?)?)\), \} *\n?"
)
_one_at_a_time = threading.Lock()


def _renew_lock() -> None:
    global _one_at_a_time
    _one_at_a_time = threading.Lock()  # a fork may have copied it while it was held


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def read_npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """(shape, whether in Fortran order, dtype) of an npy file; the file then stands at its values.

    Raises `ValueError` for any other file, for more than 32 axes, and for values of zero bytes or shapes beyond any
    memory, since no number of bytes in the file would justify them. Nothing is allocated from what the header claims.
    """
    shape, is_fortran, dtype = _parsed_header(file)
    _check_claims(shape, dtype)
    return shape, is_fortran, dtype


def _check_claims(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise `ValueError` for an array that cannot be real. An axis of no values does not hide the others."""
    if len(shape) > MAX_AXES:
        raise ValueError(f"it claims {len(shape)} axes; at most {MAX_AXES} can be read")
    if dtype.subdtype is not None:
        raise ValueError(f"it claims values of type {dtype}, which are arrays themselves")
    if not dtype.itemsize and 0 not in shape:
        raise ValueError(f"it claims values of type {dtype.str}, which take no bytes")
    if math.prod(max(size, 1) for size in shape) * max(dtype.itemsize, 1) > MAX_ARRAY_BYTES:
        raise ValueError("it claims a shape that no memory could hold")


def _parsed_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    begin = file.tell()
    head = file.read(8)
    width = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4, b"\x93NUMPY\x03\x00": 4}.get(head)
    if width is None:
        raise ValueError("it does not begin like an npy array")
    length = int.from_bytes(file.read(width), "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header claims {length:,} bytes")
    found = _HEADER.fullmatch(file.read(length).decode("latin-1"))
    try:
        if found is not None:
            shape = tuple(int(number) for number in re.findall(r"\d+", found["shape"]))
            return shape, found["fortran"] == "True", _dtype(found["descr"])
        file.seek(begin)
        with _one_at_a_time:
            version = np.lib.format.read_magic(file)
            first = version == (1, 0)  # 3.0 differs from 2.0 in the encoding of field names alone
            read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
            header = read(file)
    except Exception as error:  # NumPy evaluates the header as Python, and raises whatever that provokes
        raise ValueError("its header is damaged") from error
    if not all(type(size) is int and 0 <= size <= MAX_ARRAY_BYTES for size in header[0]):
        raise ValueError("its header is damaged: a size is not a number of values")
    return header


@lru_cache(maxsize=256)
def _dtype(descr: str) -> np.dtype[Any]:
    if descr.startswith("'"):
        return np.dtype(descr[1:-1])
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (), }}".encode("latin-1")
    with _one_at_a_time:
        return np.lib.format.read_array_header_1_0(io.BytesIO(len(text).to_bytes(2, "little") + text))[2]


def load_npy(content: bytes) -> NDArray[Any]:
    """The array in an npy file's bytes, a copy. Raises `ValueError` for anything else; Python objects are refused."""
    file = io.BytesIO(content)
    shape, is_fortran, dtype = read_npy_header(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not read")
    num, begin = math.prod(shape), file.tell()
    if num * dtype.itemsize > len(content) - begin:
        raise ValueError(f"it is cut off: {len(content) - begin:,} of {num * dtype.itemsize:,} bytes are there")
    if not num:
        return np.zeros(shape, dtype)
    flat = np.frombuffer(content, dtype, num, begin)
    return flat.reshape(shape, order="F" if is_fortran else "C").copy("K")


def npy_bytes(array: NDArray[Any]) -> bytes:
    """An array as an npy file, in C order; the same array gives the same bytes."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return file.getvalue()
