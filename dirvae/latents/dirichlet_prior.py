"""Dirichlet priors: what a caller may give, and a concentration learned from the posteriors themselves."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dirvae.float64 import KeepsFloat64, narrow, wide

__all__ = ["MomentPrior", "check_prior", "concentration_from_moments", "prior_concentration"]

MIN_PRIOR = 1e-6
MAX_PRIOR = 1e6


def check_prior(value: float, given: object) -> None:
    """ValueError for a concentration outside [1e-6, 1e6], `given` being what the caller wrote it in.

    Within these limits every density, divergence and moment of a prior is finite; far outside them float32 itself
    turns a concentration to 0 or infinity.
    """
    if not MIN_PRIOR <= value <= MAX_PRIOR:
        raise ValueError(
            f"the prior is {given}; every concentration must be a finite number above zero, from {MIN_PRIOR:g} to "
            f"{MAX_PRIOR:g}."
        )


def prior_concentration(prior: float | Sequence[float] | str | None, model_size: int) -> Tensor:
    """A prior's concentration as (model_size,) float32: one number for all, one each, or None for 1 - 1/K.

    Raises ValueError for another count than `model_size`, or a value outside [1e-6, 1e6].
    """
    if model_size < 2:
        raise ValueError(f"model_size is {model_size}; a simplex has at least 2 components.")
    if isinstance(prior, str):
        raise ValueError(
            f"the prior is {prior!r}; give one number, or one for each component ('learned' for a Dirichlet's)."
        )
    if prior is None:
        prior = 1 - 1 / model_size
    values = [float(prior)] * model_size if isinstance(prior, int | float) else [float(value) for value in prior]
    if len(values) != model_size:
        raise ValueError(
            f"the prior has {len(values)} concentrations; give one number, or one for each of the {model_size} "
            "components."
        )
    for value in values:
        check_prior(value, prior)
    return torch.tensor(values, dtype=torch.float32)


def concentration_from_moments(mean: Tensor, mean_square: Tensor) -> Tensor:
    """The Dirichlet concentration with these moments: E[z_k] and E[z_k²], both (K,) float64 → (K,).

    Method of moments: S · E[z_k], S the mean over k of (E[z_k] - E[z_k²]) / (E[z_k²] - E[z_k]²) (Joo et al. 2019,
    arXiv 1901.02739, section 3.3). Exact for the moments of a Dirichlet; infinite where nothing varies.
    """
    variance = (mean_square - mean.square()).clamp(min=torch.finfo(mean.dtype).tiny)
    return ((mean - mean_square) / variance).mean() * mean


class CollectsMoments(ABC):
    """A module whose buffers follow the examples of an update as a whole, however it is divided into batches."""

    @abstractmethod
    def collect(self, mask: Tensor | None) -> None:
        """Keep what is seen from now on apart, of examples where `mask` (batch,) is True, of all without one."""

    @abstractmethod
    def commit(self, summed: Callable[[Tensor], Tensor]) -> None:
        """Follow what was collected, added up by `summed` over all processes, and collect no more."""

    @abstractmethod
    def forget(self) -> None:
        """Throw away what was collected."""


class MomentPrior(KeepsFloat64, CollectsMoments):
    """A Dirichlet prior's concentration, fitted by the method of moments to the posteriors that pass by.

    `start`: the concentration to begin with, as for `prior_concentration`; it stands during `burn_in` updates.
    `decay`: of the exponential moving averages of the two moments, which begin as plain averages.
    `minimum`, `maximum`: limits of every fitted concentration, within [1e-6, 1e6] themselves.
    All state is in buffers, so a checkpoint holds it; an update waits for nothing on a device that has float64, and one
    whose moments are not finite changes nothing. On a device without float64 the moments stay on the CPU.
    Raises ValueError for a setting out of range.
    """

    concentration: Tensor
    moments: Tensor
    num_updates: Tensor

    def __init__(
        self,
        model_size: int,
        *,
        start: float | Sequence[float] | None = None,
        decay: float = 0.99,
        burn_in: int = 1000,
        minimum: float = 0.01,
        maximum: float = 10.0,
    ) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; it must be at least 0 and below 1.")
        if burn_in < 0:
            raise ValueError(f"burn_in is {burn_in}; it must be a count of updates, 0 or more.")
        if not MIN_PRIOR <= minimum <= maximum <= MAX_PRIOR:
            raise ValueError(
                f"the limits are {minimum} and {maximum}; give {MIN_PRIOR:g} ≤ minimum ≤ maximum ≤ {MAX_PRIOR:g}."
            )
        self.decay, self.burn_in = decay, burn_in
        self.minimum, self.maximum = minimum, maximum
        self._collected: tuple[Tensor | None, Tensor | None, Tensor | None] | None = None
        self.register_buffer("concentration", prior_concentration(start, model_size))
        self.register_buffer("moments", torch.zeros(2, model_size, dtype=torch.float64))
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def update(self, mean: Tensor, mean_square: Tensor) -> None:
        """Take in the E[z_k] and E[z_k²] of posteriors, each (batch, K, *grid); every grid cell counts.

        After `collect` they are kept apart until `commit`.
        """
        cells = [wide(value).movedim(1, -1) for value in (mean, mean_square)]
        if self._collected is None:
            self._follow(torch.stack([value.flatten(0, -2).mean(0) for value in cells]))
            return
        total, count, mask = self._collected
        is_real = torch.ones(len(mean), dtype=torch.bool, device=mean.device) if mask is None else mask
        is_real = is_real.to(cells[0].device).repeat_interleave(len(mean) // len(is_real))
        weights = is_real.to(cells[0].dtype).view(-1, *[1] * (mean.dim() - 1)).expand_as(cells[0][..., :1])
        sums = torch.stack([torch.where(weights > 0, value, 0).flatten(0, -2).sum(0) for value in cells])
        added = weights.sum()
        self._collected = (
            (sums, added, mask) if total is None or count is None else (total + sums, count + added, mask)
        )

    def collect(self, mask: Tensor | None) -> None:
        """From now on keep moments apart, of examples where `mask` (batch,) is True, of all without one."""
        total, count, _ = self._collected if self._collected is not None else (None, None, None)
        self._collected = (total, count, mask)

    def commit(self, summed: Callable[[Tensor], Tensor]) -> None:
        """Follow what was collected, if anything was, `summed` over all processes; no more is collected."""
        collected, self._collected = self._collected, None
        if collected is not None and collected[0] is not None and collected[1] is not None:
            whole = summed(torch.cat((collected[0].flatten(), collected[1][None])))
            self._follow(whole[:-1].view(2, -1) / whole[-1])

    def forget(self) -> None:
        """Throw away what was collected."""
        self._collected = None

    @torch.no_grad()
    def _follow(self, seen: Tensor) -> None:
        """Move the averages towards the moments (2, K) of one update."""
        before, counted = (value.to(seen.device) for value in (self.concentration, self.num_updates))
        kept = (counted / (counted + 1.0)).clamp(max=self.decay)
        moments = kept * self.moments + (1 - kept) * seen
        is_finite = seen.isfinite().all()
        num_updates = counted + is_finite
        fitted = concentration_from_moments(moments[0], moments[1]).clamp(self.minimum, self.maximum)
        is_ready = is_finite & (num_updates > self.burn_in)
        self.concentration.copy_(narrow(torch.where(is_ready, fitted, before), self.concentration))
        self.moments.copy_(torch.where(is_finite, moments, self.moments))
        self.num_updates.copy_(num_updates)
