"""An autoencoder of any modality: encoder → features → posterior → latent → decoder."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from dirvae.latents import Latent, Posterior, make_latent
from dirvae.latents.dense import Dense, Standardise
from dirvae.losses import Likelihood, make_likelihood, masked_mean

__all__ = ["AutoEncoder", "Output"]


@dataclass(frozen=True, eq=False, repr=False)
class Output:
    """What a forward pass gives."""

    reconstruction: Tensor
    """Mean of the data given the latent, in data space: (batch, channel, *dims)."""
    latent: Tensor
    """The draw that was decoded: (batch, model_size, *grid)."""
    posterior: Posterior
    """What the latent was drawn from."""
    features: Tensor
    """What the encoder made of the data: (batch, model_size, *grid)."""
    decoded: Tensor
    """What the decoder put out, before the likelihood read it: (batch, channel, *dims); logits, for instance."""

    def __repr__(self) -> str:
        def shown(value: object) -> str:
            return str(tuple(value.shape)) if isinstance(value, Tensor) else repr(value)

        return "Output(" + ", ".join(f"{name}={shown(value)}" for name, value in vars(self).items()) + ")"


class AutoEncoder(nn.Module):
    """A variational autoencoder around any encoder and decoder.

    `encoder`: (batch, channel, *dims) → features (batch, model_size, *grid), any grid, also none.
    `decoder`: (batch, model_size, *grid) → (batch, channel, *dims), in what `likelihood` reads.
    `latent`: "dirichlet", "gaussian" or a `Latent`, which owns the heads that read the features.
    `decode_head`: latent (batch, model_size, *grid) → the decoder's input; a dense layer per cell over
    the standardised latent unless given.
    `likelihood`: "gaussian", "laplace", "bernoulli" or a `Likelihood`.
    `grid`: the grid that `sample` draws on.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        model_size: int,
        *,
        latent: str | Latent = "dirichlet",
        decode_head: nn.Module | None = None,
        likelihood: str | Likelihood = "gaussian",
        grid: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.model_size = model_size
        self.grid = tuple(grid)
        self.encoder = encoder
        self.decoder = decoder
        self.latent = make_latent(latent, model_size) if isinstance(latent, str) else latent
        if self.latent.model_size != model_size:
            raise ValueError(
                f"the latent has model_size {self.latent.model_size}, the autoencoder {model_size}; "
                "give both the same."
            )
        self.likelihood = make_likelihood(likelihood) if isinstance(likelihood, str) else likelihood
        prior = self.latent.prior
        self.decode_head = (
            nn.Sequential(Standardise(prior.mean, prior.stddev), Dense(model_size, model_size))
            if decode_head is None
            else decode_head
        )

    def forward(self, x: Tensor, *, generator: Generator | None = None) -> Output:
        """Encode, draw a latent, decode. `x`: (batch, channel, *dims) float in [0, 1]."""
        features = self._features(x)
        posterior = self.latent.posterior(features)
        latent = posterior.rsample(generator)
        decoded = self._decoded(latent)
        return Output(self.likelihood.mean(decoded), latent, posterior, features, decoded)

    def encode(self, x: Tensor) -> Posterior:
        """Posterior of the latent of `x` (batch, channel, *dims); its `.mean` is the point to decode."""
        return self.latent.posterior(self._features(x))

    def decode(self, latent: Tensor) -> Tensor:
        """Mean of the data given a latent: (batch, model_size, *grid) → (batch, channel, *dims)."""
        return self.likelihood.mean(self._decoded(latent))

    @torch.no_grad()
    def sample(self, num: int, *, generator: Generator | None = None) -> Tensor:
        """Data made of `num` draws from the prior: (num, channel, *dims)."""
        return self.decode(self.latent.prior.sample(num, *self.grid, generator=generator))

    def loss(
        self, x: Tensor, out: Output, *, kl_weight: float | Tensor = 1.0, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Terms of the objective as scalars, nats per example, means over the examples of the batch.

        "loss" = "reconstruction" (-log likelihood) + kl_weight · "kl". `mask` (batch,) is False for padding,
        which does not count.
        """
        if out.decoded.shape != x.shape:
            raise ValueError(f"the decoder made {tuple(out.decoded.shape)}, but the data is {tuple(x.shape)}.")
        reconstruction = masked_mean(-self.likelihood.log_prob(x, out.decoded), mask)
        kl = masked_mean(self.latent.kl(out.posterior), mask)
        return {"loss": reconstruction + kl_weight * kl, "reconstruction": reconstruction, "kl": kl}

    def _features(self, x: Tensor) -> Tensor:
        features: Tensor = self.encoder(x)
        if features.dim() < 2 or features.shape[1] != self.model_size:
            raise ValueError(
                f"the encoder made {tuple(features.shape)} of {tuple(x.shape)}; it must make "
                f"(batch, {self.model_size}, *grid)."
            )
        return features

    def _decoded(self, latent: Tensor) -> Tensor:
        decoded: Tensor = self.decoder(self.decode_head(latent))
        return decoded
