"""Resizers: antialiased bilinear, from a view of uint8 pixels into a view of uint8 pixels.

A resizer takes source (height, width, channel) and target (height, width, channel), both uint8, and fills the
target. All of them are the triangle filter stretched to the scale of the reduction; they differ in speed and in
the last bit: Pillow's own; the same arithmetic in vector instructions (cykooz-resizer, a binding of the Rust crate
fast_image_resize), about four times as fast; and PyTorch's (`tensors.py`), which is as fast.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["Pixels", "Resizer", "ResizerName", "pillow_resize", "resolve_resizer", "simd_resize"]

Pixels = NDArray[np.uint8]
Resizer = Callable[[Pixels, Pixels], None]
ResizerName = Literal["auto", "exact", "pillow", "simd", "torch"]

_of_thread = threading.local()


def pillow_resize(source: Pixels, target: Pixels) -> None:
    """Fill the target by Pillow's `resize(..., BILINEAR)`."""
    height, width = target.shape[:2]
    gray = source.shape[2] == 1
    picture = Image.fromarray(source[:, :, 0] if gray else source)
    resized = np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))
    target[...] = resized[:, :, None] if gray else resized


def simd_resize(source: Pixels, target: Pixels) -> None:
    """Fill the target by cykooz-resizer: within 1 of Pillow's `resize(..., BILINEAR)` at every pixel."""
    from cykooz_resizer import FilterType, ImageData, PixelType, ResizeAlg, ResizeOptions, Resizer

    height, width, channels = target.shape
    pixel_type = PixelType.U8 if channels == 1 else PixelType.U8x3
    if not hasattr(_of_thread, "resizer"):
        _of_thread.resizer = Resizer()
        bilinear = ResizeAlg.convolution(FilterType.bilinear)
        _of_thread.options = ResizeOptions(resize_alg=bilinear, use_alpha=False)
    picture = ImageData(source.shape[1], source.shape[0], pixel_type, source.tobytes())
    resized = ImageData(width, height, pixel_type)
    _of_thread.resizer.resize(picture, resized, _of_thread.options)
    target[...] = np.frombuffer(resized.get_buffer(), np.uint8).reshape(target.shape)


def resolve_resizer(name: ResizerName) -> tuple[ResizerName, Resizer]:
    """The resizer behind a name; "auto" is the first that is installed of "simd", "torch" and "pillow".

    "exact" decodes and resizes by Pillow alone. Raises `ValueError` for an unknown name, `ImportError` for
    "simd" or "torch" without the package it needs.
    """
    if name not in get_args(ResizerName):
        raise ValueError(f"resizer is {name!r}; it must be one of {', '.join(map(repr, get_args(ResizerName)))}.")
    if name in ("exact", "pillow"):
        return name, pillow_resize
    if name in ("auto", "simd"):
        if importlib.util.find_spec("cykooz_resizer") is not None:
            return "simd", simd_resize
        if name == "simd":
            raise ImportError("resizer='simd' needs cykooz-resizer: pip install cykooz-resizer.")
    try:
        from ..tensors import torch_resize
    except ImportError as error:
        if name == "auto":
            return "pillow", pillow_resize
        message = "resizer='torch' needs PyTorch: pip install torch, or pass resizer='pillow'."
        raise ImportError(message) from error
    return "torch", torch_resize
