"""The settings that a `Trainer` reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from dirvae.training.errors import ConfigError
from dirvae.training.settings import FREE, Settings, is_count, is_positive

__all__ = ["PRECISIONS", "FitConfig"]

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class FitConfig(Settings):
    """How long, how fast and in what arithmetic to train. Raises `ConfigError` for a value out of range.

    Training ends after `steps` updates or `epochs` passes over the data, whichever comes first. The learning rate
    rises linearly over `learning_rate_warmup` steps and falls linearly to zero over the last `cooldown` share of
    the run. The KL term's weight rises linearly to `kl_weight` over `kl_warmup` steps, and again in every cycle of
    `kl_cycle` steps where that is given; below `free_nats` the term costs nothing. `clip` is the largest gradient
    norm. `tensorboard`: whether the metrics are written for TensorBoard as well.
    """

    steps: int | None = field(default=1500, metadata=FREE)
    epochs: int | None = field(default=None, metadata=FREE)
    learning_rate: float = 1e-3
    learning_rate_warmup: int = 20
    cooldown: float | None = 0.5
    kl_weight: float = 1.0
    kl_warmup: int = 300
    kl_cycle: int | None = None
    free_nats: float | None = None
    clip: float | None = 1.0
    precision: str = "auto"
    seed: int = 0
    device: str = field(default="auto", metadata=FREE)
    save_every: int = field(default=500, metadata=FREE)
    log_every: int = field(default=50, metadata=FREE)
    keep: int = field(default=2, metadata=FREE)
    tensorboard: bool = field(default=False, metadata=FREE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is None and self.epochs is None:
            raise ConfigError("steps and epochs are both None; give one of them, or training would never end.")
        self.check_counts_or_none("steps", "epochs")
        self.check_counts("save_every", "log_every", "keep", smallest=1)
        self.check_counts("learning_rate_warmup", "kl_warmup", "seed", smallest=0)
        self.check("seed", self.seed < 2**63, "below 2⁶³")
        self.check("learning_rate", is_positive(self.learning_rate), "a finite number > 0")
        self.check("kl_weight", is_positive(self.kl_weight), "a finite number > 0")
        free = self.free_nats is None or is_positive(self.free_nats)
        self.check("free_nats", free, "None or a finite number > 0")
        cycle = f"None or ≥ 1, and no shorter than kl_warmup, {self.kl_warmup}"
        self.check("kl_cycle", self._is_cycle(), cycle)
        self.check("clip", self.clip is None or is_positive(self.clip), "None or a finite number > 0")
        share = self.cooldown is None or (is_positive(self.cooldown) and self.cooldown <= 1)
        self.check("cooldown", share, "None or a share of the run in (0, 1]")
        self.check("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        self.check("tensorboard", isinstance(self.tensorboard, bool), "True or False")
        self.check("device", isinstance(self.device, str) and self.device != "", "a torch device or 'auto'")

    def _is_cycle(self) -> bool:
        return self.kl_cycle is None or (is_count(self.kl_cycle, 1) and self.kl_cycle >= self.kl_warmup > 0)
