"""Pictures that show the two levels: the vector alone, both, vectors with maps of other examples, prior draws."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dirvae.explore.traversals import interpolate
from dirvae.levels import LevelledAutoEncoder
from dirvae.metrics import psnr
from dirvae.report.gallery import Gallery
from dirvae.seeding import Purpose, derive_seed, seeded

__all__ = ["LevelGallery", "decode_alone", "make_level_gallery"]

STEPS = 7
EXCHANGED = 5
VECTORS, MAPS = 4, 6


@dataclass(frozen=True)
class LevelGallery:
    """Examples (…, channel, *dims) in [0, 1] on the CPU.

    alone      (num, …): the shown examples, decoded from the means of their vectors alone, and `alone_db` their PSNR
    walk       (3, step, …): from one example's vector to another's, with the map of the first, with none, with the
               map of the second
    exchanged  (num, num, …): row i, column j has the vector of example i and the map of example j
    drawn      (vector, 1 + map, …): draws of the vector's prior (the fitted one if any), each decoded alone and then
               with draws of the map's prior given it
    """

    alone: Tensor
    alone_db: list[float]
    walk: Tensor
    exchanged: Tensor
    drawn: Tensor


@torch.inference_mode()
def make_level_gallery(model: LevelledAutoEncoder, gallery: Gallery, *, seed: int) -> LevelGallery:
    """The pictures that show the two levels of a model, for the examples in its gallery."""
    model.eval()
    device = next(model.parameters()).device
    x = gallery.originals.to(device)
    levels = model.encode_levels(x)
    vectors, maps = levels.vector.mean, levels.map.mean
    alone = model.decode(vectors)
    num = min(EXCHANGED, len(x))
    rows = [model.decode(vectors[i].expand_as(vectors[:num]), maps[:num]) for i in range(num)]
    with seeded(derive_seed(seed, Purpose.PICTURES, 1), device):
        source = model.latent.prior if model.fitted_prior is None else model.fitted_prior
        drawn = source.sample(VECTORS).to(device)
        prior = model.map_prior(drawn)
        made = [model.decode(drawn), *(model.decode(drawn, prior.rsample()) for _ in range(MAPS))]
    return LevelGallery(
        alone=alone.cpu(),
        alone_db=psnr(alone.clamp(0, 1), x).tolist(),
        walk=_walk(model, vectors, maps, gallery.pair).cpu(),
        exchanged=torch.stack(rows).cpu(),
        drawn=torch.stack(made, 1).cpu(),
    )


@torch.inference_mode()
def decode_alone(model: LevelledAutoEncoder, gallery: Gallery) -> Tensor:
    """The shown examples, decoded from the means of their vectors alone: (num, channel, *dims) on the CPU."""
    x = gallery.originals.to(next(model.parameters()).device)
    return model.decode(model.encode(x).mean).cpu()


def _walk(model: LevelledAutoEncoder, vectors: Tensor, maps: Tensor, pair: tuple[int, int]) -> Tensor:
    first, second = pair
    line = interpolate(vectors[first], vectors[second], STEPS)
    ends = [maps[end].expand(STEPS, *maps.shape[1:]) for end in pair]
    return torch.stack([model.decode(line, ends[0]), model.decode(line), model.decode(line, ends[1])])
