"""The engine of this machine for a number of processes."""

from __future__ import annotations

from .engine import Engine
from .processes import ProcessEngine
from .serial import SerialEngine

__all__ = ["make_engine"]


def make_engine(workers: int) -> Engine:
    """The engine for a number of worker processes of this machine; 0 packs in this one."""
    return ProcessEngine(workers) if workers else SerialEngine()
