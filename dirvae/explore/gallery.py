"""The pictures that show a trained model: reconstructions, samples, components, a path from one image to another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.explore.traversals import component_latents, farthest_pair, interpolate, seen_strength
from dirvae.metrics import active_units, components_in_use, is_simplex, psnr
from dirvae.seeding import Purpose, derive_seed, seeded

__all__ = ["Component", "Gallery", "make_gallery"]

NUM_SHOWN = 12
NUM_SAMPLES = 24
NUM_COMPONENTS = 64
NUM_STEPS = 9


@dataclass(frozen=True)
class Component:
    """A component of the latent: its number, its mean over the examples (a share, on the simplex), whether it is in
    use, and the picture (channel, height, width) that it decodes to.
    """

    number: int
    mean: float
    is_used: bool
    picture: Tensor


@dataclass(frozen=True)
class Gallery:
    """Pictures (num, channel, height, width) in [0, 1] on the CPU. `psnr_db` is that of the reconstructions, `pair`
    holds the numbers of the two originals that the traversal connects.
    """

    originals: Tensor
    reconstructions: Tensor
    psnr_db: list[float]
    samples: Tensor
    components: list[Component]
    traversal: Tensor
    pair: tuple[int, int]


@torch.inference_mode()
def make_gallery(model: AutoEncoder, images: Tensor, *, seed: int) -> Gallery:
    """Make the pictures of a model from images (num, channel, height, width) in [0, 1] on its device.

    The first few are shown; all of them determine how strong each component gets. The components in use come first.
    """
    model.eval()
    latents = torch.cat([model.encode(part).mean for part in torch.split(images, 64)])
    shown = images[:NUM_SHOWN]
    reconstructions = model.decode(latents[: len(shown)])
    first, second = farthest_pair(latents[: len(shown)])
    with seeded(derive_seed(seed, Purpose.PICTURES), images.device):
        samples = model.sample(NUM_SAMPLES)
    return Gallery(
        originals=shown.cpu(),
        reconstructions=reconstructions.cpu(),
        psnr_db=psnr(reconstructions.clamp(0, 1), shown).tolist(),
        samples=samples.cpu(),
        components=_components(model, latents),
        traversal=model.decode(interpolate(latents[first], latents[second], NUM_STEPS)).cpu(),
        pair=(first, second),
    )


def _components(model: AutoEncoder, latents: Tensor) -> list[Component]:
    on_simplex = is_simplex(latents)
    used = components_in_use(latents) if on_simplex else active_units(latents)
    means = latents.movedim(1, -1).flatten(0, -2).mean(0)
    towards = component_latents(latents.mean(0), seen_strength(latents), on_simplex=on_simplex)
    rank = (used.float() * 2 + means / means.abs().max().clamp(min=1e-9)).argsort(descending=True)
    chosen = rank[:NUM_COMPONENTS]
    pictures = torch.cat([model.decode(part) for part in torch.split(towards[chosen], 64)]).cpu()
    return [
        Component(int(number), float(means[number]), bool(used[number]), picture)
        for number, picture in zip(chosen.tolist(), pictures, strict=True)
    ]
