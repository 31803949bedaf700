"""Which runs over the sample scenes there are, and the model of each."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dirvae.latents import Dirichlet, Latent, ScaledDirichlet, make_latent
from dirvae.networks import ResNetVAE
from dirvae.seeding import Purpose, derive_seed, seeded
from dirvae.training import TrainConfig

__all__ = ["MODELS", "RESULTS", "SEEDS", "SceneJob", "Setting", "scene_jobs"]

RESULTS = Path(__file__).parent / "results"
SEEDS = (0, 1, 2)

MODELS: dict[str, Callable[[int], Latent]] = {
    "gaussian": lambda size: make_latent("gaussian", size),
    "dirichlet": Dirichlet,
    "dirichlet-learned": lambda size: Dirichlet(size, prior="learned"),
    "logistic-normal": lambda size: make_latent("logistic-normal", size),
    "scaled-dirichlet-prior3": lambda size: ScaledDirichlet(size, prior=3.0),
}
"""By name; each takes the number of components."""

PRIORS: dict[str, float | str] = {"learned": "learned", "prior3": 3.0}


@dataclass(frozen=True)
class Setting:
    """What all runs have in common: scenes made, side of the pictures, updates, share held out."""

    scenes: int = 6000
    side: int = 32
    steps: int = 4000
    held_out: float = 0.25


@dataclass(frozen=True, order=True)
class SceneJob:
    """One latent of this many components, trained from one seed and measured."""

    model: str
    model_size: int
    seed: int

    @property
    def name(self) -> str:
        """What its result file and its run folder are called."""
        return f"scenes-{self.model}-{self.model_size}-seed{self.seed}"

    def result_path(self, folder: Path = RESULTS) -> Path:
        """Where its result lies, or will."""
        return folder / f"{self.name}.json"

    def result(self, folder: Path = RESULTS) -> dict[str, Any] | None:
        """What was measured, None if it was not yet."""
        path = self.result_path(folder)
        content: dict[str, Any] | None = json.loads(path.read_text("utf-8")) if path.exists() else None
        return content

    def config(self, shards: Path, setting: Setting) -> TrainConfig:
        """The settings of `python -m dirvae.train`, its defaults but for what a `Setting` holds."""
        latent, _, ending = self.model.rpartition("-")
        latent, prior = (latent, PRIORS[ending]) if ending in PRIORS else (self.model, None)
        return TrainConfig(
            source=str(shards),
            size=setting.side,
            steps=setting.steps,
            held_out=setting.held_out,
            latent=latent,
            prior=prior,
            model_size=self.model_size,
            seed=self.seed,
            device="cpu",
            threads=1,
        )

    def make_model(self, config: TrainConfig) -> ResNetVAE:
        """The fresh model: the network of `python -m dirvae.train`, this job's latent, weights that follow the seed.

        The latent's are drawn first, so they are other draws than those of a run there.
        """
        with seeded(derive_seed(config.seed, Purpose.WEIGHTS), torch.device("cpu")):
            return ResNetVAE(
                size=config.size,
                model_size=config.model_size,
                preset=config.preset,
                latent=MODELS[self.model](config.model_size),
                likelihood=config.likelihood,
            )


def scene_jobs(model_size: int = 16) -> list[SceneJob]:
    """All jobs of a number of components, seed by seed."""
    return [SceneJob(model, model_size, seed) for seed in SEEDS for model in MODELS]
