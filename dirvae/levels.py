"""An autoencoder of two levels: a vector says what is in an example, a map beside it says where.

    x ─ encoder ─┬─ features ── vector z ── decode_head ── decoder.start ── trunk ──(+)── decoder.finish ── x
                 └─ hidden ── map level: m ── entry ──────────────────────────────┘
                                         prior of m: read from the trunk

The vector alone is an autoencoder too: it has the same encoder and decoder, and a likelihood of its own. Training drops
the map of some examples, whose trunk then reaches the output unchanged. So the vector must describe what it can.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeGuard, TypeVar

import torch
from torch import Generator, Tensor, nn

from dirvae import noise
from dirvae.autoencoder import AutoEncoder, Output
from dirvae.latents import Latent, Posterior
from dirvae.latents.conditional_dirichlet import ConditionalDirichlet
from dirvae.latents.dirichlet import DirichletPosterior
from dirvae.losses import Likelihood

__all__ = ["LevelOutput", "LevelledAutoEncoder", "Levels", "MapLevel", "has_map"]

V = TypeVar("V")
M = TypeVar("M")

USUAL_DROPPED = 0.3


class LevelEncoder(Protocol):
    """An encoder of both levels: its forward pass makes the vector's features alone, `levels` those of both."""

    def levels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the vector (batch, model_size), and hidden features for the map (batch, width, *grid)."""
        ...


class LevelDecoder(Protocol):
    """A decoder in two parts, between which the map enters: its forward pass is `finish` after `start`."""

    def start(self, latent: Tensor) -> Tensor:
        """The output of `decode_head` (batch, model_size) → the trunk on the map's grid (batch, width, *grid)."""
        ...

    def finish(self, trunk: Tensor) -> Tensor:
        """The trunk (batch, width, *grid) → what the likelihood reads (batch, channel, *dims)."""
        ...


@dataclass(frozen=True, eq=False)
class Levels(Generic[V, M]):
    """A value for each of the two levels, such as their posteriors."""

    vector: V
    map: M

    def widened(self: Levels[Any, Any], width: float) -> Levels[Any, Any]:
        """Both posteriors widened, as proposals for importance sampling. NotImplementedError if the vector's cannot."""
        if not hasattr(self.vector, "widened"):
            raise NotImplementedError(f"{type(self.vector).__name__} has no method `widened`; use width 1.")
        return Levels(self.vector.widened(width), self.map.widened(width))


@dataclass(frozen=True, eq=False, repr=False)
class LevelOutput(Output):
    """What a forward pass gives; `latent` and `posterior` are those of the vector.

    map_latent     the draw of the map: (batch, map_size, *grid)
    map_posterior  what it was drawn from
    map_prior      its prior, given the drawn vector
    has_map        (batch,) bool: False where the vector was decoded alone
    """

    map_latent: Tensor
    map_posterior: DirichletPosterior
    map_prior: DirichletPosterior
    has_map: Tensor


class MapLevel(nn.Module):
    """The second level: one simplex per cell of a grid.

    `read`: the encoder's hidden features (batch, width, *grid) → features (batch, map_size, *grid).
    `latent`: the Dirichlets of the cells, whose prior is read from the trunk.
    `entry`: a standardised map (batch, map_size, *grid) → what is added to the trunk.
    """

    def __init__(self, *, read: nn.Module, latent: ConditionalDirichlet, entry: nn.Module) -> None:
        super().__init__()
        self.read, self.latent, self.entry = read, latent, entry

    def posterior(self, hidden: Tensor) -> DirichletPosterior:
        """The posterior of the map."""
        return self.latent.posterior(self.read(hidden))

    def forward(self, map_latent: Tensor) -> Tensor:
        """What a map (batch, map_size, *grid) adds to the trunk: (batch, width, *grid)."""
        added: Tensor = self.entry(self.latent.standardise(map_latent))
        return added


