"""Averaged weights: an exponential moving average of what the optimiser has reached (Polyak averaging).

After update n the average moves towards the weights by the share 1 - d, d being the smaller of the decay and
(n + 1) / (n + 10), so that the first weights are soon forgotten. A skipped update leaves it as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dirvae.training.errors import CheckpointError

__all__ = ["AveragedWeights"]


class AveragedWeights:
    """The average of a model's weights, on their device; buffers are those of the model itself.

    `decay` is below 1: 0.999 averages over about the last thousand updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
        self._average = {name: value.detach().clone() for name, value in self._weights.items()}

    @torch.no_grad()
    def update(self, step: int, is_finite: Tensor) -> None:
        """Follow the update of a step, counted from 0; `is_finite`: whether it was done, a scalar on the device."""
        decay = min(self.decay, (step + 2) / (step + 11))
        moves = torch._foreach_sub([value.detach() for value in self._weights.values()], self._values())
        torch._foreach_mul_(moves, is_finite * (1.0 - decay))
        torch._foreach_add_(self._values(), moves)

    def tensors(self) -> dict[str, Tensor]:
        """The averages by the names of their weights."""
        return dict(self._average)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor] | None, *, origin: str) -> None:
        """Continue from `tensors()`; None begins at the model's weights. Raises `CheckpointError` for other names."""
        saved = self._weights if tensors is None else tensors
        if saved.keys() != self._average.keys():
            raise CheckpointError(
                f"{origin}: its averaged weights are of another model. Resume with the same model."
            )
        for name, value in self._average.items():
            value.copy_(saved[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the model has the averaged weights; afterwards its own again, to the bit."""
        own = {name: value.detach().clone() for name, value in self._weights.items()}
        _copy(self._average, self._weights)
        try:
            yield
        finally:
            _copy(own, self._weights)

    def _values(self) -> list[Tensor]:
        return list(self._average.values())


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for name, value in target.items():
        value.copy_(source[name])
