"""Likelihoods of data given what a decoder put out: log densities in nats per example.

The functions are pure; the modules hold at most one learned scale. What they return is the density's own
logarithm, nothing dropped and nothing reweighted, so that a bound made of it can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "BernoulliLikelihood",
    "GaussianLikelihood",
    "LIKELIHOODS",
    "LaplaceLikelihood",
    "Likelihood",
    "bernoulli_log_prob",
    "gaussian_log_prob",
    "laplace_log_prob",
    "make_likelihood",
    "masked_mean",
]

MIN_SCALE = 1 / 1024
SCALE_GAIN = 10.0


def gaussian_log_prob(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Log density of `x` under independent normals, in nats: (batch, *dims), scale broadcasts → (batch,)."""
    mean, scale = mean.float(), scale.float()
    standard = (x.float() - mean) / scale
    return (-0.5 * standard.square() - scale.log() - 0.5 * math.log(2 * math.pi)).flatten(1).sum(1)


def laplace_log_prob(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Log density of `x` under independent Laplace laws, in nats: (batch, *dims), scale broadcasts → (batch,)."""
    mean, scale = mean.float(), scale.float()
    return (-(x.float() - mean).abs() / scale - (2 * scale).log()).flatten(1).sum(1)


def bernoulli_log_prob(x: Tensor, logits: Tensor) -> Tensor:
    """Log probability of `x` under independent coin flips, in nats: two (batch, *dims) → (batch,).

    A probability only for x of zeros and ones; for values between it is the negative cross entropy.
    """
    return -F.binary_cross_entropy_with_logits(logits.float(), x.float(), reduction="none").flatten(1).sum(1)


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean of `values` (batch,) over the examples where `mask` (batch,) is True, over all without one: a scalar.

    What stands at masked places, NaN included, changes neither the mean nor the other gradients. Zero if
    every example is masked.
    """
    if mask is None:
        return values.mean()
    mask = mask.to(device=values.device, dtype=torch.bool)
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp(min=1)


class Likelihood(nn.Module):
    """How data is spread around what the decoder put out. A new one is one more subclass."""

    def mean(self, decoded: Tensor) -> Tensor:
        """Expected data, in data space: same shape as `decoded`."""
        raise NotImplementedError

    def log_prob(self, x: Tensor, decoded: Tensor) -> Tensor:
        """Log density of `x` in nats, summed over all but the first axis: (batch,) float32."""
        raise NotImplementedError


class _ScaledLikelihood(Likelihood):
    """Noise of one scale for all data around a decoder that puts out the mean itself.

    `scale`: the standard deviation (Gaussian) or mean deviation (Laplace) to start from, in units of the data.
    `learned`: the scale is a parameter of the model (Rybkin et al. 2021, arXiv 2006.13202), not re-fitted to
    the batch at hand, so that the density stays one and the same for held-out data. It learns ten times as
    fast as a weight, and never falls below 1/1024: 8-bit pixels carry nothing finer, and a density without
    that floor can grow without end.
    """

    def __init__(self, *, scale: float = 0.1, learned: bool = True) -> None:
        super().__init__()
        if not scale > MIN_SCALE:
            raise ValueError(f"scale is {scale}; it must be above {MIN_SCALE}, in units of the data.")
        start = 0.5 * math.log(scale**2 - MIN_SCALE**2) / SCALE_GAIN
        self.raw_scale = nn.Parameter(torch.tensor(start), requires_grad=learned)

    @property
    def scale(self) -> Tensor:
        """The noise's scale now, in units of the data: a scalar."""
        return ((2 * SCALE_GAIN * self.raw_scale).exp() + MIN_SCALE**2).sqrt()

    def mean(self, decoded: Tensor) -> Tensor:
        return decoded


class GaussianLikelihood(_ScaledLikelihood):
    """Normal noise of one scale, learned unless `learned=False`; the decoder's output is the mean."""

    def log_prob(self, x: Tensor, decoded: Tensor) -> Tensor:
        return gaussian_log_prob(x, decoded, self.scale)


class LaplaceLikelihood(_ScaledLikelihood):
    """Laplace noise of one scale, learned unless `learned=False`; the decoder's output is the mean."""

    def log_prob(self, x: Tensor, decoded: Tensor) -> Tensor:
        return laplace_log_prob(x, decoded, self.scale)


class BernoulliLikelihood(Likelihood):
    """Coin flips, for data of zeros and ones; the decoder's output is the logit."""

    def mean(self, decoded: Tensor) -> Tensor:
        return decoded.sigmoid()

    def log_prob(self, x: Tensor, decoded: Tensor) -> Tensor:
        return bernoulli_log_prob(x, decoded)


LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "gaussian": GaussianLikelihood,
    "laplace": LaplaceLikelihood,
}


def make_likelihood(name: str) -> Likelihood:
    """The likelihood called `name` with its defaults; ValueError for a name that is not known."""
    if name not in LIKELIHOODS:
        raise ValueError(f"no likelihood is called {name!r}; use one of {', '.join(sorted(LIKELIHOODS))}.")
    return LIKELIHOODS[name]()
