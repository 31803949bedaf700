"""Whether each component depends on one factor, and each factor on one component, over all factors at once.

After Eastwood and Williams 2018, "A framework for the quantitative evaluation of disentangled representations", with
shares of mutual information where the paper has the weights of a regression.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dirvae.evaluate.factors import Association

__all__ = ["Disentanglement", "disentanglement"]


@dataclass(frozen=True)
class Disentanglement:
    """A latent's associations with all factors in four numbers, each at most 1.

    `gap`: mean gap of the factors (MIG). `disentanglement`: 1 if each component depends on one factor, 0 if on all
    equally, weighted by the components' shares. `completeness`: 1 if each factor is in one component, 0 if it is in
    all equally. `linear`: mean R² of the linear maps.
    """

    gap: float
    disentanglement: float
    completeness: float
    linear: float

    def to_json(self) -> dict[str, float]:
        """The numbers by name."""
        return {
            "gap": self.gap,
            "disentanglement": self.disentanglement,
            "completeness": self.completeness,
            "linear_r2": self.linear,
        }


def disentanglement(associations: Sequence[Association]) -> Disentanglement:
    """The associations of one latent with several factors, summarised. ValueError for fewer than two factors."""
    if len(associations) < 2:
        raise ValueError(f"{len(associations)} factors were given; a comparison needs 2 or more.")
    shares = torch.stack([association.shares for association in associations], 1)
    weights = shares.sum(1) / shares.sum().clamp(min=1e-12)
    return Disentanglement(
        gap=sum(association.gap for association in associations) / len(associations),
        disentanglement=float((weights * _unevenness(shares)).sum()),
        completeness=float(_unevenness(shares.T).mean()),
        linear=sum(association.linear for association in associations) / len(associations),
    )


def _unevenness(shares: Tensor) -> Tensor:
    """How far each row (num, columns) is from uniform: 1 - entropy over its largest, (num,); 0 for a row of zeros."""
    total = shares.sum(1, keepdim=True)
    entropy = torch.special.entr(shares / total.clamp(min=1e-12)).sum(1) / math.log(shares.shape[1])
    unevenness: Tensor = torch.where(total[:, 0] > 0, 1 - entropy, 0.0)
    return unevenness
