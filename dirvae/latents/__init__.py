"""Latents: what stands between an encoder and a decoder. Each is one file; all fit the same contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    "named_latent",
]

LATENTS: dict[str, Callable[..., Latent]] = {
    "dirichlet": Dirichlet,
    "gaussian": Gaussian,
    "logistic-normal": LogisticNormal,
    "scaled-dirichlet": ScaledDirichlet,
    "stick-breaking": StickBreaking,
}


def make_latent(
    name: str, model_size: int, *, prior: float | Sequence[float] | str | None = None, **options: Any
) -> Latent:
    """The latent called `name`, its `options` by keyword; its own default where `prior` is None.

    ValueError for a name that is not known, or a prior that this latent cannot have.
    """
    if name not in LATENTS:
        raise ValueError(f"no latent is called {name!r}; use one of {', '.join(sorted(LATENTS))}.")
    if prior is None:
        return LATENTS[name](model_size, **options)
    if name == "gaussian":
        raise ValueError(f"the prior is {prior!r}, but a gaussian latent's is the standard normal; leave it out.")
    if isinstance(prior, str) and name != "dirichlet":
        raise ValueError(
            f"the prior is {prior!r}, but that of a {name} latent is a number; only a dirichlet learns it."
        )
    if not isinstance(prior, int | float | str) and name == "stick-breaking":
        raise ValueError(f"the prior is {prior!r}, but a stick-breaking latent has one number for all its breaks.")
    return LATENTS[name](model_size, prior=prior, **options)


def named_latent(
    latent: str | Latent, model_size: int, prior: float | Sequence[float] | str | None = None
) -> Latent:
    """A latent that may have been given by name, with its prior; ValueError for a prior beside a made latent."""
    if isinstance(latent, str):
        return make_latent(latent, model_size, prior=prior)
    if prior is not None:
        raise ValueError(
            f"a prior, {prior!r}, and a latent that is made already were given; give the latent its prior."
        )
    return latent
