"""Encoded bytes to arrays."""

from .decoder import Decoder, Details, FunctionDecoder
from .image.image_decoder import ImageDecoder

__all__ = ["Decoder", "Details", "FunctionDecoder", "ImageDecoder"]
