"""Encoded pictures to pixels."""

from .image_decoder import ImageDecoder, upright

__all__ = ["ImageDecoder", "upright"]
