"""Logistic-normal distributions as pure functions: z = softmax(y) with y_k ~ Normal(location_k, scale_k²).

A shift common to all logits cancels in the softmax, so the law of z is that of K - 1 differences of logits: a Gaussian
whose covariance is diagonal plus rank one, and everything about it has a closed form but the moments of z, which
`dirvae.latents.logistic_normal_moments` integrates. Components lie on axis 1, grid axes after it; densities and
divergences are computed in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dirvae.float64 import narrow, wide, wide_here
from dirvae.latents.cells import limit_at_zero, sum_over_cells

__all__ = [
    "dirichlet_to_logits",
    "logistic_normal_kl",
    "logistic_normal_log_prob",
    "logit_kl",
]


def logistic_normal_log_prob(log_z: Tensor, location: Tensor, scale: Tensor) -> Tensor:
    """Log density in nats at z = exp(log_z), grid axes summed: (batch,), in the dtype of `log_z`.

    With respect to the first K - 1 components: the joint density of the logits log z + c, the shift c integrated
    out, over Π z_k. -inf where a share is 0: there the normal falls faster than any power rises.
    """
    wide_log_z = wide(log_z)
    is_zero = wide_log_z.isneginf()
    log_share, precision = torch.where(is_zero, 0.0, wide_log_z), wide(scale).pow(-2)
    total = precision.sum(1, keepdim=True)
    offset = log_share - wide(location)
    offset = offset - (precision * offset).sum(1, keepdim=True) / total
    size = log_z.shape[1]
    parts = 0.5 * precision.log() - 0.5 * precision * offset.square() - log_share
    cells = parts.sum(1) - 0.5 * total.squeeze(1).log() - 0.5 * (size - 1) * math.log(2 * math.pi)
    return narrow(sum_over_cells(cells + limit_at_zero(is_zero.sum(1))), log_z)


def logistic_normal_kl(location: Tensor, scale: Tensor, prior_location: Tensor, prior_scale: Tensor) -> Tensor:
    """KL divergence in nats of the laws of z, grid axes summed: (batch,), in the dtype of `location`.

    (batch, K, *grid), the prior's broadcast. With precisions w and v, shares of the total v/Σv, and the offset of the
    locations centred by them: ½ Σ [log w/v + v/w (1 - v/Σv) + v offset²] - ½ log Σw/Σv - ½ (K - 1).
    """
    w, v = wide_here(scale).pow(-2), wide_here(prior_scale).pow(-2).expand_as(scale)
    total_w, total_v = w.sum(1, keepdim=True), v.sum(1, keepdim=True)
    offset = wide_here(location) - wide_here(prior_location)
    offset = offset - (v * offset).sum(1, keepdim=True) / total_v
    parts = (w / v).log() + v / w * (1 - v / total_v) + v * offset.square()
    cells = 0.5 * (parts.sum(1) - (total_w / total_v).log().squeeze(1) - (location.shape[1] - 1))
    return sum_over_cells(cells).to(location.dtype)


def logit_kl(location: Tensor, scale: Tensor, prior_location: Tensor, prior_scale: Tensor) -> Tensor:
    """KL divergence in nats of the K independent logits: shapes as for `logistic_normal_kl`, and never below it."""
    ratio = (wide_here(scale) / wide_here(prior_scale)).square()
    offset = (wide_here(location) - wide_here(prior_location)) / wide_here(prior_scale)
    cells = 0.5 * (ratio + offset.square() - 1 - ratio.log()).sum(1)
    return sum_over_cells(cells).to(location.dtype)


def dirichlet_to_logits(concentration: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale of the independent logits that approximate a Dirichlet, each (K,) as `concentration`.

    The Laplace approximation in the softmax basis: see `dirvae.latents.estimators.laplace_logits`.
    """
    log_a = wide(concentration).log()
    location, scale = log_a - log_a.mean(), (-0.5 * log_a).exp()
    return narrow(location, concentration), narrow(scale, concentration)
