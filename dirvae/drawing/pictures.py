"""Images as files and as text: PNG bytes, data URIs, and sheets of many tiles."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

__all__ = ["data_uri", "save_sheet", "to_pixels"]

GAP = 4
"""Pixels between the tiles of a sheet."""


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Float images in [0, 1] (num, channel, height, width), 1 or 3 channels → uint8 (num, height, width, 3).

    Values outside are clipped; values that are not finite become black.
    """
    array = images.detach().float().nan_to_num(0.0).clamp(0, 1).mul(255).round().byte().cpu().numpy()
    array = array.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:3], 3)))


def data_uri(pixels: NDArray[np.uint8], *, largest: int = 128) -> str:
    """One image (height, width, 3) as a PNG data URI, reduced to at most `largest` pixels per side."""
    image = Image.fromarray(pixels)
    image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def save_sheet(path: Path, rows: list[NDArray[np.uint8]]) -> None:
    """Write rows of equal tiles, each (num, height, width, 3), as one PNG on white."""
    height, width = rows[0].shape[1:3]
    columns = max(len(row) for row in rows)
    size = (len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3)
    sheet = np.full(size, 255, np.uint8)
    for line, row in enumerate(rows):
        for column, tile in enumerate(row):
            top, left = line * (height + GAP), column * (width + GAP)
            sheet[top : top + height, left : left + width] = tile
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path)
