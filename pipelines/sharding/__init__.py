"""Packing folders of media into webdataset tar shards."""

from __future__ import annotations

from .api import PackReport, make_shards
from .set_job import SetReport
from .writer import ShardWriter

__all__ = ["PackReport", "SetReport", "ShardWriter", "make_shards"]
