"""The records of TensorBoard's event files, written without TensorBoard: framing, and the few messages inside.

record      length (uint64) · masked CRC-32C of it · data · masked CRC-32C of the data, all little-endian
data        an `Event` in protobuf's wire format:
                1 wall_time (double)   2 step (int64)   3 file_version (string)   5 summary   7 session_log
            of a summary:   1 value (repeated)
            of a value:     1 tag (string)   2 simple_value (float)   5 histo   and others, see `tagged`
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = [
    "StoredEvent",
    "crc32c",
    "encode_event",
    "encode_record",
    "histogram",
    "message",
    "read_events",
    "scalar",
    "tagged",
]

NUM_BUCKETS = 60
_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli, RFC 3720) of bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def encode_record(data: bytes) -> bytes:
    """Bytes as one record of a file."""
    length = struct.pack("<Q", len(data))
    return length + _masked(length) + data + _masked(data)


def message(fields: Mapping[int, int | float | str | bytes | Sequence[float]]) -> bytes:
    """A protobuf message from values by field number.

    An int is a varint (64 bits), a float a double, a sequence packed doubles; bytes may be a message themselves.
    """
    return b"".join(_field(number, value) for number, value in fields.items())


def tagged(tag: str, number: int, content: bytes) -> bytes:
    """A value of a summary: `content` is the message that stands in the field of that number."""
    return message({1: tag, number: content})


def scalar(tag: str, value: float) -> bytes:
    """A number as a value of a summary; it is rounded to float32."""
    with np.errstate(over="ignore"):
        return message({1: tag}) + _key(2, _FLOAT) + struct.pack("<f", np.float32(value))


def histogram(tag: str, values: ArrayLike) -> bytes | None:
    """A histogram of the finite numbers among `values`, of any shape, as a summary value; None without any."""
    numbers = np.asarray(values, np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return None
    counts, edges = np.histogram(numbers, NUM_BUCKETS)
    content: dict[int, float | Sequence[float]] = {
        1: float(numbers.min()),
        2: float(numbers.max()),
        3: float(len(numbers)),
        4: float(numbers.sum()),
        5: float(np.square(numbers).sum()),
        6: edges[1:].tolist(),
        7: counts.astype(np.float64).tolist(),
    }
    return tagged(tag, 5, message(content))


def encode_event(step: int, wall_time: float, values: Sequence[bytes]) -> bytes:
    """An event with a summary of values; `wall_time` in seconds since 1970."""
    return message({1: wall_time, 2: step, 5: b"".join(message({1: value}) for value in values)})


@dataclass(frozen=True)
class StoredEvent:
    """An event of a file: `data` is its message, `are_scalars` says whether its values are numbers."""

    step: int
    wall_time: float
    are_scalars: bool
    data: bytes = field(repr=False)


def read_events(path: str | os.PathLike[str]) -> Iterator[StoredEvent]:
    """The events of a file that have a summary, up to the first record that is cut short or damaged.

    Raises `OSError`.
    """
    content = Path(path).read_bytes()
    place = 0
    while (data := _record_at(content, place)) is not None:
        place += len(data) + 16
        found = dict(_fields(data))
        if isinstance(summary := found.get(5), bytes):
            numbers = {number for _, value in _fields(summary) for number, _ in _fields(value)}
            wall_time = struct.unpack("<d", found[1])[0] if 1 in found else 0.0
            yield StoredEvent(int(found.get(2, 0)), wall_time, 2 in numbers, data)


def _field(number: int, value: int | float | str | bytes | Sequence[float]) -> bytes:
    if isinstance(value, int):
        return _key(number, _VARINT) + _varint(value)
    if isinstance(value, float):
        return _key(number, _DOUBLE) + struct.pack("<d", value)
    if isinstance(value, str):
        value = value.encode()
    elif not isinstance(value, bytes):
        value = struct.pack(f"<{len(value)}d", *value)
    return _key(number, _BYTES) + _varint(len(value)) + value


def _key(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a message by number: varints as int, all others as bytes."""
    place = 0
    while place < len(data):
        key, place = _read_varint(data, place)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, place = _read_varint(data, place)
            yield number, value
            continue
        length = {_DOUBLE: 8, _FLOAT: 4}.get(wire_type)
        if length is None:
            length, place = _read_varint(data, place)
        yield number, data[place : place + length]
        place += length


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _record_at(content: bytes, place: int) -> bytes | None:
    """The data of the record at a place; None at the end, and where it is not whole."""
    length = content[place : place + 8]
    if len(length) < 8 or content[place + 8 : place + 12] != _masked(length):
        return None
    begin = place + 12
    end = begin + struct.unpack("<Q", length)[0]
    data = content[begin:end]
    return data if content[end : end + 4] == _masked(data) else None


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _make_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


_TABLE = _make_table()
