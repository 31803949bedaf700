"""Encoded bytes to arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .decoder import Decoder, Details, FunctionDecoder
    from .image.image_decoder import ImageDecoder

__all__ = ["Decoder", "Details", "FunctionDecoder", "ImageDecoder"]

lazy_names(
    __name__,
    {
        "Decoder": ".decoder",
        "Details": ".decoder",
        "FunctionDecoder": ".decoder",
        "ImageDecoder": ".image.image_decoder",
    },
)