class LevelledAutoEncoder(AutoEncoder):
    """An autoencoder that may have a map of latents beside its vector. Without a map it is an `AutoEncoder`.

    With a map `latent`, `model_size`, `encode` and `decode` of one latent are of the vector alone; `forward`, `loss`,
    `encode_levels`, `decode` with a map, `reconstruct` and `sample` are of both levels.

    With a map the terms of `loss` also hold "kl_global" and "kl_map", whose sum is "kl". Where an example has no map,
    "reconstruction" is that of the vector alone, under its own likelihood, and the map costs nothing. In evaluation
    mode every example has one, and the terms are those of a bound.

    `encoder`, `decoder`: with a map a `LevelEncoder` and a `LevelDecoder`.
    `map_level`: the second level, or None; `map_grid`: its grid.
    `map_dropped`: the share of the examples whose map training drops: the vector is decoded alone, the map is free.
    The other arguments are those of `AutoEncoder`. ValueError for a share outside [0, 1).
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        model_size: int,
        *,
        map_level: MapLevel | None = None,
        map_grid: tuple[int, ...] = (),
        map_dropped: float = USUAL_DROPPED,
        latent: str | Latent = "dirichlet",
        likelihood: str | Likelihood = "gaussian",
        grid: tuple[int, ...] = (),
    ) -> None:
        if not 0 <= map_dropped < 1:
            raise ValueError(
                f"map_dropped is {map_dropped}; it must be a share of the examples, from 0 to below 1."
            )
        super().__init__(encoder, decoder, model_size, latent=latent, likelihood=likelihood, grid=grid)
        self.map_level = map_level
        self.map_grid, self.map_dropped = tuple(map_grid), map_dropped
        self.vector_likelihood = None if map_level is None else copy.deepcopy(self.likelihood)

    def forward(self, x: Tensor, *, generator: Generator | None = None) -> Output:
        """Encode, draw, decode; training decodes a share `map_dropped` of the examples without their map.

        `x`: (batch, channel, *dims) float in [0, 1]. Draws, in this order: the vectors, the maps, which maps to drop.
        """
        if self.map_level is None:
            return super().forward(x, generator=generator)
        features, hidden = self._levels(x)
        posterior, map_posterior = self.latent.posterior(features), self.map_level.posterior(hidden)
        latent = posterior.rsample(generator)
        map_latent = map_posterior.rsample(generator)
        has_map = self._choose_with_map(x, generator)
        trunk = self._trunk(latent)
        is_added = has_map.view(-1, *(1,) * (trunk.dim() - 1))
        decoded = self._finish(trunk + torch.where(is_added, self.map_level(map_latent), 0))
        return LevelOutput(
            reconstruction=self.likelihood.mean(decoded),
            latent=latent,
            posterior=posterior,
            features=features,
            decoded=decoded,
            map_latent=map_latent,
            map_posterior=map_posterior,
            map_prior=self.map_level.latent.prior(trunk),
            has_map=has_map,
        )

    def encode_levels(self, x: Tensor) -> Levels[Posterior, DirichletPosterior]:
        """Posteriors of both levels of `x` (batch, channel, *dims)."""
        features, hidden = self._levels(x)
        return Levels(self.latent.posterior(features), self._map().posterior(hidden))

    def decode(self, latent: Tensor, map_latent: Tensor | None = None) -> Tensor:
        """Mean of the data given a latent (batch, model_size, *grid), and a map (batch, map_size, *map_grid) if any."""
        return self.likelihood.mean(self.decode_raw(latent, map_latent))

    def decode_raw(self, latent: Tensor, map_latent: Tensor | None = None) -> Tensor:
        """The decoder's output for a latent and a map, or for a latent alone, as the likelihood reads it."""
        if self.map_level is None and map_latent is None:
            return super().decode_raw(latent)
        trunk = self._trunk(latent)
        return self._finish(trunk if map_latent is None else trunk + self._map()(map_latent))

    def map_prior(self, latent: Tensor) -> DirichletPosterior:
        """The prior of the map given a vector (batch, model_size)."""
        return self._map().latent.prior(self._trunk(latent))

    def reconstruct(self, x: Tensor) -> Tensor:
        """The data decoded from the means of its posteriors, without a draw: (batch, channel, *dims) → the same."""
        if self.map_level is None:
            return super().reconstruct(x)
        levels = self.encode_levels(x)
        return self.decode(levels.vector.mean, levels.map.mean)

    def posteriors(self, x: Tensor) -> Any:
        return self.encode(x) if self.map_level is None else self.encode_levels(x)

    def weighted_decoding(self, posteriors: Any, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        if self.map_level is None:
            return super().weighted_decoding(posteriors, generator)
        latent, log_ratio = self.latent.weighted_draw(posteriors.vector, generator)
        trunk, of_map = self._trunk(latent), self.map_level.latent
        map_latent, log_map_ratio = of_map.weighted_draw(posteriors.map, of_map.prior(trunk), generator)
        return self._finish(trunk + self.map_level(map_latent)), log_ratio + log_map_ratio

    def _log_likelihood(self, x: Tensor, out: Output) -> Tensor:
        if self.vector_likelihood is None:
            return super()._log_likelihood(x, out)
        assert isinstance(out, LevelOutput)
        of_both, alone = (
            likelihood.log_prob(x, out.decoded) for likelihood in (self.likelihood, self.vector_likelihood)
        )
        return torch.where(out.has_map, of_both, alone)

    def _kl_terms(self, out: Output) -> dict[str, Tensor]:
        if self.map_level is None:
            return super()._kl_terms(out)
        assert isinstance(out, LevelOutput)
        of_map = self.map_level.latent.kl(out.map_posterior, out.map_prior)
        return {
            "kl_global": self.latent.kl(out.posterior),
            "kl_map": torch.where(out.has_map, of_map, 0),
        }

    def _decode_prior(self, latents: Tensor, generator: Generator | None) -> Tensor:
        if self.map_level is None:
            return super()._decode_prior(latents, generator)
        return self.decode(latents, self.map_prior(latents).rsample(generator))

    def _choose_with_map(self, x: Tensor, generator: Generator | None) -> Tensor:
        """Which examples are decoded with a map: (batch,) bool."""
        if not self.training or self.map_dropped == 0:
            return torch.ones(len(x), dtype=torch.bool, device=x.device)
        return noise.uniform((len(x),), x.device, generator) >= self.map_dropped

    def _map(self) -> MapLevel:
        if self.map_level is None:
            raise ValueError("this model has no map beside its latent; make it with levels='both'.")
        return self.map_level

    def _levels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        encoder: Any = self.encoder
        features, hidden = encoder.levels(x)
        return features, hidden

    def _trunk(self, latent: Tensor) -> Tensor:
        decoder: Any = self.decoder
        trunk: Tensor = decoder.start(self.decode_head(latent))
        return trunk

    def _finish(self, trunk: Tensor) -> Tensor:
        decoder: Any = self.decoder
        decoded: Tensor = decoder.finish(trunk)
        return decoded


def has_map(model: object) -> TypeGuard[LevelledAutoEncoder]:
    """Whether a model has a map beside its vector."""
    return isinstance(model, LevelledAutoEncoder) and model.map_level is not None
