"""Resizers: antialiased bilinear, from a view of uint8 pixels into a view of uint8 pixels.

A resizer takes source (height, width, channel) and target (height, width, channel), both uint8, and fills the
target. All of them are the triangle filter stretched to the scale of the reduction; they differ in speed and in
the last bit: Pillow's own, and PyTorch's (`torch_bridge.py`), about four times as fast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Pixels", "Resizer", "ResizerName", "pillow_resize", "resolve_resizer"]

Pixels = NDArray[np.uint8]
Resizer = Callable[[Pixels, Pixels], None]
ResizerName = Literal["auto", "exact", "pillow", "torch"]


def pillow_resize(source: Pixels, target: Pixels) -> None:
    """Fill the target by Pillow's `resize(..., BILINEAR)`."""
    height, width = target.shape[:2]
    gray = source.shape[2] == 1
    picture = Image.fromarray(source[:, :, 0] if gray else source)
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    target[...] = resized[:, :, None] if gray else resized


def resolve_resizer(name: ResizerName) -> tuple[ResizerName, Resizer]:
    """The resizer behind a name; "auto" is torch's where torch is installed, and Pillow's otherwise.

    "exact" decodes and resizes by Pillow alone. Raises `ValueError` for an unknown name, `ImportError` for
    "torch" without torch.
    """
    if name not in get_args(ResizerName):
        raise ValueError(f"resizer is {name!r}; it must be one of {', '.join(map(repr, get_args(ResizerName)))}.")
    if name in ("exact", "pillow"):
        return name, pillow_resize
    try:
        from ..torch_bridge import torch_resize
    except ImportError as error:
        if name == "auto":
            return "pillow", pillow_resize
        message = "resizer='torch' needs PyTorch: pip install torch, or pass resizer='pillow'."
        raise ImportError(message) from error
    return "torch", torch_resize
