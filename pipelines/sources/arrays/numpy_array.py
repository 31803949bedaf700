"""NumPy files as stored arrays: a `.npy` alone, or the members of an uncompressed `.npz`. Nothing is unpickled.

Rows that lie one behind the other are read by offset, which releases the GIL and survives a file that is cut off;
other layouts (another axis, Fortran order) are mapped into memory.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...errors import SourceError
from ...storage.blob import LocalFile
from ...storage.npy import read_npy_header
from .stored_array import (
    MAX_CHUNK_BYTES,
    StoredArray,
    check_rows,
    checked_axis,
    checked_dtype,
    checked_shape,
    unreadable,
)

__all__ = ["NumpyArray", "npz_names"]

LOCAL_HEADER_BYTES = 30
LOCAL_MAGIC = b"PK\3\4"
ENCRYPTED, UTF_8_NAME = 1 << 0, 1 << 11  # flags of a zip's member
SAMPLES = 64
SAMPLE_BYTES = 4096


class NumpyArray(StoredArray):
    """A `.npy` file, or with `member` the array of that name in a `.npz` of `numpy.savez`.

    Raises `SourceError` for anything else, and for a file that is cut off, compressed, or holds Python objects.
    """

    cached = False

    def __init__(self, path: Path, *, member: str | None = None, axis: int = 0) -> None:
        self.path, self.name = path, str(path) if member is None else f"{path}/{member}"
        try:
            with open(path, "rb") as file:
                begin, end = (0, path.stat().st_size) if member is None else _member_span(file, self.name, member)
                file.seek(begin)
                shape, self._is_fortran, stored = _read_header(file, self.name)
                self._offset = file.tell()
        except OSError as error:
            raise SourceError(f"{path}: cannot be opened ({error.strerror}).") from error
        self.dtype = checked_dtype(self.name, stored)
        self.shape = checked_shape(self.name, shape, stored)
        self.axis = checked_axis(self.name, self.shape, axis)
        self._stored = stored
        self._file: LocalFile | None = None
        self._fingerprints: dict[int, str] = {}
        missing = math.prod(self.shape) * stored.itemsize - (end - self._offset)
        if missing > 0:
            raise SourceError(f"{self.name}: {missing:,} bytes of it are missing. Copy or write it again.")
        check_rows(self.name, self.row_bytes)
        if self.row_bytes > MAX_CHUNK_BYTES:
            raise unreadable(self.name, "a row", self.row_bytes)
        self.chunk_rows = 1

    def read_chunk(self, number: int) -> NDArray[Any]:
        """One row."""
        return self.read_rows(number, number + 1)

    def read_rows(self, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) in the array's layout. Raises `SourceError` where the file has become too short."""
        if self.axis or self._is_fortran:
            order: Any = "F" if self._is_fortran else "C"
            try:
                whole = np.memmap(self.path, self._stored, "r", self._offset, self.shape, order)
            except (OSError, ValueError) as error:
                raise SourceError(f"the file cannot be mapped into memory ({error})") from error
            return np.array(whole[self.along(start, stop)], self.dtype, order="C")
        count = (stop - start) * self.row_bytes
        content = self._opened().read(self._offset + start * self.row_bytes, count)
        if len(content) < count:
            raise SourceError(f"the file ends {count - len(content):,} bytes before the end of row {stop - 1}")
        rows = np.frombuffer(content, self._stored).reshape(stop - start, *self.row_shape)
        return rows.astype(self.dtype, copy=False)

    def _opened(self) -> LocalFile:
        file = self._file
        if file is None:
            file = self._file = LocalFile(self.path)
        return file

    def close(self) -> None:
        """Let go of the open file."""
        self._file = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def fingerprint(self, rows: int) -> str:
        """Over the type, the layout, and up to 64 pieces of 4 KB, evenly spread over the first `rows` rows."""
        if rows not in self._fingerprints:
            what = (self._stored.str, self._stored.descr, self.row_shape, self.axis, self._is_fortran, rows)
            digest = hashlib.sha256(repr(what).encode())
            whole = rows * self.row_bytes
            file = LocalFile(self.path)
            for begin in _spread(whole) if not (self.axis or self._is_fortran) else ():
                digest.update(file.read(self._offset + begin, min(SAMPLE_BYTES, whole - begin)))
            self._fingerprints[rows] = digest.hexdigest()
        return self._fingerprints[rows]


def npz_names(path: Path) -> list[str]:
    """The names of the arrays in a `.npz`. Raises `SourceError` for any other file."""
    names = [info.filename for info in _members(path, str(path))[0]]
    return [name.removesuffix(".npy") for name in dict.fromkeys(names) if name.endswith(".npy")]


def _spread(num_bytes: int) -> Iterable[int]:
    """Where the pieces begin that a fingerprint is taken of."""
    if num_bytes <= SAMPLES * SAMPLE_BYTES:
        return range(0, num_bytes, SAMPLE_BYTES)
    return (number * (num_bytes - SAMPLE_BYTES) // (SAMPLES - 1) for number in range(SAMPLES))


def _member_span(file: BinaryIO, name: str, member: str) -> tuple[int, int]:
    """Where a stored member of a zip lies: its first byte and the one after its last.

    Of several members of one name it is the last, as for NumPy. The member's own header must agree with the list at
    the end of the zip, and its bytes must lie before that list.
    """
    members, list_start = _members(file, name)
    info = next((info for info in reversed(members) if info.filename == f"{member}.npy"), None)
    if info is None:
        raise SourceError(f"{name}: not in the archive. Name an array that is.")
    if info.flag_bits & ENCRYPTED:
        raise SourceError(f"{name}: it is encrypted. Write it again by numpy.savez.")
    if info.compress_type != zipfile.ZIP_STORED:
        raise SourceError(f"{name}: it is compressed, so no row can be read alone. Use numpy.savez, or zarr.")
    begin = _payload_start(file, info) if 0 <= info.header_offset < list_start else None
    if begin is None or info.compress_size != info.file_size or begin + info.file_size > list_start:
        raise SourceError(f"{name}: the list of the .npz does not fit its content. Write it again by numpy.savez.")
    return begin, begin + info.file_size


def _payload_start(file: BinaryIO, info: zipfile.ZipInfo) -> int | None:
    """The first byte of a stored member's content, None where its own header says something else."""
    file.seek(info.header_offset)
    header = file.read(LOCAL_HEADER_BYTES)
    name_bytes, extra_bytes = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
    stored_name = info.orig_filename.encode("utf-8" if info.flag_bits & UTF_8_NAME else "cp437")
    if (header[:4], header[8:10], file.read(name_bytes)) != (LOCAL_MAGIC, b"\0\0", stored_name):
        return None
    return info.header_offset + LOCAL_HEADER_BYTES + name_bytes + extra_bytes


def _members(file: Path | BinaryIO, name: str) -> tuple[list[zipfile.ZipInfo], int]:
    """The members of a zip, and where the list of them begins. Raises `SourceError` for any other file."""
    try:
        with zipfile.ZipFile(file) as archive:
            return archive.infolist(), archive.start_dir
    except Exception as error:  # zipfile raises what damage provokes
        raise SourceError(f"{name}: not a readable .npz ({error}). Write it again by numpy.savez.") from error


def _read_header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and dtype; the file stands at the first value then."""
    try:
        return read_npy_header(file)
    except ValueError as error:
        raise SourceError(f"{name}: not a readable .npy ({error}). Write it again by numpy.save.") from error
