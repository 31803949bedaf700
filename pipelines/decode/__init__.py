"""Encoded bytes to arrays."""

from .decoder import Decoder, Details, FunctionDecoder
from .image import ImageDecoder

__all__ = ["Decoder", "Details", "FunctionDecoder", "ImageDecoder"]
