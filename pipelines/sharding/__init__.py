"""Packing folders of media into webdataset tar shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .api import PackReport, make_shards
    from .set_job import SetReport
    from .writer import ShardWriter

__all__ = ["PackReport", "SetReport", "ShardWriter", "make_shards"]

lazy_names(
    __name__,
    {"PackReport": ".api", "SetReport": ".set_job", "ShardWriter": ".writer", "make_shards": ".api"},
)
