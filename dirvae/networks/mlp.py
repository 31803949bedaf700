"""Fully connected autoencoders: for data of any shape, and for comparisons with the literature.

The network of the Dirichlet VAE paper (Joo et al. 2019, arXiv 1901.02739) for 28×28 digits is the default:
784-500-500-50 and back, softplus between the layers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from dirvae.autoencoder import AutoEncoder
from dirvae.latents import Latent, named_latent
from dirvae.latents.dense import Dense
from dirvae.losses import Likelihood, named_likelihood
from dirvae.networks.arguments import arguments_to_json

__all__ = ["MLPVAE", "dense_stack", "widen_heads"]


class MLPVAE(AutoEncoder):
    """Autoencoder of data (batch, *shape) in [0, 1], one latent of `model_size` an example.

    `widths`: units of the encoder's hidden layers; the decoder has them the other way round. The latent's heads
    read the last hidden layer, so that no parameter of the posterior is squeezed through another's bottleneck.
    `latent`: a name, or a `Latent` whose default heads are then widened. `prior`: that of a latent given by name, its
    own default if None. `likelihood`, `decode_head`: as for
    `AutoEncoder`. `fixed_scale`: the scale the likelihood stays at, learned if None.
    `config` holds the arguments as JSON values: `MLPVAE(**model.config)` is the same network, untrained.
    """

    def __init__(
        self,
        shape: Sequence[int] = (1, 28, 28),
        *,
        model_size: int = 50,
        widths: Sequence[int] = (500, 500),
        latent: str | Latent = "dirichlet",
        prior: float | Sequence[float] | str | None = None,
        decode_head: nn.Module | None = None,
        likelihood: str | Likelihood = "bernoulli",
        fixed_scale: float | None = None,
    ) -> None:
        if not shape or not widths or min(*shape, *widths, model_size) < 1:
            raise ValueError(
                f"shape is {tuple(shape)} and widths {tuple(widths)}; each needs numbers of 1 or more."
            )
        num_values = math.prod(shape)
        made = named_latent(latent, model_size, prior)
        widen_heads(made, widths[-1])
        super().__init__(
            nn.Sequential(nn.Flatten(), *dense_stack(num_values, *widths), nn.Softplus()),
            nn.Sequential(*dense_stack(model_size, *reversed(widths), num_values), nn.Unflatten(1, tuple(shape))),
            model_size,
            latent=made,
            decode_head=decode_head,
            likelihood=named_likelihood(likelihood, fixed_scale=fixed_scale),
            features_size=widths[-1],
        )
        self._config = {
            "shape": list(shape),
            "model_size": model_size,
            "widths": list(widths),
            "latent": latent,
            "prior": prior,
            "likelihood": likelihood,
            "fixed_scale": fixed_scale,
            **({} if decode_head is None else {"decode_head": decode_head}),
        }

    @property
    def config(self) -> dict[str, Any]:
        """The arguments as JSON values. ValueError if a part was given as a module."""
        return arguments_to_json(self._config)


def dense_stack(*sizes: int) -> list[nn.Module]:
    """Linear layers from size to size with softplus between them, none after the last; Glorot's start."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layer = nn.Linear(before, after)
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
        layers += [layer, nn.Softplus()]
    return layers[:-1]


def widen_heads(latent: Latent, features_size: int) -> None:
    """Let a latent's default heads read `features_size` channels instead of model_size, in place.

    Where a head starts from stays: its bias, and weights of zero. Heads of other kinds are left alone.
    """
    for name, head in list(latent.named_children()):
        if isinstance(head, Dense) and head.in_features == latent.model_size != features_size:
            wide = Dense(features_size, head.out_features, bias=head.bias is not None)
            with torch.no_grad():
                if head.bias is not None:
                    wide.bias.copy_(head.bias)
                if not head.weight.any():
                    wide.weight.zero_()
            setattr(latent, name, wide)
