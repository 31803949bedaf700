"""Packing folders of media into webdataset tar shards."""

from __future__ import annotations

from .make import PackReport, make_shards
from .packing_run import SetReport
from .writer import ShardWriter

__all__ = ["PackReport", "SetReport", "ShardWriter", "make_shards"]
