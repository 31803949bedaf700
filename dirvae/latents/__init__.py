"""Latents: what stands between an encoder and a decoder. Each is one file; all fit the same contract."""

from __future__ import annotations

from collections.abc import Callable

from dirvae.latents.dirichlet import Dirichlet
from dirvae.latents.gaussian import Gaussian
from dirvae.latents.latent import Latent, Posterior, Prior

__all__ = ["Dirichlet", "Gaussian", "LATENTS", "Latent", "Posterior", "Prior", "make_latent"]

LATENTS: dict[str, Callable[[int], Latent]] = {"dirichlet": Dirichlet, "gaussian": Gaussian}


def make_latent(name: str, model_size: int) -> Latent:
    """The latent called `name` with its defaults; ValueError for a name that is not known."""
    if name not in LATENTS:
        raise ValueError(f"no latent is called {name!r}; use one of {', '.join(sorted(LATENTS))}.")
    return LATENTS[name](model_size)
