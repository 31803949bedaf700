"""How sets are made, none of which decides their bytes: by whom, and what may be done to a set that is there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from ..child_process import usable_cores
from ..errors import ShardingError
from ..order.checked_numbers import flag, whole_number
from .engines import ENGINES, make_engine
from .wording import joined

if TYPE_CHECKING:
    from .engines import Engine
    from .request import PackRequest

__all__ = ["Asked", "Manner", "check_workers", "checked_asking", "manner_of", "ready_engine"]


@dataclass(frozen=True)
class Asked:
    """What a run may do to a set that is finished: see `make_shards`."""

    append: bool = False
    overwrite: bool = False
    retry_failed: bool = False

    @property
    def adds(self) -> bool:
        """Whether shards may be added to a finished set."""
        return self.append or self.retry_failed


@dataclass(frozen=True)
class Manner:
    """How a set is made, none of which decides its bytes: see `make_shards`. `stream` shows the progress."""

    workers: int
    strict: bool
    asked: Asked
    stream: TextIO | None
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    engine: str = "processes"
    ray_address: str | None = None

    @property
    def has_others(self) -> bool:
        """Whether other processes than this one pack."""
        return self.engine == "ray" or self.workers > 0


def manner_of(request: PackRequest) -> Manner:
    """The manner that a request asks for. Raises `ValueError` or `TypeError` for invalid values."""
    strict, progress = flag("strict", request.strict), flag("progress", request.progress)
    asked = checked_asking(append=request.append, overwrite=request.overwrite, retry_failed=request.retry_failed)
    workers = check_workers(request.workers, request.engine, request.ray_address)
    stream = sys.stderr if progress else None
    return Manner(
        workers, strict, asked, stream, request.storage_options or {}, request.engine, request.ray_address
    )


def checked_asking(*, append: bool, overwrite: bool, retry_failed: bool) -> Asked:
    """What is asked of a set that is finished. Raises `ValueError` for what excludes each other."""
    asked = Asked(flag("append", append), flag("overwrite", overwrite), flag("retry_failed", retry_failed))
    if asked.overwrite and asked.adds:
        named = "append" if asked.append else "retry_failed"
        raise ValueError(f"{named} and overwrite exclude each other: keep what is there, or make it again.")
    return asked


def check_workers(workers: int | None, engine: str, ray_address: str | None) -> int:
    """Processes of this machine; with Ray most shards at a time, 0 for as many as the cluster has CPUs.

    Raises `ValueError` or `TypeError`.
    """
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}; it can be {joined(map(repr, ENGINES), 'or')}.")
    if engine == "ray":
        return 0 if workers is None else whole_number("workers", workers, least=1)
    if ray_address is not None:
        raise ValueError("ray_address names a cluster, on which engine='ray' packs: give both, or neither.")
    return usable_cores() if workers is None else whole_number("workers", workers, least=0)


@contextlib.contextmanager
def ready_engine(manner: Manner, begun: Engine | None) -> Iterator[Engine]:
    """The engine that packs: a connected Ray cluster, the workers `begun`, or this process."""
    if manner.engine != "ray":
        yield begun or make_engine(manner.workers)
        return
    from .engines.ray_cluster import connected
    from .engines.ray_engine import RayEngine

    with connected(manner.ray_address) as cluster:
        workers = manner.workers or cluster.num_cpus
        if not workers:
            raise ShardingError("The Ray cluster has no CPU yet. Say with --workers how many to ask it for.")
        yield RayEngine(cluster, workers)
