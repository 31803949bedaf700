"""Moments of the logistic-normal, z = softmax(y) with y_k ~ Normal(location_k, scale_k²): integrals over one variable.

With S = Σ exp(y_j) and 1/S^n = ∫ τ^(n-1) exp(-τ S) dτ / (n - 1)!, the independent logits part. At τ = e^-t and
w_k = exp(y_k - t),

    E[z_k^n] = ∫ E[w_k^n exp(-w_k)] / F_k(t) · Π_j F_j(t) dt,   F_j(t) = E[exp(-w_j)],   n = 1, 2.

In words: F_j is the distribution function of y_j plus a Gumbel variable, and component k is the largest of these as
often as its expected share (Maddison, Tarlow and Minka 2014, arXiv 1411.0030, section 2). As a function of t the
integrand's Fourier transform falls like Γ(1 + iω), about exp(-π ω/2), so the trapezium rule converges exponentially.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dirvae.float64 import wide_here

__all__ = ["logistic_normal_moments"]


def _normal_rule(num: int) -> list[tuple[float, float]]:
    """Points and weights of the Gauss rule of the standard normal."""
    points, weights = np.polynomial.hermite_e.hermegauss(num)
    return list(zip(points.tolist(), (weights / weights.sum()).tolist(), strict=True))


def _gumbel_rule(num: int) -> list[tuple[float, float]]:
    """Points u and weights of the Gauss rule of exp(u - e^u), the law of minus a Gumbel variable.

    By Lanczos' iteration on a fine grid and the eigenvalues of its matrix (Golub and Welsch 1969).
    """
    u = np.linspace(-45.0, 4.6, 8000)
    basis = [np.exp(0.5 * (u - np.exp(u)))]
    basis[0] /= np.linalg.norm(basis[0])
    matrix = np.zeros((num, num))
    for i in range(num):
        image = u * basis[i]
        matrix[i, i] = basis[i] @ image
        for other in [*basis, *basis]:  # twice: once leaves rounding that grows
            image = image - (other @ image) * other
        if i + 1 < num:
            matrix[i, i + 1] = matrix[i + 1, i] = np.linalg.norm(image)
            basis.append(image / matrix[i, i + 1])
    points, vectors = np.linalg.eigh(matrix)
    return list(zip(points.tolist(), (vectors[0] ** 2).tolist(), strict=True))


NORMAL_RULE, GUMBEL_RULE = _normal_rule(20), _gumbel_rule(14)
NARROW = 1.75
"""Up to this scale a logit is averaged over its normal, above over the Gumbel variable: the wider of the two."""
NODES = 64
DEVIATIONS, LEFT, RIGHT = 6.0, 3.0, 24.0
"""Where the integrand has died: outside some deviations of the largest logit, plus so much for the Gumbel."""
STRETCH = 14.0
"""Distance from the left end at which the steps begin to grow: what is sharp lies before, what comes later is wide."""
LARGEST_OFFSET = 30.0
"""Beyond it exp(-w) is 0 for every logit that is averaged over its normal."""
AT_A_TIME, ON_A_DEVICE = 1024, 65_536
"""Logits at a time, so that memory does not grow with the batch: few enough for a core's cache, many for a GPU."""


