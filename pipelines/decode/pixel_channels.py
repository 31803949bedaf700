"""From the channels a picture is stored with to those that are asked for; alpha is dropped, not blended."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["with_channels"]


def with_channels(pixels: NDArray[np.uint8], num: int) -> NDArray[np.uint8]:
    """(height, width, stored) uint8 of gray, RGB or RGBA as gray (`num` 1) or RGB (`num` 3).

    Gray stays one channel also where three are asked for: repeat it after resizing. Colour to gray is Pillow's
    ITU-R 601 luma. A view where that is possible.
    """
    stored = pixels.shape[2]
    if stored in (1, num):
        return pixels
    if num == 1:
        return np.array(Image.fromarray(np.ascontiguousarray(pixels)).convert("L"))[:, :, None]
    colour = np.empty((*pixels.shape[:2], 3), np.uint8)
    for channel in range(3):  # a plane at a time: four times as fast as NumPy's copy of triples
        colour[:, :, channel] = pixels[:, :, channel]
    return colour
