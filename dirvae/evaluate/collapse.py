"""Components that a model does not use: those its decoder does not read, and those that never take a value.

The two kinds are distinguished by Joo et al. 2019 (arXiv 1901.02739, section 4): decoder-weight collapse, as in
Gaussian VAEs, and latent-value collapse, as in stick-breaking ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dirvae.autoencoder import AutoEncoder
from dirvae.float64 import wide
from dirvae.metrics import active_units, effective_components, is_simplex
from dirvae.networks.audio import AudioVAE

__all__ = ["collapsed_values", "collapsed_weights", "input_weight_norms", "usage"]


class _Reached(Exception):
    """The decoder's first layer was reached."""


@torch.inference_mode()
def input_weight_norms(model: AutoEncoder | AudioVAE) -> Tensor:
    """How strongly the decoder's first layer responds to each component: (model_size,), in its own units.

    The L2 norm of the change in that layer's output when the component moves by one standard deviation of the
    prior, in every cell of the grid. For a linear first layer over a standardised latent this is the norm of its
    input weights. ValueError for a decoder without a linear or convolutional layer, and a model without a latent.
    """
    if model.latent is None:
        raise ValueError("the model has no latent whose components could be measured.")
    prior, size = model.latent.prior, model.model_size
    part, decode = _reader(model)
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    layers = [layer for layer in part.modules() if isinstance(layer, kinds)]
    if not layers:
        raise ValueError("the decoder has no linear or convolutional layer whose weights could be measured.")
    seen: list[Tensor] = []

    def record(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        seen.append(output)
        raise _Reached

    steps = torch.cat([torch.zeros(1, size, device=prior.stddev.device), prior.stddev.diag()])
    handles = [layer.register_forward_hook(record) for layer in layers]
    try:
        decode(prior.mean + steps)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    response = wide(seen[0]).flatten(1)
    norms: Tensor = torch.linalg.vector_norm(response[1:] - response[0], dim=1)
    return norms.float()


def _reader(model: AutoEncoder | AudioVAE) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """The part of a decoder that reads the latent, and what decodes latents (num, model_size), equal in all cells."""
    if isinstance(model, AudioVAE):
        stack = model.decoder.latent_stack
        assert stack is not None
        return stack, lambda latents: stack(model.decoder_input(latents[:, :, None]))
    grid = model.grid
    return model.decoder, lambda latents: model.decode_raw(
        latents.view(*latents.shape, *(1,) * len(grid)).expand(*latents.shape, *grid)
    )


def collapsed_weights(norms: Tensor, *, share: float = 0.1) -> Tensor:
    """Components that the decoder hardly reads: norm below `share` of the largest. (K,) → (K,) bool."""
    is_collapsed: Tensor = norms < share * norms.max()
    return is_collapsed


def collapsed_values(mean: Tensor) -> Tensor:
    """Components that never take a value, from posterior means (num, K, *grid): (K,) bool.

    On the simplex: in 99 of 100 examples below a fifth of an equal share. Elsewhere: not an active unit.
    """
    if not is_simplex(mean):
        return ~active_units(mean)
    cells = mean.float().movedim(1, -1).flatten(0, -2)
    place = max(1, round(0.99 * len(cells)))
    is_collapsed: Tensor = cells.kthvalue(place, dim=0).values < 0.2 / mean.shape[1]
    return is_collapsed


def usage(model: AutoEncoder | AudioVAE, mean: Tensor) -> dict[str, Any]:
    """Counts of components by posterior means (num, K, *grid), as JSON.

    "active_units"; on the simplex also "effective_components", the exponential of the entropy of the mean latent;
    "components_in_use" by the latent's own rule; both kinds of collapse. ValueError for a model without a latent.
    """
    mean, norms = mean.detach(), input_weight_norms(model)
    on_simplex = is_simplex(mean)
    assert model.latent is not None
    return {
        "model_size": model.model_size,
        "active_units": int(active_units(mean).sum()),
        "components_in_use": int(model.latent.components_in_use(mean).sum()),
        "effective_components": float(effective_components(mean)) if on_simplex else None,
        "collapsed_values": int(collapsed_values(mean).sum()),
        "collapsed_weights": int(collapsed_weights(norms).sum()),
        "input_weight_norms": [round(value, 6) for value in norms.tolist()],
    }
