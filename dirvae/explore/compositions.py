"""Shares that sum to 1 as vectors: the geometry of the simplex (Aitchison 1986, The Statistical Analysis of
Compositional Data, chapters 2 and 4; Pawlowsky-Glahn and Egozcue 2001 for powers and perturbations).

A composition is (model_size, *grid), or (num, model_size, *grid) with `dim=1`: shares ≥ 0 that sum to 1 along the axis
of the components in each cell. Log-ratios do not exist at 0, so that shares below `SMALLEST_SHARE` are raised to it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dirvae.float64 import wide

__all__ = ["SMALLEST_SHARE", "aitchison_line", "centred_log_ratios", "closed", "num_clamped"]

SMALLEST_SHARE = 1e-6
"""What smaller shares are raised to before logarithms are taken."""


def closed(values: Tensor, *, dim: int = 0) -> Tensor:
    """Values ≥ 0 divided by their sum along the components: the closure. Where all are 0, equal shares."""
    total = values.sum(dim, keepdim=True)
    equal = torch.full_like(values, 1 / values.shape[dim])
    return torch.where(total > 0, values / total.clamp(min=torch.finfo(values.dtype).tiny), equal)


def num_clamped(shares: Tensor, *, smallest: float = SMALLEST_SHARE) -> int:
    """How many shares are below `smallest`, over all components and cells."""
    return int((shares < smallest).sum())


def aitchison_line(start: Tensor, end: Tensor, share: Tensor, *, smallest: float = SMALLEST_SHARE) -> Tensor:
    """The geodesic of Aitchison's geometry: start^(1 - t) · end^t, normalised; (num, model_size, *grid).

    `start`, `end` (model_size, *grid) are compositions, `share` (num,) the values of t in [0, 1]. It is the
    normalised weighted geometric mean: a straight line in log-ratios. The ends are those given, up to the clamping.
    """
    first, last = (wide(end_point).clamp(min=smallest).log() for end_point in (start, end))
    at = wide(share).to(first.device).view(-1, *(1,) * start.ndim)
    return torch.softmax((1 - at) * first[None] + at * last[None], dim=1).to(start.dtype)


def centred_log_ratios(shares: Tensor, *, dim: int = 1, smallest: float = SMALLEST_SHARE) -> Tensor:
    """Logarithms of shares minus their mean over the components, in float64 where the device has it: the same shape.

    The Euclidean distance of two of them is Aitchison's distance.
    """
    logs = wide(shares).clamp(min=smallest).log()
    return logs - logs.mean(dim, keepdim=True)
