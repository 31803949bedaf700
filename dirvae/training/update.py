"""One update of the weights: the backward pass, the guard, clipping, and the optimiser's step unless it is skipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dirvae.training.guard import GradientGuard, GuardTally
from dirvae.training.precision import Precision
from dirvae.training.ranks import ONE_RANK, Ranks

__all__ = ["Updater"]


class Updater:
    """Turns loss terms into a step of the optimiser, and skips the step if anything is not finite.

    With a fused optimiser the host never waits for a GPU: the flag goes into the optimiser's kernel. With any other
    optimiser it waits for the flag once per step; on the CPU reading the flag is free.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, precision: Precision, *, ranks: Ranks = ONE_RANK
    ) -> None:
        self.optimizer = optimizer
        self._scaler = precision.scaler()
        self._guard = GradientGuard(model, precision.device, ranks=ranks)
        self._is_flag_free = precision.device.type == "cpu"
        self._takes_flag = not self._is_flag_free and getattr(optimizer, "_step_supports_amp_scaling", False)

    def apply(self, terms: Mapping[str, Tensor], *, clip: float | None) -> tuple[Tensor, Tensor]:
        """Differentiate "loss" and update the weights. Returns (is_finite, gradient norm) on the device.

        Raises `NonFiniteError` after too many skipped updates in a row: at once on the CPU, elsewhere when `tally`
        is called.
        """
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(terms["loss"]))
        self._scaler.unscale_(self.optimizer)
        is_finite, norm = self._guard.check(terms, clip=clip)
        self._step(is_finite)
        self._scaler.update()
        if self._is_flag_free:
            self._guard.read()
        return is_finite, norm

    def tally(self) -> GuardTally:
        """How many updates were skipped. Waits for the device; raises `NonFiniteError` like `apply`."""
        return self._guard.read()

    def state_dict(self) -> dict[str, Any]:
        """The gradient scale and the guard's counts, as JSON."""
        return {"scaler": self._scaler.state_dict(), "guard": self._guard.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`; a scale saved under another precision is ignored."""
        if self._scaler.is_enabled() and state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self._guard.load_state_dict(state["guard"])

    def _step(self, is_finite: Tensor) -> None:
        if not self._takes_flag:
            if bool(is_finite):
                self.optimizer.step()
            return
        self.optimizer.found_inf = (~is_finite).float()  # type: ignore[attr-defined]
        try:
            self.optimizer.step()
        finally:
            del self.optimizer.found_inf  # type: ignore[attr-defined]
