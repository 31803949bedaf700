"""Latents: what stands between an encoder and a decoder. Each is one file; all fit the same contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dirvae.latents.dirichlet import Dirichlet
from dirvae.latents.dirichlet_prior import MomentPrior
from dirvae.latents.gaussian import Gaussian
from dirvae.latents.latent import Latent, Posterior, Prior
from dirvae.latents.logistic_normal import LogisticNormal
from dirvae.latents.scaled_dirichlet import ScaledDirichlet
from dirvae.latents.stick_breaking import StickBreaking

__all__ = [
    "Dirichlet",
    "Gaussian",
    "LATENTS",
    "Latent",
    "LogisticNormal",
    "MomentPrior",
    "Posterior",
    "Prior",
    "ScaledDirichlet",
    "StickBreaking",
    "make_latent",
]

LATENTS: dict[str, Callable[..., Latent]] = {
    "dirichlet": Dirichlet,
    "gaussian": Gaussian,
    "logistic-normal": LogisticNormal,
    "scaled-dirichlet": ScaledDirichlet,
    "stick-breaking": StickBreaking,
}


def make_latent(name: str, model_size: int, **options: Any) -> Latent:
    """The latent called `name`, its `options` by keyword; ValueError for a name that is not known."""
    if name not in LATENTS:
        raise ValueError(f"no latent is called {name!r}; use one of {', '.join(sorted(LATENTS))}.")
    return LATENTS[name](model_size, **options)
