"""Who packs the shards: this process, several that are watched over, or a Ray cluster. The bytes are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy_names import lazy_names

if TYPE_CHECKING:
    from .choice import make_engine
    from .engine import Engine, OnFile
    from .processes import ProcessEngine
    from .ray_engine import RayEngine
    from .serial import SerialEngine

__all__ = ["ENGINES", "Engine", "OnFile", "ProcessEngine", "RayEngine", "SerialEngine", "make_engine"]

ENGINES = ("processes", "ray")
"""What can be asked for by name."""

lazy_names(
    __name__,
    {
        "Engine": ".engine",
        "OnFile": ".engine",
        "ProcessEngine": ".processes",
        "RayEngine": ".ray_engine",
        "SerialEngine": ".serial",
        "make_engine": ".choice",
    },
)
