"""Encoded pictures to pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy_names import lazy_names

if TYPE_CHECKING:
    from .image_decoder import ImageDecoder, upright

__all__ = ["ImageDecoder", "upright"]

lazy_names(__name__, dict.fromkeys(__all__, ".image_decoder"))
