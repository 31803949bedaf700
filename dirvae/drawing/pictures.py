"""Images as files and as text: PNG bytes, data URIs, and sheets of many tiles."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

__all__ = ["data_uri", "join_tiles", "save_sheet", "to_pixels"]

LOSSLESS_PIXELS = 48**2
MOST_BYTES = 7000
"""The largest size of a picture with more pixels; see `data_uri`."""
QUALITIES = (90, 75, 50, 25)
"""Qualities of WebP, in order: the first that makes a picture small enough is taken."""
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
    """One image (height, width, 3) as a data URI, reduced to at most `largest` pixels per side.

    Up to 48 × 48 pixels it is a PNG. A larger image is a WebP picture of the best quality that fits into 7,000 bytes,
    or above 128 × 128 pixels into 7,000 bytes per 128 × 128. So a page of some hundred pictures stays small.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    if image.width * image.height <= LOSSLESS_PIXELS:
        content = _encoded(image, "PNG", optimize=True)
        return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    most = MOST_BYTES * max(1.0, image.width * image.height / 128**2)
    for quality in QUALITIES:
        content = _encoded(image, "WEBP", quality=quality, method=2)
        if len(content) <= most:
            break
    return "data:image/webp;base64," + base64.b64encode(content).decode("ascii")


def _encoded(image: Image.Image, form: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def join_tiles(rows: list[NDArray[np.uint8]], gap: int) -> NDArray[np.uint8]:
    """Rows of equal tiles, each (num, height, width, 3), as one picture, `gap` white pixels apart."""
    height, width = rows[0].shape[1:3]
    columns = max(len(row) for row in rows)
    sheet = np.full((len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, np.uint8)
    for line, row in enumerate(rows):
        for column, tile in enumerate(row):
            top, left = line * (height + gap), column * (width + gap)
            sheet[top : top + height, left : left + width] = tile
    return sheet


def save_sheet(path: Path, rows: list[NDArray[np.uint8]]) -> None:
    """Write rows of equal tiles, each (num, height, width, 3), as one PNG on white. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(join_tiles(rows, GAP)).save(path)
