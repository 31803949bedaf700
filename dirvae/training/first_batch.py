"""What data may be, checked once: on the first batch that a `Trainer` takes."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from dirvae.losses import Likelihood
from dirvae.training.errors import ConfigError, TrainingWarning
from dirvae.training.feed import FeedBatch, data_of

__all__ = ["check_first_batch"]


def check_first_batch(model: Any, batch: FeedBatch, *, is_own_loss: bool) -> None:
    """Check a batch as it was given, and as the model's likelihood sees it. Waits for the device.

    `is_own_loss`: the likelihood is given the data as it is. Raises `ConfigError` then for data that the likelihood is
    not defined on; with a loss of the caller's, which may prepare the data itself, that is a `TrainingWarning`. So are
    8-bit zeros and ones, levels that were not scaled, and data that the likelihood is not a density of.
    """
    given = torch.as_tensor(data_of(batch.source))
    if batch.mask is not None:
        given = given[torch.as_tensor(batch.mask).to(given.device)]
    if given.dtype == torch.uint8 and given.numel() and int(given.max()) == 1:
        _warn(
            "the first batch holds uint8 zeros and ones, which are scaled from 0–255 to 0 and 1/255; give data of "
            "zeros and ones as booleans or floats."
        )
        return
    likelihood = getattr(model, "likelihood", None)
    if not isinstance(likelihood, Likelihood):
        return
    seen = batch.data if batch.mask is None else batch.data[batch.mask]
    try:
        caution = likelihood.check(seen) if is_own_loss else _misfit(likelihood, seen)
    except ValueError as error:
        raise ConfigError(f"the first batch does not fit the model: {error}") from error
    if caution is None and _are_levels(seen):
        caution = "it holds whole numbers up to 255; scale them to [0, 1], which the networks expect."
    if caution is not None:
        _warn(f"the first batch: {caution}")


def _misfit(likelihood: Likelihood, x: Tensor) -> str | None:
    """What a loss of the caller's has to prepare the data for."""
    try:
        likelihood.check(x)
    except ValueError as error:
        return f"{error} The loss can also prepare the data itself."
    return None


def _are_levels(x: Tensor) -> bool:
    """Whether floats look like 8-bit levels that were not scaled."""
    is_level = (x == x.round()) & (x >= 0) & (x <= 255)
    return x.numel() > 0 and bool(is_level.all() & (x.max() > 100))


def _warn(sentence: str) -> None:
    warnings.warn(sentence, TrainingWarning, stacklevel=4)
