"""Names and limits that settings and command lines need to know before torch is imported; a test compares them."""

from __future__ import annotations

import importlib
from typing import Literal, get_args

__all__ = [
    "AUDIO_PRESETS",
    "CONTROL_RATE",
    "CORES",
    "DISTANCES",
    "HIGHEST_HZ",
    "HIGHEST_RATE",
    "LATENT_NAMES",
    "LEVELS",
    "LIKELIHOOD_NAMES",
    "LOWEST_HZ",
    "PATHS",
    "VISUAL_PRESETS",
    "Distance",
    "PathKind",
    "is_latent",
    "is_likelihood",
]

LATENT_NAMES = ("dirichlet", "gaussian", "logistic-normal", "scaled-dirichlet", "stick-breaking")
"""Those of `dirvae.latents.LATENTS`."""

LIKELIHOOD_NAMES = ("bernoulli", "discretized-logistic", "gaussian", "laplace", "mse")
"""Those of `dirvae.losses.LIKELIHOODS`."""

LEVELS = ("vector", "map", "both")
"""Of latents of images and clips: one for each, one for each cell of a map, or both."""

VISUAL_PRESETS = ("tiny", "small", "base", "large")
"""Sizes of the residual networks of images and clips."""

AUDIO_PRESETS = ("tiny", "small", "full")
"""Sizes of the networks of sound."""

CORES = ("gru", "conv")
"""What remembers earlier rows of sound: a gated recurrent unit, or causal convolutions."""

PathKind = Literal["latent", "concentration", "aitchison"]
"""Of paths between two latents: straight in them, straight in Dirichlet concentrations, or Aitchison's geodesic."""
PATHS: tuple[PathKind, ...] = get_args(PathKind)

Distance = Literal["aitchison", "l1", "euclidean"]
"""Of latents: Euclid's in log-ratios, the sum of absolute differences, or Euclid's."""
DISTANCES: tuple[Distance, ...] = get_args(Distance)

CONTROL_RATE = 250
"""Rows per second of curves of pitch and loudness, unless another rate is asked for."""

HIGHEST_RATE = 768_000
"""Samples per second, the most that recorders offer."""

LOWEST_HZ, HIGHEST_HZ = 40.0, 2400.0
"""Between these the pitch is searched for."""


def is_latent(name: object) -> bool:
    """Whether a latent has this name, one that was added to `dirvae.latents.LATENTS` included."""
    return _is_among(name, LATENT_NAMES, "dirvae.latents", "LATENTS")


def is_likelihood(name: object) -> bool:
    """Whether a likelihood has this name, one that was added to `dirvae.losses.LIKELIHOODS` included."""
    return _is_among(name, LIKELIHOOD_NAMES, "dirvae.losses", "LIKELIHOODS")


def _is_among(name: object, names: tuple[str, ...], module: str, table: str) -> bool:
    if name in names:
        return True
    return isinstance(name, str) and name in getattr(importlib.import_module(module), table)
