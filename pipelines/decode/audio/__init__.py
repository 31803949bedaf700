"""Recordings to samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy_names import lazy_names

if TYPE_CHECKING:
    from .audio_decoder import AudioDecoder

__all__ = ["AudioDecoder"]

lazy_names(__name__, dict.fromkeys(__all__, ".audio_decoder"))
