"""What a step minimises, and the shape of a user's own loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from dirvae.schedules import linear_warm_up
from dirvae.training.errors import TrainingError
from dirvae.training.feed import FeedBatch

__all__ = ["Bound", "Loss", "split_terms"]

Loss = Callable[[Any, FeedBatch], Mapping[str, Tensor | float]]
"""(model, batch) → named terms, scalars; "loss" is minimised, the others are logged."""


class Bound:
    """The model's own loss, the weight of its KL term rising from 0 to 1 over `kl_warmup` steps."""

    def __init__(self, kl_warmup: int) -> None:
        self.kl_warmup = kl_warmup

    def __call__(self, model: Any, batch: FeedBatch) -> Mapping[str, Tensor | float]:
        """Terms in nats per example, and the weight under "kl_weight"."""
        weight = linear_warm_up(batch.step, steps=self.kl_warmup)
        out = model(batch.data)
        return {**model.loss(batch.data, out, kl_weight=weight, mask=batch.mask), "kl_weight": weight}


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
