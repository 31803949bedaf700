"""Recordings to samples."""

from .audio_decoder import AudioDecoder

__all__ = ["AudioDecoder"]
