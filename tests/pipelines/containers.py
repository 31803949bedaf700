"""PNG and WebP files put together by hand, chunk by chunk."""

from __future__ import annotations

import itertools
import struct
import zlib

import numpy as np
from PIL import Image

from .pictures import encode, smooth


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def insert_chunk(png: bytes, chunk: bytes, *, after_pixels: bool = False) -> bytes:
    """A chunk before the first IDAT, or before IEND."""
    place = len(png) - 12 if after_pixels else png.index(b"IDAT") - 4
    return png[:place] + chunk + png[place:]


def png_of_stream(stream: bytes, like: bytes, cuts: list[int]) -> bytes:
    """A PNG with the header of another, its compressed stream cut into several IDAT chunks, checksums in order."""
    edges = [0, *sorted(cuts), len(stream)]
    parts = [stream[start:end] for start, end in itertools.pairwise(edges)]
    return like[:33] + b"".join(png_chunk(b"IDAT", part) for part in parts) + png_chunk(b"IEND", b"")


def png_of_rows(side: int, colour_type: int, bit_depth: int, pixels: bytes, *, interlaced: bool = False) -> bytes:
    """A square PNG of any colour type and depth, its rows not filtered; `interlaced` is only true of one pixel."""
    header = struct.pack(">IIBBBBB", side, side, bit_depth, colour_type, 0, 0, int(interlaced))
    step = len(pixels) // side
    rows = b"".join(b"\0" + pixels[row * step : (row + 1) * step] for row in range(side))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in chunks)


def stream_of_png(png: bytes) -> bytes:
    """The compressed stream of a PNG."""
    position, stream = 8, b""
    while position < len(png):
        length = int.from_bytes(png[position : position + 4], "big")
        if png[position + 4 : position + 8] == b"IDAT":
            stream += png[position + 8 : position + 8 + length]
        position += 12 + length
    return stream


def webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) & 1)


def webp_file(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(flags: int, width: int, height: int) -> bytes:
    return webp_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + _three_bytes(width - 1) + _three_bytes(height - 1))


def webp_of_one_moving_frame() -> bytes:
    """An animation of a single frame of 30 × 20 that stands in the middle of a canvas of 60 × 40."""
    frame = encode(smooth(20, 30), "WEBP", quality=90)[12:]
    place = _three_bytes(14 // 2) + _three_bytes(10 // 2) + _three_bytes(29) + _three_bytes(19) + _three_bytes(100)
    return webp_file(
        webp_canvas(0x02, 60, 40),
        webp_chunk(b"ANIM", bytes(6)),
        webp_chunk(b"ANMF", place + b"\2" + frame),
    )


def see_through(height: int, width: int) -> Image.Image:
    """RGBA with every alpha from 0 to 255, over colours that do not know of it."""
    picture = smooth(height, width).convert("RGBA")
    alpha = np.linspace(0, 255, width).round().astype(np.uint8)
    picture.putalpha(Image.fromarray(np.tile(alpha, (height, 1))))
    return picture


def _three_bytes(value: int) -> bytes:
    return value.to_bytes(3, "little")
