"""The settings of an encoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dirvae.training.errors import ConfigError

__all__ = ["EncodeConfig"]


@dataclass(frozen=True, kw_only=True)
class EncodeConfig:
    """What is encoded, and what is kept of it.

    `source`: shards, a folder or a URL; None: the run's own data. `samples`: draws from each posterior. `fields`:
    members of the examples that are kept as arrays. `batch_size` and `shard_examples`: examples in a forward pass,
    and in a shard of the arrays (None: as many as make 64 MiB, at most 4,096, of whole batches). `which`: "best",
    "last" or a step. `weights`: "ema", "raw", or None, as in `load_model`. `on_error`: "raise" or "substitute", as in
    `DataIterator`. `overwrite`: replace what is there. Raises `ConfigError`.
    """

    source: str | None = None
    samples: int = 1
    fields: tuple[str, ...] = ()
    batch_size: int = 32
    shard_examples: int | None = None
    threads: int | None = None
    which: str | int = "best"
    weights: str | None = None
    device: str = "cpu"
    seed: int = 0
    on_error: Literal["raise", "substitute"] = "raise"
    overwrite: bool = False

    def __post_init__(self) -> None:
        for name, least in (("samples", 0), ("batch_size", 1), ("shard_examples", 1), ("threads", 1)):
            count = getattr(self, name)
            if count is not None and count < least:
                raise ConfigError(f"{name} is {count}; it must be {least} or more.")
        if self.shard_examples is not None and self.shard_examples % self.batch_size:
            raise ConfigError(
                f"shard_examples is {self.shard_examples}; it must be a multiple of batch_size, which is "
                f"{self.batch_size}, so that batches are the same after an interruption."
            )
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed is {self.seed}; it must be 0 or more and below 2⁶³.")
