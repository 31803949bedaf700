"""Rows of stored arrays as examples: zarr and NumPy files."""

from .array_source import ArraySource, RowFields

__all__ = ["ArraySource", "RowFields"]
