"""Seeded damage to bytes and to JSON: flips, cuts, splices, lying numbers, other types at any path."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["Damage", "mend_ogg", "mend_png", "mend_tar"]

NUMBERS = (
    0,
    1,
    2,
    3,
    8,
    127,
    128,
    255,
    256,
    65535,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**62,
    2**63 - 1,
    2**63,
    2**64 - 1,
)
BYTES = (0, 0xFF, 0x7F, 0x80, 0x20, 0x30, 0x0A, 0x5B, 0x7B, 0x22)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 1000, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 0.5, -0.0),
    *(1e308, float("nan"), float("inf"), "", "x", "0", "../x", "/etc", "a\0b", "\ud800", "ü" * 300, "[]"),
    *([], [[]], [None], [0], [1, 2, 3], ["x"], {}, {"": None}, {"name": 1}, [{}], {"a": {"b": []}}),
)
TEXTS = ("NaN", "-Infinity", "1" * 5000, "1e999", "[" * 5000, '{"a":' * 5000, '"\\ud800"', "'x'", "", "\0", "﻿1")
Path = tuple[Any, ...]


class Damage:
    """What damages the input of one case: all of it follows from the name of the target and the case's number.

    Without a number it damages nothing, to see that the input is read.
    """

    def __init__(self, target: str, number: int | None) -> None:
        self.rng = np.random.default_rng([zlib.crc32(target.encode()), number or 0])
        self.is_none = number is None

    def below(self, num: int) -> int:
        """A random number in [0, num)."""
        return 0 if self.is_none else int(self.rng.integers(num))

    def one_of(self, things: Sequence[Any]) -> Any:
        """One of these, the first one where nothing is damaged."""
        return things[self.below(len(things))]

    def bytes(
        self,
        content: bytes,
        *,
        head: int | None = None,
        others: Sequence[bytes] = (),
        mend: Callable[[bytes], bytes] | None = None,
    ) -> bytes:
        """Damaged in 1 to 4 places, three quarters of them in the first `head` bytes.

        others: what pieces are taken from; mend: makes checksums right again, in two cases of three.
        """
        if self.is_none:
            return content
        damaged = bytearray(content)
        for _ in range(self._times()):
            self._damage_once(damaged, head, others)
        return mend(bytes(damaged)) if mend is not None and self.below(3) else bytes(damaged)

    def _times(self) -> int:
        return int(self.one_of((1, 1, 1, 2, 2, 3, 4)))

    def _damage_once(self, content: bytearray, head: int | None, others: Sequence[bytes]) -> None:
        reach = min(head, len(content)) if head is not None and self.below(4) else len(content)
        place, kind = self.below(max(1, reach)), self.below(10)
        stop = min(len(content), place + 1 + self.below(64))
        if kind == 0 and content:
            content[place] ^= 1 << self.below(8)
        elif kind == 1 and content:
            content[place] = self.one_of(BYTES)
        elif kind == 2:
            del content[place:]
        elif kind == 3:
            del content[place:stop]
        elif kind == 4:
            content[place:place] = content[place:stop] * self.one_of((1, 1, 2, 50))
        elif kind == 5:
            source = self.one_of((content, *others))
            begin = self.below(max(1, len(source)))
            content[place:stop] = source[begin : begin + self.below(200)]
        elif kind == 6 and content:
            content[place:stop] = bytes([self.one_of(BYTES)]) * (stop - place)
        else:
            self._set_number(content, place)

    def _set_number(self, content: bytearray, place: int) -> None:
        """A number of 1 to 8 bytes, at a multiple of its size in half of the cases."""
        size, order = self.one_of((1, 2, 2, 4, 4, 8, 8)), self.one_of(("<", ">"))
        place -= place % size if self.below(2) else 0
        value = (self.one_of(NUMBERS) + self.one_of((0, 0, 1, -1))) % (1 << 8 * size)
        packed = struct.pack(order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size], value)
        content[place : place + size] = packed[: len(content) - place]

    def number(self, dtype: np.dtype[Any], value: int) -> int:
        """Another number of an integer type: near the old one, or one that is easily got wrong."""
        if self.is_none:
            return value
        bits = 8 * dtype.itemsize
        word = (self.one_of((value, value, *NUMBERS)) + self.one_of((0, 1, -1, 512, -512, 7))) % (1 << bits)
        return word - (1 << bits) if dtype.kind == "i" and word >> (bits - 1) else word

    def json(self, value: Any) -> bytes:
        """A JSON text with other values, missing or doubled keys in 1 to 4 places; or with damaged bytes."""
        if self.is_none:
            return json.dumps(value).encode()
        for _ in range(self._times()):
            value = self._other_json(value)
        text = json.dumps(value)
        if not self.below(6):
            text = self._odd_text(text)
        content = text.encode("utf-8", "surrogatepass")
        return self.bytes(content) if not self.below(6) else content

    def value(self, value: Any) -> Any:
        """The same as objects, without a detour through text."""
        if not self.is_none:
            for _ in range(self._times()):
                value = self._other_json(value)
        return value

    def lines(self, values: Sequence[Any]) -> bytes:
        """JSON Lines: one of them damaged, doubled, moved, cut or left out."""
        texts = [json.dumps(value).encode() + b"\n" for value in values]
        if self.is_none or not texts:
            return b"".join(texts)
        place, kind = self.below(len(texts)), self.below(8)
        if kind < 5:
            texts[place] = self.json(values[place]) + self.one_of((b"\n", b"\n", b"", b"\r\n", b"\n\n"))
        elif kind == 5:
            texts.insert(self.below(len(texts)), texts[place])
        elif kind == 6:
            del texts[place]
        content = b"".join(texts)
        return self.bytes(content) if kind == 7 else content

    def _other_json(self, value: Any) -> Any:
        path = self.one_of(_paths(value))
        kind, inner = self.below(6), _at(value, path)
        if kind == 0 and path:
            return _changed(value, path[:-1], _without(_at(value, path[:-1]), path[-1]))
        if kind == 1 and isinstance(inner, list):
            return _changed(value, path, inner * self.one_of((0, 2, 3)) if inner else [None])
        if kind == 2:
            return _changed(value, path, self.one_of(([inner], {"a": inner}, str(inner)[:100], [inner, inner])))
        if kind == 3:
            return _changed(value, path, _at(value, self.one_of(_paths(value))))
        if isinstance(inner, int) and not isinstance(inner, bool) and self.below(2):
            return _changed(value, path, inner + self.one_of((1, -1, 7, -7, 2**31, -(2**63), 2**63)))
        return _changed(value, path, self.one_of(VALUES))

    def _odd_text(self, text: str) -> str:
        """What no object becomes as JSON: a key twice, numbers of many digits, depth."""
        places = [place for place, letter in enumerate(text) if letter in ":,[{"]
        if not places or not self.below(3):
            return str(self.one_of(TEXTS))
        place = self.one_of(places) + 1
        if text[place - 1] == "{" and not self.below(2):
            stop = text.find(",", place)
            return text[:place] + (text[place:stop] + "," if stop > 0 else "") + text[place:]
        stop = min((end for end in (text.find(mark, place) for mark in ",]}") if end > 0), default=len(text))
        return text[:place] + str(self.one_of(TEXTS)) + text[stop:]


def _paths(value: Any, path: Path = ()) -> list[Path]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in _paths(each, (*path, key)))]


def _at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def _changed(value: Any, path: Path, new: Any) -> Any:
    """A copy with another value at a path."""
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = _changed(value[path[0]], path[1:], new)
    return copied


def _without(value: Any, key: Any) -> Any:
    copied = dict(value) if isinstance(value, dict) else list(value)
    del copied[key]
    return copied


def mend_tar(content: bytes) -> bytes:
    """A tar whose header at every multiple of 512 bytes that looks like one has the right checksum."""
    mended = bytearray(content)
    for place in range(0, len(content) - 511, 512):
        if content[place + 257 : place + 262] == b"ustar":
            mended[place + 148 : place + 156] = b" " * 8
            mended[place + 148 : place + 156] = b"%06o\0 " % sum(mended[place : place + 512])
    return bytes(mended)


def mend_png(content: bytes) -> bytes:
    """A PNG whose chunks have the right checksums, up to the first one that does not end."""
    mended, place = bytearray(content), 8
    while place + 12 <= len(content):
        stop = place + 8 + int.from_bytes(content[place : place + 4], "big")
        if stop + 4 > len(content):
            break
        mended[stop : stop + 4] = zlib.crc32(content[place + 4 : stop]).to_bytes(4, "big")
        place = stop + 4
    return bytes(mended)


def _ogg_table() -> list[int]:
    table = []
    for number in range(256):
        rest = number << 24
        for _ in range(8):
            rest = (rest << 1 ^ (0x04C11DB7 if rest & 0x80000000 else 0)) & 0xFFFFFFFF
        table.append(rest)
    return table


_OGG = _ogg_table()


def mend_ogg(content: bytes) -> bytes:
    """An Ogg file whose pages have the right checksums."""
    mended, place = bytearray(content), content.find(b"OggS")
    while place >= 0 and place + 27 <= len(content):
        sizes = content[place + 27 : place + 27 + content[place + 26]]
        stop = min(len(content), place + 27 + len(sizes) + sum(sizes))
        mended[place + 22 : place + 26] = bytes(4)
        check = 0
        for byte in mended[place:stop]:
            check = (check << 8 & 0xFFFFFFFF) ^ _OGG[check >> 24 ^ byte]
        mended[place + 22 : place + 26] = check.to_bytes(4, "little")
        place = content.find(b"OggS", stop)
    return bytes(mended)
