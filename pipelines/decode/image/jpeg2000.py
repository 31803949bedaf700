"""How much a JPEG 2000 decoder has to keep and to go through, from the headers of its codestream (ISO/IEC 15444-1).

A picture is cut into tiles, each of their components into resolutions, these into precincts and code-blocks. A decoder
keeps some hundred bytes for each of them, and goes through all precincts once for each quality layer; a few bytes of
header can ask for millions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from ..errors import UndecodableError

__all__ = ["check_jpeg2000"]

MOST_PARTS = 500_000
"""Precincts and code-blocks; a picture of 45 million pixels has 33,000 code-blocks of the usual size."""

MOST_PACKETS = 4_000_000
"""Precincts times layers."""

START, SIZ, COD, COC, SOT, SOD = b"\xff\x4f\xff\x51", 0xFF51, 0xFF52, 0xFF53, 0xFF90, 0xFF93
MOST_SEGMENTS = 100_000


class Coding(NamedTuple):
    """What a COD or COC segment says: layers (1 for a COC), and of each resolution the exponents of its precincts; the
    exponents of a code-block, all as (width, height)."""

    layers: int
    precincts: tuple[tuple[int, int], ...]
    block: tuple[int, int]


def check_jpeg2000(data: bytes) -> None:
    """Raise `UndecodableError` for a codestream of more parts than a decoder should keep, or with damaged headers."""
    start = data.find(START)
    if start < 0:
        return  # the decoder says what is wrong
    try:
        width, height, tile_width, tile_height, components = _sizes(data, start)
        codings = list(_codings(data, start))
    except (struct.error, IndexError, ValueError) as error:
        raise UndecodableError("damaged: its headers end too early") from error
    tiles = -(-width // tile_width) * -(-height // tile_height)
    tile = min(tile_width, width), min(tile_height, height)
    layers = max((coding.layers for coding in codings), default=1)
    parts = packets = 0
    for coding in codings:
        precincts, blocks = _counted(coding, *tile)
        parts = max(parts, (precincts + blocks) * tiles * components)
        packets = max(packets, precincts * tiles * components * layers)
    if parts > MOST_PARTS or packets > MOST_PACKETS:
        raise UndecodableError(
            f"its {width:,} × {height:,} pixels are cut into {parts:,} parts in {layers:,} layers, more than "
            f"{MOST_PARTS:,}, or {MOST_PACKETS:,} with their layers"
        )


def _sizes(data: bytes, start: int) -> tuple[int, int, int, int, int]:
    """Width and height of the picture and of a tile in pixels, and components."""
    right, bottom, left, top, tile_width, tile_height = struct.unpack_from(">6I", data, start + 8)
    (components,) = struct.unpack_from(">H", data, start + 40)
    if not (right > left and bottom > top and tile_width and tile_height):
        raise ValueError("no pixels")
    return right - left, bottom - top, tile_width, tile_height, components


def _codings(data: bytes, start: int) -> Iterator[Coding]:
    """Those of the main header and of the headers of all tile-parts."""
    place, part_end, components = start + 2, 0, struct.unpack_from(">H", data, start + 40)[0]
    for _ in range(MOST_SEGMENTS):
        if place + 4 > len(data):
            return
        marker, length = struct.unpack_from(">HH", data, place)
        body = data[place + 4 : place + 2 + length]
        if marker == SOT:
            (span,) = struct.unpack_from(">I", body, 2)
            part_end = place + span if span else len(data)
        elif marker == COD:
            yield _coding(body[0] & 1, struct.unpack_from(">H", body, 2)[0], body[5:])
        elif marker == COC:
            wide = 1 if components < 257 else 2
            yield _coding(body[wide] & 1, 1, body[wide + 1 :])
        if marker == SOD:
            if part_end <= place:
                return
            place = part_end
        elif marker < 0xFF00 or length < 2:
            return
        else:
            place += 2 + length
    raise UndecodableError(f"its codestream has more than {MOST_SEGMENTS:,} headers")


def _coding(has_precincts: int, layers: int, body: bytes) -> Coding:
    levels, block = body[0], (body[1] + 2, body[2] + 2)
    sizes = body[5 : 6 + levels] if has_precincts else bytes([0xFF]) * (levels + 1)
    if len(sizes) < levels + 1 or levels > 32:
        raise ValueError("cut off")
    return Coding(layers, tuple((size & 15, size >> 4) for size in sizes), block)


def _counted(coding: Coding, width: int, height: int) -> tuple[int, int]:
    """Precincts and code-blocks of one component of one tile."""
    precincts = blocks = 0
    levels = len(coding.precincts) - 1
    for resolution, (wide, high) in enumerate(coding.precincts):
        shift = levels - resolution
        here_width, here_height = -(-width // (1 << shift)), -(-height // (1 << shift))
        precincts += -(-here_width // (1 << wide)) * -(-here_height // (1 << high))
        across = 1 << min(coding.block[0], max(0, wide - bool(resolution)))
        down = 1 << min(coding.block[1], max(0, high - bool(resolution)))
        blocks += -(-here_width // across) * -(-here_height // down)
    return precincts, blocks
