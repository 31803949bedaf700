"""The loss that a step minimises, and the form of a user's own loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from dirvae.schedules import constant, cyclical, linear_warm_up
from dirvae.training.config import FitConfig
from dirvae.training.errors import TrainingError
from dirvae.training.feed import FeedBatch
from dirvae.training.wrappers import unwrapped

__all__ = ["Bound", "Loss", "split_terms"]

Loss = Callable[[Any, FeedBatch], Mapping[str, Tensor | float]]
"""(model, batch) → named terms, scalars; "loss" is minimised, the others are logged."""


def _read_data(batch: FeedBatch) -> Any:
    return batch.data


class Bound:
    """The model's own loss, with the weight of its KL term and the free nats of a config.

    `read` makes of a batch what the model is given; by default its data.
    """

    def __init__(self, config: FitConfig, read: Callable[[FeedBatch], Any] = _read_data) -> None:
        self._config, self._read = config, read

    def kl_weight(self, step: int) -> float:
        """The weight at a step: constant, rising once, or rising in every cycle."""
        config = self._config
        if config.kl_warmup == 0:
            return constant(step, value=config.kl_weight)
        if config.kl_cycle is None:
            return linear_warm_up(step, steps=config.kl_warmup, end=config.kl_weight)
        rising = config.kl_warmup / config.kl_cycle
        return cyclical(step, period=config.kl_cycle, rising=rising, end=config.kl_weight)

    @property
    def reads_data(self) -> bool:
        """Whether the model is given the data of the batch as it is."""
        return self._read is _read_data

    def caution(self, total_steps: int) -> str | None:
        """A sentence where a run is too short for the weight of its KL term, else None."""
        warmup = self._config.kl_warmup
        if self._config.kl_weight == 0 or warmup <= total_steps:
            return None
        return (
            f"the run ends after {total_steps:,} steps, before the KL weight reaches its full value at step "
            f"{warmup:,}; a KL warm-up of 0 (kl_warmup, --kl-warmup) gives the full weight from the start."
        )

    def __call__(self, model: Any, batch: FeedBatch) -> Mapping[str, Tensor | float]:
        """The model's terms, and the weight under "kl_weight"."""
        weight = self.kl_weight(batch.step)
        free = {} if self._config.free_nats is None else {"free_nats": self._config.free_nats}
        given = self._read(batch)
        out = model(given)
        inner: Any = unwrapped(model)
        return {**inner.loss(given, out, kl_weight=weight, mask=batch.mask, **free), "kl_weight": weight}


def split_terms(terms: Mapping[str, Tensor | float]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Tensors, to be averaged on the device, and plain numbers. Raises `TrainingError` without a scalar "loss"."""
    loss = terms.get("loss")
    if not isinstance(loss, Tensor) or loss.ndim != 0:
        raise TrainingError(
            f"the loss gave the terms {', '.join(map(repr, terms)) or '(none)'}; one of them must be 'loss', a "
            "scalar tensor to be minimised."
        )
    tensors = {name: value for name, value in terms.items() if isinstance(value, Tensor)}
    return tensors, {name: float(value) for name, value in terms.items() if not isinstance(value, Tensor)}
