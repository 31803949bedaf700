"""An autoencoder of any modality: encoder → features → posterior → latent → decoder."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
from torch import Generator, Tensor, nn

from dirvae.latents import Latent, Posterior, Prior, make_latent
from dirvae.latents.dense import Dense, Standardise
from dirvae.latents.fitted_prior import FittedPrior, fit_prior_to
from dirvae.losses import Likelihood, make_likelihood, masked_mean

__all__ = ["AutoEncoder", "Output", "autoencoder"]

_HEADS = {
    "dirichlet": {"alpha": "head"},
    "scaled-dirichlet": {"alpha": "concentration_head", "beta": "rate_head"},
}
"""What the heads are called by the latents that have them."""


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
    `latent`: the name of one in `dirvae.latents.LATENTS` or a `Latent`, which owns the heads that read the
    features: a dense layer per cell for each parameter of the posterior by default.
    `alpha`, `beta`: heads of a latent given by name, features → its concentration ("dirichlet" and
    "scaled-dirichlet") and its rates ("scaled-dirichlet": with others a rate would cancel).
    `decode_head`: latent (batch, model_size, *grid) → the decoder's input; a dense layer per cell over
    the standardised latent by default.
    `likelihood`: the name of one in `dirvae.losses.LIKELIHOODS` or a `Likelihood`.
    `grid`: the grid that `sample` draws on.
    `features_size`: channels of the features where they are not model_size, for heads that read as many.
    `fitted_prior` is what `fit_prior` made, None before; a checkpoint does not hold it.
    """

    fitted_prior: FittedPrior | None = None

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        model_size: int,
        *,
        latent: str | Latent = "dirichlet",
        alpha: nn.Module | None = None,
        beta: nn.Module | None = None,
        decode_head: nn.Module | None = None,
        likelihood: str | Likelihood = "gaussian",
        grid: tuple[int, ...] = (),
        features_size: int | None = None,
    ) -> None:
        super().__init__()
        self.model_size = model_size
        self.features_size = model_size if features_size is None else features_size
        self.grid = tuple(grid)
        self.encoder = encoder
        self.decoder = decoder
        self.latent = _make_latent(latent, model_size, alpha=alpha, beta=beta)
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
        decoded = self.decode_raw(latent)
        return Output(self.likelihood.mean(decoded), latent, posterior, features, decoded)

    def encode(self, x: Tensor) -> Posterior:
        """Posterior of the latent of `x` (batch, channel, *dims); its `.mean` is the point to decode."""
        return self.latent.posterior(self._features(x))

    def decode(self, latent: Tensor) -> Tensor:
        """Mean of the data given a latent: (batch, model_size, *grid) → (batch, channel, *dims)."""
        return self.likelihood.mean(self.decode_raw(latent))

    def reconstruct(self, x: Tensor) -> Tensor:
        """The data by the mean of its posterior, without a draw: (batch, channel, *dims) → the same."""
        return self.decode(self.encode(x).mean)

    def posteriors(self, x: Tensor) -> Any:
        """All that is drawn for `x`, for `weighted_decoding`; may have `widened`, as a `Posterior` may."""
        return self.encode(x)

    def weighted_decoding(self, posteriors: Any, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """What the decoder puts out for one draw of `posteriors`, and the draw's importance weight.

        (batch, channel, *dims), as the likelihood reads it, and log prior - log posterior of the draw, (batch,)
        float64: see `Latent.weighted_draw`.
        """
        z, log_ratio = self.latent.weighted_draw(posteriors, generator)
        return self.decode_raw(z), log_ratio

    def decode_raw(self, latent: Tensor) -> Tensor:
        """What the decoder puts out for a latent, as the likelihood reads it: logits, for instance."""
        decoded: Tensor = self.decoder(self.decode_head(latent))
        return decoded

    @torch.no_grad()
    def sample(self, num: int, *, generator: Generator | None = None, prior: Prior | None = None) -> Tensor:
        """Data made of `num` draws from the prior, or another one of latents, such as `fitted_prior`.

        (num, channel, *dims). ValueError where the decoder cannot read latents on `grid`.
        """
        source: Prior = self.latent.prior if prior is None else prior
        latents = source.sample(num, *self.grid, generator=generator).to(self.latent.prior.mean.device)
        try:
            made = self._decode_prior(latents, generator)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ValueError(self._misfit(latents)) from error
        if len(made) != num:
            raise ValueError(self._misfit(latents))
        return made

    @torch.no_grad()
    def fit_prior(
        self, batches: Iterable[Any], *, num_parts: int = 8, draws: int = 4, limit: int = 2048, seed: int = 0
    ) -> FittedPrior:
        """Fit a prior to the posteriors of data, in evaluation mode, and keep it as `fitted_prior`.

        `batches`: tensors or arrays (batch, channel, *dims), in [0, 1] or uint8, or batches that hold such `data`; the
        first `limit` examples are used, with `draws` latents of each. `num_parts`: normals of the mixture, see
        `dirvae.latents.fitted_prior`. The model itself and its bound stay what they are. ValueError for no example.
        """
        was_training, device = self.training, self.latent.prior.mean.device
        generator = Generator(device).manual_seed(seed)
        self.eval()
        try:
            found = [
                self.encode(x.to(device)).rsample(generator).cpu()
                for x in _first_examples(batches, limit)
                for _ in range(draws)
            ]
        finally:
            self.train(was_training)
        if not found:
            raise ValueError("no example was given to fit a prior to.")
        self.fitted_prior = fit_prior_to(torch.cat(found), num_parts=num_parts, seed=seed)
        return self.fitted_prior

    def loss(
        self,
        x: Tensor,
        out: Output,
        *,
        kl_weight: float | Tensor = 1.0,
        free_nats: float = 0.0,
        mask: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Terms of the objective as scalars, nats per example, means over the examples of the batch.

        "loss" = "reconstruction" (-log likelihood) + kl_weight · max("kl", free_nats): below `free_nats` nothing
        pulls the posterior to the prior (Kingma et al. 2016, arXiv 1606.04934, equation 15, the latent as one
        group). "reconstruction" and "kl" are the bound's own terms, whatever the weight. `mask` (batch,) is False
        for padding, which does not count here; a learned prior has seen it all the same in the forward pass, and
        what is not finite there makes gradients that are not.
        """
        if out.decoded.shape != x.shape:
            raise ValueError(f"the decoder made {tuple(out.decoded.shape)}, but the data is {tuple(x.shape)}.")
        reconstruction = masked_mean(-self._log_likelihood(x, out), mask)
        kl_terms = {name: masked_mean(values, mask) for name, values in self._kl_terms(out).items()}
        kl = functools.reduce(torch.add, kl_terms.values())
        charged = kl.clamp(min=free_nats) if free_nats > 0 else kl
        return {
            "loss": reconstruction + kl_weight * charged,
            "reconstruction": reconstruction,
            "kl": kl,
            **kl_terms,
        }

    def _log_likelihood(self, x: Tensor, out: Output) -> Tensor:
        """Log likelihood of each example in nats: (batch,)."""
        return self.likelihood.log_prob(x, out.decoded)

    def _kl_terms(self, out: Output) -> dict[str, Tensor]:
        """KL divergences by name, (batch,) each, in nats; "kl" is their sum."""
        return {"kl": self.latent.kl(out.posterior)}

    def _decode_prior(self, latents: Tensor, generator: Generator | None) -> Tensor:
        """Data of draws of the prior: (num, model_size, *grid) → (num, channel, *dims)."""
        return self.decode(latents)

    def _misfit(self, latents: Tensor) -> str:
        return (
            f"the decoder does not make data of latents {tuple(latents.shape)}; give the autoencoder the grid= that "
            f"its encoder makes, if that is not {self.grid}."
        )

    def _features(self, x: Tensor) -> Tensor:
        features: Tensor = self.encoder(x)
        if features.dim() < 2 or features.shape[1] != self.features_size:
            raise ValueError(
                f"the encoder made {tuple(features.shape)} of {tuple(x.shape)}; it must make "
                f"(batch, {self.features_size}, *grid)."
            )
        return features


def autoencoder(model_size: int, **options: Any) -> Callable[[type], type[AutoEncoder]]:
    """Decorator that makes an `AutoEncoder` of a class which holds an `encoder` and a `decoder`.

        @autoencoder(model_size=16)
        class Vowels:
            def __init__(self, width=64):
                self.encoder = nn.Sequential(nn.Linear(40, width), nn.SiLU(), nn.Linear(width, 16))
                self.decoder = nn.Sequential(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, 40))

        model = Vowels(width=128)

    Heads that it holds as `alpha`, `beta` or `decode` take the place of the default ones. `options` are those of
    `AutoEncoder`. The class only describes: it is made with the constructor's arguments and its parts are taken.
    Raises TypeError for a class with methods of its own, which would be lost, or without one of the two parts.
    """

    def decorate(description: type) -> type[AutoEncoder]:
        methods = [name for name, value in vars(description).items() if isinstance(value, FunctionType)]
        if lost := [name for name in methods if not name.startswith("__")]:
            raise TypeError(
                f"{description.__name__} has the method {lost[0]!r}; @autoencoder takes parts only. Put methods into "
                "a subclass of what it makes."
            )

        @functools.wraps(description.__init__)  # type: ignore[misc]
        def make(self: AutoEncoder, *arguments: Any, **settings: Any) -> None:
            parts = description(*arguments, **settings)
            AutoEncoder.__init__(
                self,
                _part(parts, "encoder"),
                _part(parts, "decoder"),
                model_size,
                alpha=getattr(parts, "alpha", None),
                beta=getattr(parts, "beta", None),
                decode_head=getattr(parts, "decode", None),
                **options,
            )

        described = {name: getattr(description, name) for name in ("__doc__", "__module__", "__qualname__")}
        return type(description.__name__, (AutoEncoder,), {"__init__": make, **described})

    return decorate


def _first_examples(batches: Iterable[Any], limit: int) -> Iterator[Tensor]:
    """The first `limit` examples of batches as floats, without padding."""
    left = limit
    for batch in batches:
        x, mask = torch.as_tensor(batch.data), getattr(batch, "mask", None)
        x = (x if mask is None else x[torch.as_tensor(mask).to(x.device)])[:left]
        if len(x):
            yield x.float() / 255 if x.dtype == torch.uint8 else x.float()
        left -= len(x)
        if left <= 0:
            return


def _part(parts: Any, name: str) -> nn.Module:
    part = getattr(parts, name, None)
    if not isinstance(part, nn.Module):
        raise TypeError(
            f"{type(parts).__name__} holds {part!r} as its {name}; give it a torch.nn.Module in __init__."
        )
    return part


def _make_latent(
    latent: str | Latent, model_size: int, *, alpha: nn.Module | None, beta: nn.Module | None
) -> Latent:
    heads = {name: head for name, head in (("alpha", alpha), ("beta", beta)) if head is not None}
    if not isinstance(latent, str):
        if heads:
            raise ValueError(
                f"a head {next(iter(heads))!r} and a latent were given; give the latent its heads itself."
            )
        return latent
    known = _HEADS.get(latent, {})
    for name in heads:
        if name not in known:
            having = " or ".join(repr(kind) for kind, named in _HEADS.items() if name in named)
            raise ValueError(f"the latent {latent!r} has no head {name!r}; use latent={having}, or leave it out.")
    options: dict[str, Any] = {known[name]: head for name, head in heads.items()}
    return make_latent(latent, model_size, **options)
