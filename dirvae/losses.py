"""Likelihoods of data given what a decoder put out: log densities in nats per example.

The functions are pure; the modules hold at most one learned scale. What they return is the density's own
logarithm, nothing dropped and nothing reweighted, so that a bound made of it can be compared. The one exception
is `SquaredError`, which says so (`is_density`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "BernoulliLikelihood",
    "DiscretizedLogisticLikelihood",
    "GaussianLikelihood",
    "LIKELIHOODS",
    "LaplaceLikelihood",
    "Likelihood",
    "SquaredError",
    "bernoulli_log_prob",
    "discretized_logistic_log_prob",
    "gaussian_log_prob",
    "laplace_log_prob",
    "make_likelihood",
    "masked_mean",
    "named_likelihood",
]

MIN_SCALE = 1 / 1024
SCALE_GAIN = 10.0
LEVELS = 256
LEVEL_ERROR = 0.01
"""How far from a level, in levels, a value may be: float32 is off by 1e-5, and bfloat16 would be off by 0.5."""


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
    x, logits = x.float(), logits.float()
    return (x * logits - F.softplus(logits)).flatten(1).sum(1)


def discretized_logistic_log_prob(x: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Log probability of 8-bit `x` under logistic laws cut into 256 bins, in nats: (batch, *dims) → (batch,).

    `x` holds k/255; its bin is 1/255 wide around it, and the first and last bin hold all that lies beyond. A
    probability, not a density: its logarithm lies log 255 a value lower. Kingma et al. 2016, arXiv 1606.04934,
    section 6; by σ(a) - σ(b) = σ(a) σ(-b) (1 - exp(b - a)) nothing cancels, however far x is from the mean.
    """
    x, mean, scale = x.float(), mean.float(), scale.float()
    half = 0.5 / (LEVELS - 1)
    lower, upper = (x - half - mean) / scale, (x + half - mean) / scale
    is_first, is_last = x < half, x > 1 - half
    inside = (-torch.expm1(-2 * half / scale)).log()
    below = torch.where(is_last, 0.0, F.logsigmoid(upper))
    above = torch.where(is_first, 0.0, F.logsigmoid(-lower))
    return (below + above + torch.where(is_first | is_last, 0.0, inside)).flatten(1).sum(1)


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

    is_density = True
    """Whether `log_prob` is the logarithm of a density or probability, and what is made of it a bound."""

    def check(self, x: Tensor) -> str | None:
        """Why `log_prob` is no density or probability of data such as `x`, of any shape; None where it is one.

        The data can be trained on all the same. Waits for the device. ValueError for data that the likelihood is not
        defined on. Numbers that are not finite are not looked at.
        """
        return None

    def is_density_of(self, x: Tensor) -> bool:
        """Whether `log_prob` is a density or probability for data such as `x`, of any shape."""
        try:
            return self.is_density and self.check(x) is None
        except ValueError:
            return False

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

    def check(self, x: Tensor) -> str | None:
        _check_range(x, "bernoulli")
        if bool(((x > 0) & (x < 1)).any()):
            return (
                "the data holds values between 0 and 1, of which bernoulli gives a cross entropy and not a likelihood; "
                "make them zeros and ones, or choose another likelihood."
            )
        return None

    def mean(self, decoded: Tensor) -> Tensor:
        return decoded.sigmoid()

    def log_prob(self, x: Tensor, decoded: Tensor) -> Tensor:
        return bernoulli_log_prob(x, decoded)


class DiscretizedLogisticLikelihood(_ScaledLikelihood):
    """Logistic noise of one scale over the 256 levels of 8-bit data; the decoder's output is the mean.

    Its probabilities cannot be compared with the densities of the others. Data of levels k/255 only.
    """

    def check(self, x: Tensor) -> str | None:
        _check_range(x, "discretized-logistic")
        levels = x.float() * (LEVELS - 1)
        if bool(((levels - levels.round()).abs() > LEVEL_ERROR).any()):
            return (
                "the data holds values off the 256 levels of 8 bits, of which discretized-logistic gives no "
                "probability; give uint8 or k/255, or choose another likelihood."
            )
        return None

    def log_prob(self, x: Tensor, decoded: Tensor) -> Tensor:
        return discretized_logistic_log_prob(x, decoded, self.scale)


class SquaredError(Likelihood):
    """Half the summed squared error, for those who want it: no likelihood, and what is made of it no bound.

    It is a Gaussian of scale 1 without its constant. Data in [0, 1] never spreads that far, so beside the KL
    term this scale is an arbitrary weight, and its numbers compare with nothing in nats.
    """

    is_density = False

    def mean(self, decoded: Tensor) -> Tensor:
        return decoded

    def log_prob(self, x: Tensor, decoded: Tensor) -> Tensor:
        return -0.5 * (x.float() - decoded.float()).square().flatten(1).sum(1)


def _check_range(x: Tensor, name: str) -> None:
    if bool(((x < 0) | (x > 1)).any()):
        lowest, highest = float(x.float().nan_to_num().min()), float(x.float().nan_to_num().max())
        raise ValueError(
            f"the data holds values from {lowest:.3g} to {highest:.3g}, but {name} is defined from 0 to 1 only; scale "
            "the data, or choose another likelihood."
        )


_SCALED: dict[str, type[_ScaledLikelihood]] = {
    "discretized-logistic": DiscretizedLogisticLikelihood,
    "gaussian": GaussianLikelihood,
    "laplace": LaplaceLikelihood,
}

LIKELIHOODS: dict[str, Callable[[], Likelihood]] = {
    "bernoulli": BernoulliLikelihood,
    "mse": SquaredError,
    **_SCALED,
}


def make_likelihood(name: str, *, fixed_scale: float | None = None) -> Likelihood:
    """The likelihood called `name`, its scale learned unless `fixed_scale` says what it stays at.

    ValueError for a name that is not known, and for a scale of a likelihood that has none.
    """
    if name not in LIKELIHOODS:
        raise ValueError(f"no likelihood is called {name!r}; use one of {', '.join(sorted(LIKELIHOODS))}.")
    if fixed_scale is None:
        return LIKELIHOODS[name]()
    if name not in _SCALED:
        raise ValueError(
            f"the likelihood {name!r} has no scale to fix at {fixed_scale}; leave the scale out, or use one of "
            f"{', '.join(sorted(_SCALED))}."
        )
    return _SCALED[name](scale=fixed_scale, learned=False)


def named_likelihood(likelihood: str | Likelihood, *, fixed_scale: float | None = None) -> Likelihood:
    """A likelihood that may have been given by name, with the scale it stays at; a made one is returned as it is."""
    return make_likelihood(likelihood, fixed_scale=fixed_scale) if isinstance(likelihood, str) else likelihood
