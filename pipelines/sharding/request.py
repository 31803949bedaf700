"""The arguments and the result of `make_shards`. This module imports nothing large."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..storage.walk import Failure
    from .set_job import SetReport
    from .settings import PackOptions

__all__ = ["PackReport", "PackRequest"]


@dataclass(frozen=True, kw_only=True)
class PackRequest:
    """The arguments of `make_shards` or `forecast_shards`, unchecked; `make_shards` explains them."""

    source: str | os.PathLike[str]
    out: str | os.PathLike[str] | None
    only: str | None
    workers: int | None
    strict: bool
    append: bool
    overwrite: bool
    retry_failed: bool
    storage_options: Mapping[str, Any] | None
    engine: str
    ray_address: str | None
    options: PackOptions
    progress: bool = False


@dataclass(frozen=True)
class PackReport:
    """What is there now: a set of shards for each modality that was packed.

    `skipped` files are neither media of these modalities nor sidecar files of one, `notes` are remarks on what was
    left alone. The rest adds up over `sets`.
    """

    sets: tuple[SetReport, ...]
    skipped: int
    notes: tuple[str, ...]
    seconds: float

    @property
    def out(self) -> Path | str:
        """The folder or URL of the set; of several sets, the one they are in."""
        from .places import folder_above

        return self.sets[0].out if len(self.sets) == 1 else folder_above(self.sets[0].out)

    @property
    def examples(self) -> int:
        """Examples in all shards."""
        return sum(one.examples for one in self.sets)

    @property
    def shards(self) -> int:
        """Shards of all sets."""
        return sum(one.shards for one in self.sets)

    @property
    def bytes(self) -> int:
        """Bytes of all shards."""
        return sum(one.bytes for one in self.sets)

    @property
    def new_shards(self) -> int:
        """Shards that were made by this call."""
        return sum(one.new_shards for one in self.sets)

    @property
    def was_complete(self) -> bool:
        """Whether there was nothing to do."""
        return all(one.was_complete for one in self.sets)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What could not be packed, set by set."""
        return tuple(failure for one in self.sets for failure in one.failures)
