"""An autoencoder of two levels: a vector says what an example is, a map beside it where.

    x ─ encoder ─┬─ features ── vector z ── decode_head ── decoder.start ── trunk ──(+)── decoder.finish ── x
                 └─ hidden ── map level: m ── entry ──────────────────────────────┘
                                         prior of m: read from the trunk

The vector alone is an autoencoder, with the encoder's and the decoder's weights and a likelihood of its own: the map
is absent where it is dropped, and there the trunk goes on as it is. So the vector has to say all it can.
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
from dirvae.losses import Likelihood, masked_mean

__all__ = ["LevelOutput", "LevelledAutoEncoder", "Levels", "MapLevel", "has_map"]

V = TypeVar("V")
M = TypeVar("M")

USUAL_DROPPED = 0.3


class LevelEncoder(Protocol):
    """What an encoder has besides its forward pass, which makes features of the vector alone."""

    def levels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (batch, model_size) of the vector, and hidden ones (batch, width, *grid) of the map."""
        ...


class LevelDecoder(Protocol):
    """What a decoder has besides its forward pass, which is `finish` of `start`."""

    def start(self, latent: Tensor) -> Tensor:
        """From the vector, as `decode_head` gives it, to the trunk on the grid of the map: (batch, width, *grid)."""
        ...

    def finish(self, trunk: Tensor) -> Tensor:
        """The rest of the way: (batch, channel, *dims)."""
        ...


@dataclass(frozen=True, eq=False)
class Levels(Generic[V, M]):
    """One of something for each level."""

    vector: V
    map: M

    def widened(self: Levels[Any, Any], width: float) -> Levels[Any, Any]:
        """Both posteriors widened, as proposals for importance sampling. NotImplementedError if one cannot be."""
        if not hasattr(self.vector, "widened"):
            raise NotImplementedError(f"{type(self.vector).__name__} has no method `widened`; use width 1.")
        return Levels(self.vector.widened(width), self.map.widened(width))


@dataclass(frozen=True, eq=False, repr=False)
class LevelOutput(Output):
    """What a forward pass gives; `latent` and `posterior` are those of the vector.

    map_latent     the draw of the map: (batch, map_size, *grid)
    map_posterior  what it was drawn from, and `map_prior` what it is compared with, given the vector
    has_map        (batch,) bool: False where the vector was decoded alone
    """

    map_latent: Tensor
    map_posterior: DirichletPosterior
    map_prior: DirichletPosterior
    has_map: Tensor


class MapLevel(nn.Module):
    """The second level: one simplex per cell of a grid.

    `read`: the encoder's hidden features (batch, width, *grid) → features (batch, map_size, *grid).
    `latent`: the Dirichlets of the cells, with a prior that is read from the trunk.
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
    """An autoencoder that may have a map of latents beside its vector.

    With one it is the vector's own autoencoder (`encode`, `decode` of one latent, `latent`, `model_size`) and that of
    both levels (`forward`, `loss`, `encode_levels`, `decode` with a map, `reconstruct`, `sample`). Without one it is
    an `AutoEncoder`.

    `encoder`, `decoder`: with a map a `LevelEncoder` and a `LevelDecoder`.
    `map_level`: the second level, or None; `map_grid`: its grid.
    `map_dropped`: in this share of the examples training decodes the vector alone and charges for it alone.
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
        """Encode, draw, decode; with a map in training, the vector alone in a share of the examples.

        `x`: (batch, channel, *dims) float in [0, 1]. Draws: the vector, the map, who is without it.
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
        """What the decoder puts out for a latent and a map, or for a latent alone."""
        if self.map_level is None and map_latent is None:
            return super().decode_raw(latent)
        trunk = self._trunk(latent)
        return self._finish(trunk if map_latent is None else trunk + self._map()(map_latent))

    def map_prior(self, latent: Tensor) -> DirichletPosterior:
        """The prior of the map given a vector (batch, model_size)."""
        return self._map().latent.prior(self._trunk(latent))

    def reconstruct(self, x: Tensor) -> Tensor:
        """The data by the means of its posteriors, without a draw: (batch, channel, *dims) → the same."""
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

    def loss(
        self,
        x: Tensor,
        out: Output,
        *,
        kl_weight: float | Tensor = 1.0,
        free_nats: float = 0.0,
        mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Terms of the objective, as those of `AutoEncoder.loss`; with a map "kl" is "kl_global" + "kl_map".

        Where an example has no map, "reconstruction" is that of the vector alone, under its own likelihood, and the
        map costs nothing. In evaluation mode every example has one, and the terms are those of a bound.
        """
        if self.map_level is None or self.vector_likelihood is None:
            return super().loss(x, out, kl_weight=kl_weight, free_nats=free_nats, mask=mask)
        assert isinstance(out, LevelOutput)
        if out.decoded.shape != x.shape:
            raise ValueError(f"the decoder made {tuple(out.decoded.shape)}, but the data is {tuple(x.shape)}.")
        of_both, alone = (
            -likelihood.log_prob(x, out.decoded) for likelihood in (self.likelihood, self.vector_likelihood)
        )
        reconstruction = masked_mean(torch.where(out.has_map, of_both, alone), mask)
        kl_global = masked_mean(self.latent.kl(out.posterior), mask)
        of_map = self.map_level.latent.kl(out.map_posterior, out.map_prior)
        kl_map = masked_mean(torch.where(out.has_map, of_map, 0), mask)
        kl = kl_global + kl_map
        charged = kl.clamp(min=free_nats) if free_nats > 0 else kl
        return {
            "loss": reconstruction + kl_weight * charged,
            "reconstruction": reconstruction,
            "kl": kl,
            "kl_global": kl_global,
            "kl_map": kl_map,
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
