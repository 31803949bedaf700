"""Measures of what a model learned: pure functions of tensors. Those that return tensors wait for no device."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["active_units", "components_in_use", "effective_components", "is_simplex", "latent_usage", "psnr"]


def psnr(x: Tensor, y: Tensor, *, peak: float = 1.0) -> Tensor:
    """Peak signal-to-noise ratio of each example in dB: two (batch, *dims) in [0, peak] → (batch,).

    Infinite for equal examples.
    """
    error = (x.float() - y.float()).square().flatten(1).mean(1)
    return 10 * (math.log10(peak**2) - error.log10())


def _over_examples(z: Tensor) -> Tensor:
    """(batch, K, *grid) → (batch · cells, K) float32: every grid cell counts as an example."""
    return z.float().movedim(1, -1).flatten(0, -2)


def is_simplex(latents: Tensor) -> bool:
    """Whether latents (num, K, *grid) are shares: none negative, each cell's sum 1."""
    return bool((latents >= 0).all()) and bool(((latents.sum(1) - 1).abs() < 1e-3).all())


def components_in_use(z: Tensor) -> Tensor:
    """Which components of simplex latents (num, K, *grid) vary and matter: (K,) bool.

    In use means: mean over examples above 0.2/K, standard deviation above 10 % of that mean.
    """
    z = _over_examples(z)
    mean, spread = z.mean(0), z.std(0, correction=0)
    is_in_use: Tensor = (mean > 0.2 / z.shape[1]) & (spread > 0.1 * mean)
    return is_in_use


def effective_components(z: Tensor) -> Tensor:
    """exp(entropy) of the mean of simplex latents (num, K, *grid): a scalar from 1 to K."""
    mean = _over_examples(z).mean(0)
    entropy: Tensor = torch.special.entr(mean / mean.sum()).sum()
    return entropy.exp()


def active_units(mean: Tensor, *, threshold: float = 0.01) -> Tensor:
    """Which components of posterior means (num, K, *grid) vary by more than `threshold`: (K,) bool.

    Variance over examples of the posterior mean (Burda et al. 2015, arXiv 1509.00519, section 5.2).
    """
    is_active: Tensor = _over_examples(mean).var(0, correction=0) > threshold
    return is_active


def latent_usage(means: Tensor) -> dict[str, Any]:
    """How much of a latent is used, from posterior means (num, K, *grid), as JSON values.

    "components_in_use" and "model_size"; on the simplex also "effective_components". Waits for the device.
    """
    if is_simplex(means):
        return {
            "components_in_use": int(components_in_use(means).sum()),
            "effective_components": float(effective_components(means)),
            "model_size": means.shape[1],
        }
    return {"components_in_use": int(active_units(means).sum()), "model_size": means.shape[1]}
