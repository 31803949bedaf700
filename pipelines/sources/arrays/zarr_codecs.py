"""Undoing the compression of zarr's chunks, by numcodecs' decoders, bounded by what a chunk holds.

They release the GIL. A compressed chunk that would grow beyond the size its metadata tells is refused before it does.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import SourceError

__all__ = ["CRC_BYTES", "Decompress", "check_crc32c", "decompressor"]

CRC_BYTES = 4
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
BLOSC_HEADER_BYTES = 16
KNOWN = ("blosc", "crc32c", "gzip", "zlib", "zstd")


@dataclass(frozen=True)
class Decompress:
    """Undoes one codec: bytes to exactly `size` bytes (any number where it is -1). Raises `SourceError`."""

    codec: str
    size: int

    def __call__(self, content: bytes) -> Any:
        """The decompressed bytes, as anything with the buffer protocol."""
        if self.codec == "crc32c":
            return check_crc32c(content)
        if self.codec in ("gzip", "zlib"):
            return self._inflate(content)
        declared = _zstd_size(content) if self.codec == "zstd" else _blosc_size(content)
        if declared is not None and declared != self.size:
            raise SourceError(f"its {self.codec} data would hold {declared:,} bytes instead of {self.size:,}")
        return self._decode(content)

    def _decode(self, content: bytes) -> Any:
        from numcodecs import blosc, zstd

        found = np.empty(self.size, np.uint8)
        try:
            (zstd if self.codec == "zstd" else blosc).decompress(content, found)
        except (RuntimeError, ValueError, TypeError) as error:
            raise SourceError(f"its {self.codec} data is damaged ({error})") from error
        return found

    def _inflate(self, content: bytes) -> bytes:
        inflater = zlib.decompressobj(31 if self.codec == "gzip" else 15)
        try:
            found = inflater.decompress(content, self.size + 1)
        except zlib.error as error:
            raise SourceError(f"its {self.codec} data is damaged ({error})") from error
        if len(found) != self.size:
            more = " or more" if len(found) > self.size else ""
            raise SourceError(f"its {self.codec} data holds {len(found):,} bytes{more} instead of {self.size:,}")
        if not inflater.eof:
            raise SourceError(f"its {self.codec} data is cut off")
        return found


def decompressor(codec: str, size: int) -> Decompress | None:
    """What undoes a codec whose input was `size` bytes; None for one that is not known here."""
    return Decompress(codec, size) if codec in KNOWN and (size >= 0 or codec == "crc32c") else None


def check_crc32c(content: bytes) -> memoryview:
    """All but the last four bytes, which are the CRC-32C of the rest. Raises `SourceError` where they are not."""
    import google_crc32c

    body = memoryview(content)[:-CRC_BYTES]
    if len(content) < CRC_BYTES or google_crc32c.value(bytes(body)) != int.from_bytes(
        content[-CRC_BYTES:], "little"
    ):
        raise SourceError("it fails its checksum")
    return body


def _zstd_size(content: bytes) -> int | None:
    """What the frame declares to hold (RFC 8878, 3.1.1.1), None where it does not say."""
    if len(content) < 6 or content[:4] != ZSTD_MAGIC:
        raise SourceError("its zstd data is damaged (it does not begin like zstd)")
    flag, is_single, dictionary = content[4] >> 6, content[4] >> 5 & 1, content[4] & 3
    size = (1 if is_single else 0, 2, 4, 8)[flag]
    begin = 5 + (not is_single) + (0, 1, 2, 4)[dictionary]
    return int.from_bytes(content[begin : begin + size], "little") + 256 * (flag == 1) if size else None


def _blosc_size(content: bytes) -> int:
    """What the header declares to hold."""
    if len(content) < BLOSC_HEADER_BYTES or int.from_bytes(content[12:16], "little") > len(content):
        raise SourceError("its blosc data is cut off")
    return int.from_bytes(content[4:8], "little")
