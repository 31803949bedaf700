"""Places of the examples of a set on a map: examples with similar latents are near each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["coordinates"]


def coordinates(latents: Tensor, *, on_simplex: bool) -> NDArray[np.float32]:
    """Points (num, 2) in [0, 1] of latents (num, model_size, *grid): their two principal components.

    Shares are compared by their square roots (Hellinger's distance), so that small shares count too. Each coordinate is
    the mean of the scaled value and its rank, so that a few outliers do not push all other points together.
    """
    flat = latents.flatten(1).double().numpy()
    values = np.sqrt(flat.clip(0)) if on_simplex else flat
    values = values - values.mean(0)
    if len(values) < 2:
        return np.full((len(values), 2), 0.5, np.float32)
    left, strength, _ = np.linalg.svd(values, full_matrices=False)
    points = np.zeros((len(values), 2))
    rank = min(2, left.shape[1])
    points[:, :rank] = left[:, :rank] * strength[:rank]
    return np.stack([_spread(axis) for axis in points.T], axis=1).astype(np.float32)


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of the position between the smallest and the largest value and the rank, both in [0, 1]."""
    least, most = values.min(), values.max()
    place = (values - least) / (most - least) if most > least else np.full_like(values, 0.5)
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable") / max(1, len(values) - 1)
    return (place + ranks) / 2