def logistic_normal_moments(location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """E[z] and E[z²]: each (batch, K, *grid), in the dtype of `location`; E[z] sums to 1 over axis 1.

    By quadrature in float64. Errors of E[z], measured for two components: 1e-8 where all scales are 1 or less, or all
    above 1.75; 1e-6 between, and where scales of both kinds meet up to one of 10; 1e-4 up to one of 30. E[z²] has ten
    times these. Of thousands of components whose scales exceed 1.75, E[z] is exact to 1e-5, and shares far below 1e-4
    to a few per cent of themselves. A device without float64 computes in float32: E[z] is then exact to 2e-5 of itself
    where it would be more exact.
    """
    # Only differences matter, and far from 0 few of their digits are left.
    location = location - location.detach().amax(1, keepdim=True)
    shape = location.movedim(1, -1).shape
    rows = [wide_here(value).movedim(1, -1).reshape(-1, shape[-1]) for value in (location, scale)]
    at_a_time = max(1, (AT_A_TIME if location.is_cpu else ON_A_DEVICE) // shape[-1])
    parts = zip(*(torch.split(value, at_a_time) for value in rows), strict=True)
    found = zip(*(_moments(*part) for part in parts), strict=True)
    mean, mean_square = (torch.cat(moment).view(shape).movedim(-1, 1).to(location.dtype) for moment in found)
    return mean, mean_square


def _moments(location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The same for (cell, K) float64 or float32."""
    time, step = _nodes(location, scale)
    below, first, second = _expectations(location.unsqueeze(-1) - time, scale.unsqueeze(-1))
    below = below.clamp(min=torch.finfo(below.dtype).tiny)
    weight = below.log().sum(1, keepdim=True).exp() * step / below
    mean, mean_square = (first * weight).sum(-1), (second * weight).sum(-1)
    total = mean.sum(1, keepdim=True)
    return mean / total, mean_square / total


@torch.no_grad()
def _nodes(location: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Where the trapezium rule looks and its steps: each (cell, 1, node).

    The largest logit ends the integrand on the left. A component of scale s that matters is as smooth as the larger
    of 1 and s, and ends within 14 s or so of the left end: steps may grow with the distance from there.
    """
    size = location.shape[1]
    left = (location - DEVIATIONS * scale).amax(1, keepdim=True) - LEFT
    right = (location + DEVIATIONS * scale).amax(1, keepdim=True) + math.log(size) + RIGHT
    width = torch.asinh((right - left) / STRETCH).unsqueeze(-1)
    at = width * torch.linspace(0, 1, NODES, dtype=location.dtype, device=location.device)
    step = STRETCH * torch.cosh(at) * width / (NODES - 1)
    return left.unsqueeze(-1) + STRETCH * torch.sinh(at), step


def _expectations(offset: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """E[w^n exp(-w)] for n = 0, 1, 2 and log w ~ Normal(offset, scale²): each as `offset`.

    On the CPU what no logit needs is left out; to ask another device would be to wait for it.
    """
    is_wide = scale > NARROW
    narrow = _over_the_normal(offset, scale.clamp(max=NARROW))
    if offset.is_cpu and not torch.compiler.is_compiling() and not is_wide.any():
        return narrow
    wide = _over_the_gumbel(offset, scale.clamp(min=NARROW))
    zeroth, first, second = (torch.where(is_wide, *pair) for pair in zip(wide, narrow, strict=True))
    return zeroth, first, second


def _over_the_normal(offset: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    zeroth = first = second = torch.zeros_like(offset)
    minus_middle = -offset.clamp(max=LARGEST_OFFSET).exp()
    for point, weight in NORMAL_RULE:
        factor = (scale * point).exp()
        value = torch.exp(minus_middle * factor)
        zeroth = torch.add(zeroth, value, alpha=weight)
        first = torch.addcmul(first, value, weight * factor)
        second = torch.addcmul(second, value, weight * factor.square())
    return zeroth, -minus_middle * first, minus_middle.square() * second


def _over_the_gumbel(offset: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """By parts: E[w^n exp(-w)] = ∫ w exp(-w) · w^(n-1) Normal(log w) d log w, and E[exp(-w)] with its integral."""
    zeroth = first = second = torch.zeros_like(offset)
    to_deviations = 1 / (scale * math.sqrt(2))
    middle = offset * to_deviations
    for point, weight in GUMBEL_RULE:
        deviation = point * to_deviations - middle
        density = torch.exp(-deviation.square())
        zeroth = torch.add(zeroth, torch.erf(deviation), alpha=0.5 * weight)
        first = torch.add(first, density, alpha=weight)
        second = torch.add(second, density, alpha=weight * math.exp(point))
    height = to_deviations / math.sqrt(math.pi)
    return zeroth + 0.5, first * height, second * height
