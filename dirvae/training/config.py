"""The settings that a `Trainer` reads."""

from __future__ import annotations

from dataclasses import dataclass, field

from dirvae.training.schedule import SCHEDULES
from dirvae.training.settings import FREE, Settings, is_count, is_number, is_positive

__all__ = ["PRECISIONS", "FitConfig"]

DEFAULT_STEPS = 1500
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
USUAL_COOLDOWN = 0.5


@dataclass(frozen=True, kw_only=True)
class FitConfig(Settings):
    """How long, how fast and in what arithmetic to train. Raises `ConfigError` for a value out of range.

    Training ends after `steps` updates or `epochs` passes over the data, whichever comes first where both are
    given; with neither, after 1,500 updates. The learning rate rises linearly over `learning_rate_warmup` steps.
    With the `schedule` "constant" it falls linearly to zero over the last `cooldown` share of the run; with
    "linear" or "cosine" it falls over the whole run, without a `cooldown`. The KL term's weight rises linearly to
    `kl_weight` over `kl_warmup` steps, and again in every cycle of `kl_cycle` steps where that is given; 0 trains
    without the term, and below `free_nats` it costs nothing. An update is that of `accumulate` batches together,
    fewer at the end of an epoch. `clip` is the largest gradient norm. `ema` is the decay of an average of the
    weights, such as 0.999, which is evaluated, sampled from and loaded in their place. After `patience` evaluations
    in a row that are not better than the best one, training ends. With `compile` the forward pass goes through
    `torch.compile`. With `checkpoint_activations` less memory is needed and more time: what a forward pass computes
    is computed again for its gradients. With `save_in_background` training goes on while a copy is saved, and
    `after_checkpoint` is called at the next save. `tensorboard`: whether the metrics are written for TensorBoard as
    well. `seed` decides the order of the data and all noise; the first weights are those of the model as it is
    given.
    """

    steps: int | None = field(default=None, metadata=FREE)
    epochs: int | None = field(default=None, metadata=FREE)
    learning_rate: float = 1e-3
    learning_rate_warmup: int = 20
    schedule: str = "constant"
    cooldown: float | None = USUAL_COOLDOWN
    kl_weight: float = 1.0
    kl_warmup: int = 300
    kl_cycle: int | None = None
    free_nats: float | None = None
    accumulate: int = 1
    clip: float | None = 1.0
    ema: float | None = None
    patience: int | None = field(default=None, metadata=FREE)
    precision: str = "auto"
    compile: bool = field(default=False, metadata=FREE)
    checkpoint_activations: bool = field(default=False, metadata=FREE)
    seed: int = 0
    device: str = field(default="auto", metadata=FREE)
    save_every: int = field(default=500, metadata=FREE)
    log_every: int = field(default=50, metadata=FREE)
    keep: int = field(default=2, metadata=FREE)
    save_in_background: bool = field(default=False, metadata=FREE)
    tensorboard: bool = field(default=False, metadata=FREE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps is None and self.epochs is None:
            object.__setattr__(self, "steps", DEFAULT_STEPS)
        self.check_counts_or_none("steps", "epochs")
        self.check_counts("save_every", "log_every", "keep", "accumulate", smallest=1)
        self.check_counts("learning_rate_warmup", "kl_warmup", "seed", smallest=0)
        self.check("seed", self.seed < 2**63, "below 2⁶³")
        self.check("learning_rate", is_positive(self.learning_rate), "a finite number > 0")
        weight = is_number(self.kl_weight) and self.kl_weight >= 0
        self.check("kl_weight", weight, "a finite number ≥ 0")
        free = self.free_nats is None or is_positive(self.free_nats)
        self.check("free_nats", free, "a finite number > 0")
        cycle = f"a whole number ≥ 1, and no shorter than the KL warm-up, {self.kl_warmup}"
        self.check("kl_cycle", self._is_cycle(), cycle)
        self.check("clip", self.clip is None or is_positive(self.clip), "a finite number > 0")
        share = self.cooldown is None or (is_positive(self.cooldown) and self.cooldown <= 1)
        self.check("cooldown", share, "a share of the run in (0, 1]")
        own = ". A function of your own is Trainer(schedule=function)" if callable(self.schedule) else ""
        self.check("schedule", self.schedule in SCHEDULES, f"one of {', '.join(SCHEDULES)}{own}")
        unused = self.schedule != "constant" and self.cooldown not in (None, USUAL_COOLDOWN)
        self.check("cooldown", not unused, f"left out, because schedule {self.schedule} falls over the whole run")
        average = self.ema is None or (is_positive(self.ema) and self.ema < 1)
        self.check("ema", average, "a decay in (0, 1), such as 0.999")
        self.check_counts_or_none("patience")
        self.check("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        for name in ("compile", "checkpoint_activations", "save_in_background", "tensorboard"):
            self.check(name, isinstance(getattr(self, name), bool), "true or false")
        self.check("device", isinstance(self.device, str) and self.device != "", "a torch device or 'auto'")

    def _is_cycle(self) -> bool:
        return self.kl_cycle is None or (is_count(self.kl_cycle, 1) and self.kl_cycle >= self.kl_warmup > 0)
