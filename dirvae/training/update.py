"""One update of the weights: the backward pass, the guard, clipping, and the optimiser's step unless it is skipped.

A skipped update leaves no trace: the weights, the optimiser's state and the buffers are those from before it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dirvae.training.buffers import KeptBuffers
from dirvae.training.errors import ConfigError
from dirvae.training.guard import GradientGuard, GuardTally
from dirvae.training.precision import Precision
from dirvae.training.ranks import ONE_RANK, Ranks

__all__ = ["Updater", "refuse_misfit"]

SMALLEST_LOSS_SCALE = 2.0**-14
"""Below it, gradients of fp16 that are not finite are the model's fault and not that of the scale."""


class Updater:
    """Turns loss terms into a step of the optimiser, and skips the step if anything is not finite.

    With a fused optimiser the host never waits for a GPU: the flag goes into the optimiser's kernel. With any other
    optimiser it waits for the flag once per step; on the CPU reading the flag is free.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, precision: Precision, *, ranks: Ranks = ONE_RANK
    ) -> None:
        self.optimizer = optimizer
        self._model = model
        self._buffers = KeptBuffers(model)
        self._scaler = precision.scaler()
        self._guard = GradientGuard(model, precision.device, ranks=ranks)
        self._is_flag_free = precision.device.type == "cpu"
        self._takes_flag = not self._is_flag_free and getattr(optimizer, "_step_supports_amp_scaling", False)

    def prepare(self) -> None:
        """Begin an update: keep what a forward pass may change, and forget gradients; call it before the first one."""
        self._buffers.keep()
        self._model.zero_grad(set_to_none=True)  # also of weights that the optimiser does not know
        self.optimizer.zero_grad(set_to_none=True)

    def add(self, loss: Tensor, *, share: float = 1.0) -> None:
        """Add the gradients of a share of a loss to those of the update."""
        torch.autograd.backward(self._scaler.scale(loss if share == 1 else loss * share))

    def forget(self) -> None:
        """Leave no trace of what was done since `prepare`: neither gradients nor changes of buffers."""
        self._model.zero_grad(set_to_none=True)
        self._buffers.put_back(torch.tensor(False))

    def apply(self, terms: Mapping[str, Tensor], *, clip: float | None) -> tuple[Tensor, Tensor]:
        """Update the weights, if `terms` and gradients are finite. Returns (is_finite, gradient norm) on the device.

        Raises `NonFiniteError` after too many skipped updates in a row: at once on the CPU, elsewhere when `tally`
        is called.
        """
        self._scaler.unscale_(self.optimizer)
        is_finite, norm = self._guard.check(terms, clip=clip, may_overflow=self._may_overflow())
        self._step(is_finite)
        self._buffers.put_back(is_finite)
        self._scaler.update()
        if self._is_flag_free:
            self._guard.read()
        return is_finite, norm

    def tally(self) -> GuardTally:
        """How many updates were skipped. Waits for the device; raises `NonFiniteError` like `apply`."""
        return self._guard.read()

    @property
    def culprit(self) -> str | None:
        """What was the first to be not finite in the latest row of skipped updates. Waits for the device."""
        return self._guard.culprit

    def state_dict(self) -> dict[str, Any]:
        """The gradient scale and the guard's counts, as JSON."""
        return {"scaler": self._scaler.state_dict(), "guard": self._guard.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`; a scale saved under another precision is ignored."""
        if self._scaler.is_enabled() and state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])
        self._guard.load_state_dict(state["guard"])

    def _may_overflow(self) -> Tensor | None:
        scale = self._scaler._scale if self._scaler.is_enabled() else None
        return None if scale is None else scale > SMALLEST_LOSS_SCALE

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


def refuse_misfit(model: nn.Module, optimizer: Optimizer | None) -> None:
    """Raise `ConfigError` for a model or an optimiser that cannot be trained in steps of one backward pass each."""
    lazy = [name for name, value in model.named_parameters() if nn.parameter.is_lazy(value)]
    if lazy:
        raise ConfigError(
            f"the shape of {lazy[0]} is not known yet; call the model once on a batch before making the Trainer, so "
            "that its lazy layers get their weights."
        )
    if optimizer is None:
        return
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise ConfigError(
            f"{type(optimizer).__name__} computes the loss several times per step, and a Trainer computes it once; "
            "use an optimiser whose step() needs no closure, such as Adam."
        )
    mine = {id(value) for value in model.parameters()}
    if not any(id(value) in mine for group in optimizer.param_groups for value in group["params"]):
        raise ConfigError(
            f"{type(optimizer).__name__} holds none of the model's parameters, so it would train nothing; make it "
            "from model.parameters() of the model that the Trainer is given."
        )
