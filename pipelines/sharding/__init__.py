"""Packing folders of media into webdataset tar shards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .api import make_shards
    from .forecast import Forecast, SetForecast, forecast_shards
    from .request import PackReport
    from .set_job import SetReport
    from .writer import ShardWriter

__all__ = [
    "Forecast",
    "PackReport",
    "SetForecast",
    "SetReport",
    "ShardWriter",
    "forecast_shards",
    "make_shards",
]

lazy_names(
    __name__,
    {
        "Forecast": ".forecast",
        "PackReport": ".request",
        "SetForecast": ".forecast",
        "SetReport": ".set_job",
        "ShardWriter": ".writer",
        "forecast_shards": ".forecast",
        "make_shards": ".api",
    },
)
