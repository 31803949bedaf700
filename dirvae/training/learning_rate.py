"""The learning rate as a pure function of the step, unless the caller has a schedule of their own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from dirvae.training.config import FitConfig
from dirvae.training.errors import CheckpointError, ConfigError
from dirvae.training.schedule import learning_rate_factor

__all__ = ["LearningRates"]


class LearningRates:
    """The learning rates of an optimiser's groups.

    They follow a config, as shares of the rates that the groups begin with. They are the caller's, and left alone,
    where a scheduler was made for the optimiser, and from the step on at which somebody else sets one of them.
    `schedule` is a function of the step that gives these shares in the config's place.
    `scheduler`, which was made for the optimiser, steps after every update, and checkpoints hold its state. Raises
    `ConfigError` for a scheduler of another optimiser, or one that steps by a metric.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        config: FitConfig,
        *,
        total_steps: int,
        scheduler: LRScheduler | None = None,
        schedule: Callable[[int], float] | None = None,
    ) -> None:
        self._optimizer, self._config, self._total_steps = optimizer, config, total_steps
        self._scheduler, self._schedule = scheduler, schedule
        if scheduler is not None and schedule is not None:
            raise ConfigError(
                "both scheduler and schedule are given, and both set the learning rate; give one of them."
            )
        if schedule is not None and config.schedule != "constant":
            raise ConfigError(
                f"both a schedule function and FitConfig(schedule={config.schedule!r}) are given, and both set the "
                "learning rate; give one of them."
            )
        self._first = [float(group["lr"]) for group in optimizer.param_groups]
        self._set: list[float] | None = None
        self._had_schedule: bool | None = None
        self.are_callers = scheduler is not None or any("initial_lr" in group for group in optimizer.param_groups)
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ConfigError(
                "ReduceLROnPlateau steps by a metric; call its step() where you compute that, in evaluate or loss, and "
                "do not give it as scheduler."
            )
        if scheduler is not None and scheduler.optimizer is not optimizer:
            raise ConfigError(
                "scheduler changes the learning rate of another optimiser; give the Trainer the optimizer that it was "
                "made with."
            )

    @property
    def misses_scheduler(self) -> bool:
        """Whether a scheduler was made for the optimiser that was not given, so that no checkpoint holds its state."""
        return self._scheduler is None and any("initial_lr" in group for group in self._optimizer.param_groups)

    @property
    def has_schedule(self) -> bool:
        """Whether `schedule` gives the shares."""
        return self._schedule is not None

    @property
    def changes_schedule(self) -> bool:
        """Whether the loaded state is of a run with a `schedule` and this has none, or the other way round."""
        return self._had_schedule is not None and self._had_schedule != self.has_schedule

    @property
    def first_group(self) -> float:
        """The learning rate of the first group now."""
        return float(self._optimizer.param_groups[0]["lr"])

    def set(self, step: int) -> None:
        """Set the rates of a step, unless they are the caller's."""
        groups = self._optimizer.param_groups
        if self._set is not None and self._set != [float(group["lr"]) for group in groups]:
            self.are_callers = True
        if self.are_callers:
            return
        factor = self.factor(step, self._total_steps)
        self._set = [rate * factor for rate in self._first]
        for group, rate in zip(groups, self._set, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        self._set = [float(group["lr"]) for group in groups]  # as a tensor rounds them

    def factor(self, step: int, total_steps: int) -> float:
        """The share of the full rate at a step of a run of `total_steps`: by `schedule`, or the config.

        Raises `ConfigError` for a schedule that gives no finite number ≥ 0.
        """
        config = self._config
        if self._schedule is None:
            return learning_rate_factor(
                step,
                total=total_steps,
                warmup=config.learning_rate_warmup,
                cooldown=config.cooldown,
                schedule=config.schedule,
            )
        factor = self._schedule(step)
        if not isinstance(factor, int | float) or not 0 <= factor < math.inf:
            raise ConfigError(
                f"schedule gave {factor!r} at step {step}; it must give a finite number ≥ 0, the factor of the "
                "learning rate."
            )
        return float(factor)

    def advance(self) -> None:
        """An update is done: the caller's scheduler steps."""
        if self._scheduler is not None:
            self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Whose the rates are, the scheduler's state without what its constructor gave it, and whether there is a
        `schedule`, as JSON.
        """
        scheduler = None if self._scheduler is None else _json_part(self._scheduler.state_dict())
        return {"are_callers": self.are_callers, "scheduler": scheduler, "has_schedule": self.has_schedule}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict()`. Raises `CheckpointError` if one has a scheduler and the other has none."""
        saved = state["scheduler"]
        if (saved is None) != (self._scheduler is None):
            has, lacks = ("this Trainer", "the checkpoint") if saved is None else ("the checkpoint", "this Trainer")
            raise CheckpointError(f"{has} has a scheduler and {lacks} has none. Resume with the same scheduler.")
        if self._scheduler is not None:
            self._scheduler.load_state_dict({**self._scheduler.state_dict(), **saved})
        self.are_callers, self._set = state["are_callers"] or self.are_callers, None
        self._had_schedule = state.get("has_schedule")  # older checkpoints do not say


def _json_part(state: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that are the same after a way through JSON; the others, functions for instance, are not state."""
    kept = {}
    for name, value in state.items():
        try:
            is_same = json.loads(json.dumps(value)) == value
        except (TypeError, ValueError):
            continue
        if is_same:
            kept[name] = value
    return kept
