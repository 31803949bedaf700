"""What a `Trainer` is given, checked at once: a part of the wrong kind would fail in the middle of a training."""

from __future__ import annotations

from collections.abc import Mapping

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dirvae.training.callbacks import Callbacks
from dirvae.training.config import FitConfig

__all__ = ["refuse_wrong_kinds"]


def refuse_wrong_kinds(
    *, config: object, callbacks: object, optimizer: object, scheduler: object, functions: Mapping[str, object]
) -> None:
    """Raise `TypeError` for parts that are not of their kind, nor None. `functions`: by name, what must be callable."""
    if config is not None and not isinstance(config, FitConfig):
        remedy = "; write FitConfig(**config)" if isinstance(config, Mapping) else ""
        raise TypeError(f"config is {config!r}; it must be a FitConfig{remedy}.")
    if callbacks is not None and not isinstance(callbacks, Callbacks):
        raise TypeError(
            f"callbacks is {callbacks!r}; it must be a Callbacks, such as Callbacks(after_evaluation=function)."
        )
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"optimizer is {optimizer!r}; it must be one of torch.optim, made with the model's parameters."
        )
    if scheduler is not None and not isinstance(scheduler, LRScheduler):
        raise TypeError(
            f"scheduler is {scheduler!r}; it must be one of torch.optim.lr_scheduler, made with the optimizer."
        )
    for name, given in functions.items():
        if given is not None and not callable(given):
            hint = f". A schedule by name is FitConfig(schedule={given!r})" if _is_name(name, given) else ""
            raise TypeError(f"{name} is {given!r}; it must be a function{hint}.")


def _is_name(name: str, given: object) -> bool:
    return name == "schedule" and isinstance(given, str)
