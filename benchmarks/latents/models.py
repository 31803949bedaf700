"""The models under comparison: one network, 784-500-500-50 and back, with different latents."""

from __future__ import annotations

from collections.abc import Callable

import torch

from dirvae.latents import Dirichlet, Latent, ScaledDirichlet, make_latent
from dirvae.latents.dense import Standardise
from dirvae.networks import MLPVAE
from dirvae.seeding import Purpose, derive_seed, seeded

__all__ = ["MODELS", "make_model"]

SIZE = 50

MODELS: dict[str, Callable[[], Latent]] = {
    "gaussian": lambda: make_latent("gaussian", SIZE),
    "dirichlet": lambda: Dirichlet(SIZE),
    "dirichlet-learned": lambda: Dirichlet(SIZE, prior="learned"),
    "dirichlet-paper": lambda: Dirichlet(SIZE, estimator="paper", kl="multigamma"),
    "logistic-normal": lambda: make_latent("logistic-normal", SIZE),
    "stick-breaking": lambda: make_latent("stick-breaking", SIZE),
    "dirichlet-prior10-k25": lambda: Dirichlet(SIZE // 2, prior=10.0),
    "scaled-dirichlet": lambda: ScaledDirichlet(SIZE),
    "scaled-dirichlet-prior3": lambda: ScaledDirichlet(SIZE, prior=3.0),
}
"""By name. "dirichlet-paper" is the paper's objective: its sampler and its divergence.

The last three try to make a Dirichlet do better: fewer components under a denser prior, and a rate for each.
"""


def make_model(name: str, *, seed: int) -> MLPVAE:
    """A fresh model, a function of its name and seed. The decoder reads the latent in units of its prior."""
    with seeded(derive_seed(seed, Purpose.WEIGHTS), torch.device("cpu")):
        latent = MODELS[name]()
        prior = latent.prior
        head = Standardise(prior.mean, prior.stddev)
        return MLPVAE(latent=latent, model_size=latent.model_size, decode_head=head)
