"""Settings of a training run as frozen values that cannot be wrong.

`FitConfig` is what a `Trainer` reads; `TrainConfig` adds what `python -m dirvae.train` needs to make the data and
the model. `None` means off. A field marked `_free` may change when a run is resumed; the others may not.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from dirvae import latents, losses
from dirvae.training.errors import ConfigError

_free = {"may_change_on_resume": True}

__all__ = ["LATENTS", "LIKELIHOODS", "ON_ERROR", "PRECISIONS", "PRESETS", "FitConfig", "TrainConfig"]

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
LATENTS = tuple(sorted(latents.LATENTS))
LIKELIHOODS = tuple(sorted(losses.LIKELIHOODS))
ON_ERROR = ("raise", "substitute")
PRESETS = ("tiny", "small", "base", "large")


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How long, how fast and in what arithmetic to train. Raises `ConfigError` for a value out of range.

    Training ends after `steps` updates or `epochs` passes over the data, whichever comes first. The learning rate
    rises linearly over `learning_rate_warmup` steps and falls linearly to zero over the last `cooldown` share of
    the run. The KL term's weight rises linearly to `kl_weight` over `kl_warmup` steps, in every cycle of `kl_cycle`
    steps anew where that is given; below `free_nats` the term costs nothing. `clip` is the largest gradient norm.
    """

    steps: int | None = field(default=1500, metadata=_free)
    epochs: int | None = field(default=None, metadata=_free)
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
    device: str = field(default="auto", metadata=_free)
    save_every: int = field(default=500, metadata=_free)
    log_every: int = field(default=50, metadata=_free)
    keep: int = field(default=2, metadata=_free)

    def __post_init__(self) -> None:
        if self.steps is None and self.epochs is None:
            raise ConfigError("steps and epochs are both None; give one of them, or training would never end.")
        for name in ("steps", "epochs"):
            _check(self, name, getattr(self, name) is None or _is_count(getattr(self, name), 1), "None or ≥ 1")
        for name in ("save_every", "log_every", "keep"):
            _check(self, name, _is_count(getattr(self, name), 1), "a whole number ≥ 1")
        for name in ("learning_rate_warmup", "kl_warmup", "seed"):
            _check(self, name, _is_count(getattr(self, name), 0), "a whole number ≥ 0")
        _check(self, "seed", self.seed < 2**63, "below 2⁶³")
        _check(self, "learning_rate", _is_positive(self.learning_rate), "a finite number > 0")
        _check(self, "kl_weight", _is_positive(self.kl_weight), "a finite number > 0")
        free = self.free_nats is None or _is_positive(self.free_nats)
        _check(self, "free_nats", free, "None or a finite number > 0")
        _check(self, "kl_cycle", self._is_cycle(), f"None or ≥ 1, and no shorter than kl_warmup, {self.kl_warmup}")
        _check(self, "clip", self.clip is None or _is_positive(self.clip), "None or a finite number > 0")
        share = self.cooldown is None or (_is_positive(self.cooldown) and self.cooldown <= 1)
        _check(self, "cooldown", share, "None or a share of the run in (0, 1]")
        _check(self, "precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        _check(self, "device", isinstance(self.device, str) and self.device != "", "a torch device or 'auto'")

    def _is_cycle(self) -> bool:
        return self.kl_cycle is None or (_is_count(self.kl_cycle, 1) and self.kl_cycle >= self.kl_warmup > 0)

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values, one key a field."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """The settings saved by `to_json`. Raises `ConfigError` for unknown keys or bad values."""
        known = {entry.name for entry in fields(cls)}
        unknown = sorted(set(content) - known)
        if unknown:
            raise ConfigError(
                f"unknown setting {', '.join(map(repr, unknown))}; the settings are {', '.join(sorted(known))}."
            )
        return cls(**content)

    def changes_since(self, before: Self) -> list[str]:
        """What differs from `before` although a resumed run may not change it, as `name: old → new`."""
        fixed = [entry.name for entry in fields(self) if not entry.metadata.get("may_change_on_resume")]
        return [
            f"{name}: {getattr(before, name)} → {getattr(self, name)}"
            for name in fixed
            if getattr(before, name) != getattr(self, name)
        ]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(FitConfig):
    """All settings of a run of `python -m dirvae.train`.

    `source` is a folder of shards or images, a tar, a pattern or a URL: it may move between save and resume, its
    content may not. `size` is the side of the square images in pixels, `held_out` the share of the examples kept
    for evaluation, `grid` the side of the map of latents (None: one per image), `prior` the concentration of the
    latent's prior or "learned" (None: the latent's own default), `fixed_scale` the scale that the likelihood stays at
    (None: learned), `threads` the decode threads, `on_error` whether an image that cannot be
    decoded ends the run or another takes its place.
    """

    source: str = field(default="data/image", metadata=_free)
    size: int = 64
    batch_size: int = 32
    flip: bool = False
    held_out: float | None = 0.05
    threads: int | None = field(default=None, metadata=_free)
    on_error: str = field(default="raise", metadata=_free)
    preset: str = "tiny"
    model_size: int = 32
    grid: int | None = None
    latent: str = "dirichlet"
    prior: float | str | None = None
    likelihood: str = "gaussian"
    fixed_scale: float | None = None
    init_from: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "source", isinstance(self.source, str) and self.source != "", "a path or URL")
        for name in ("size", "batch_size"):
            _check(self, name, _is_count(getattr(self, name), 1), "a whole number ≥ 1")
        _check(self, "model_size", _is_count(self.model_size, 2), "a whole number ≥ 2")
        for name in ("threads", "grid"):
            _check(self, name, getattr(self, name) is None or _is_count(getattr(self, name), 1), "None or ≥ 1")
        share = self.held_out is None or (_is_positive(self.held_out) and self.held_out < 1)
        _check(self, "held_out", share, "None or a share of the examples in (0, 1)")
        _check(self, "on_error", self.on_error in ON_ERROR, f"one of {', '.join(ON_ERROR)}")
        _check(self, "flip", isinstance(self.flip, bool), "True or False")
        _check(self, "latent", self.latent in LATENTS, f"one of {', '.join(LATENTS)}")
        prior = self.prior is None or self.prior == "learned" or _is_positive(self.prior)
        _check(self, "prior", prior, "None, 'learned' or a finite number > 0")
        _check(self, "likelihood", self.likelihood in LIKELIHOODS, f"one of {', '.join(LIKELIHOODS)}")
        scale = self.fixed_scale is None or _is_positive(self.fixed_scale)
        _check(self, "fixed_scale", scale, "None or a finite number > 0")
        _check(self, "preset", self.preset in PRESETS, f"one of {', '.join(PRESETS)}")


def _check(config: FitConfig, name: str, is_valid: bool, expected: str) -> None:
    if not is_valid:
        raise ConfigError(f"{name} is {getattr(config, name)!r}; it must be {expected}.")


def _is_count(value: object, smallest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= smallest


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
