"""Rows of stored arrays as examples: zarr and NumPy files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy_names import lazy_names

if TYPE_CHECKING:
    from .array_source import ArraySource, RowFields

__all__ = ["ArraySource", "RowFields"]

lazy_names(__name__, dict.fromkeys(__all__, ".array_source"))
