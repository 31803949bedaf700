"""The edges between the strongest components of a model, as latents and as one sheet of pictures, for the page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dirvae.explore.traversals import interpolate

__all__ = ["EdgeCounts", "edge_latents", "edge_section", "num_ends", "sheet_uri"]

MOST_SHEET_BYTES = 900_000
QUALITIES = (88, 75, 60, 45, 30)
PADDING = 1
"""Pixels around each tile that repeat its border, so that an enlarged tile does not show its neighbours."""
LARGEST_SIDE = 16_383
"""Pixels per side of a WebP picture, at most."""


@dataclass(frozen=True)
class EdgeCounts:
    """Components whose edges are shown at most, and places on an edge, both ends included."""

    components: int
    steps: int


def edge_latents(ends: Tensor, steps: int) -> Tensor:
    """Straight lines between all pairs of `ends` (num ≥ 2, model_size, *grid): (pair, steps, model_size, *grid).

    The pairs come in the order (0, 1), (0, 2) …, (1, 2) …; both ends of a line are included.
    """
    return torch.stack([interpolate(ends[i], ends[j], steps) for i, j in combinations(range(len(ends)), 2)])


def num_ends(num_pairs: int) -> int:
    """The number of ends that have this many pairs; 0 for no pair."""
    return (1 + math.isqrt(1 + 8 * num_pairs)) // 2 if num_pairs else 0


def edge_section(
    numbers: Sequence[int], films: NDArray[np.uint8], *, largest: int, milliseconds: int = 0
) -> dict[str, Any] | None:
    """The values that the page needs to show the edges between components of these numbers; None without an edge.

    `films` (pair, step, frame, height, width, 3) are in the order of `edge_latents`. They become tiles of at most
    `largest` pixels per side. Several frames are shown one after the other, each for `milliseconds`.
    """
    if len(numbers) < 2:
        return None
    pairs, steps, frames = films.shape[:3]
    uri, (width, height) = sheet_uri(films.reshape(pairs, steps * frames, *films.shape[3:]), largest=largest)
    return {
        "uri": uri,
        "numbers": list(numbers),
        "pairs": [(numbers[i], numbers[j]) for i, j in combinations(range(len(numbers)), 2)],
        "steps": steps,
        "frames": frames,
        "shown_frame": frames // 2,
        "width": width,
        "height": height,
        "milliseconds": milliseconds,
        "players": None,
    }


def sheet_uri(tiles: NDArray[np.uint8], *, largest: int) -> tuple[str, tuple[int, int]]:
    """Tiles (row, column, height, width, 3) as one WebP data URI below 1.2 MB, and the width and height of a tile.

    A tile is at most `largest` pixels per side, and has a border of one more pixel. If the sheet is too large, first
    its quality is lowered, then its tiles are made smaller.
    """
    rows, columns, height, width = tiles.shape[:4]
    room = LARGEST_SIDE / max(rows * height, columns * width) - 4 * PADDING / max(height, width)
    scale = min(1.0, largest / max(height, width), room)
    while True:
        sheet, size = _sheet(tiles, scale)
        for quality in QUALITIES:
            buffer = io.BytesIO()
            sheet.save(buffer, "WEBP", quality=quality, method=4)
            if buffer.tell() <= MOST_SHEET_BYTES:
                return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), size
        scale *= 0.75


def _sheet(tiles: NDArray[np.uint8], scale: float) -> tuple[Image.Image, tuple[int, int]]:
    """The tiles at a scale with their borders as one picture, and the size of one of them with its border."""
    height, width = (max(1, round(scale * side)) for side in tiles.shape[2:4])
    around = ((0, 0), (0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
    padded = np.pad(_resized(tiles, width, height), around, mode="edge")
    rows, columns, tall, wide = padded.shape[:4]
    joined = padded.transpose(0, 2, 1, 3, 4).reshape(rows * tall, columns * wide, 3)
    return Image.fromarray(np.ascontiguousarray(joined)), (wide, tall)


def _resized(tiles: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    if tiles.shape[2:4] == (height, width):
        return tiles
    flat = [
        np.asarray(Image.fromarray(tile).resize((width, height), Image.Resampling.LANCZOS))
        for row in tiles
        for tile in row
    ]
    return np.stack(flat).reshape(*tiles.shape[:2], height, width, 3)
