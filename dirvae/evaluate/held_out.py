"""How good a model is on examples it did not train on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.evaluate.levels import LevelSums
from dirvae.float64 import wide, wide_device
from dirvae.levels import LevelOutput, has_map
from dirvae.metrics import latent_usage, psnr
from dirvae.seeding import Purpose, derive_seed, seeded
from dirvae.training.feed import to_device

__all__ = ["HeldOut", "Measure", "mean_example"]

MAX_EXAMPLES = 2048
"""The number of held-out examples in one evaluation, and of training examples in the mean example."""

MAX_PSNR_DB = 100.0

Measure = Callable[[Tensor, Tensor], Tensor]
"""(decoded posterior means in [0, 1], examples), both (batch, channel, *dims) → a number per example: (batch,)."""


class HeldOut:
    """Evaluates an autoencoder on batches that give the same examples each time they are iterated.

    `mean` is the mean training example (channel, *dims) in [0, 1]: the best constant prediction. At most `limit`
    examples are used. `noun` is what an example is called in the names of numbers; `measures` are more numbers to take
    the mean of, by name.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        *,
        mean: Tensor,
        seed: int = 0,
        limit: int = MAX_EXAMPLES,
        noun: str = "image",
        measures: Mapping[str, Measure] | None = None,
    ) -> None:
        self._batches = batches
        self._mean = mean
        self._seed = seed
        self._limit = limit
        self._noun = noun
        self._measures = dict(measures or {})

    def __call__(self, model: AutoEncoder) -> dict[str, Any]:
        """Numbers by name, means over the examples.

        In nats per example: `bound` (on the log likelihood; higher is better) and its parts `reconstruction` and
        `kl`. If the reconstruction term is not a log likelihood of such data, `objective` replaces `bound`. In dB:
        `psnr_db` of the decoded posterior mean, `mean_image_psnr_db` (or another noun) of the mean example, and
        `psnr_gain_db`, the difference. About the latents: `components_in_use`, `effective_components` (on the simplex
        only) and `model_size`. If the model has a map beside its vector, these are of the vector, and the numbers of
        `LevelSums.means` are added.
        """
        device = next(model.parameters()).device
        mean = self._mean.to(device)
        sums = torch.zeros(4 + len(self._measures), dtype=torch.float64, device=wide_device(device))
        num_examples, latents, is_bound = 0, [], True
        levels = LevelSums(device)
        model.eval()
        with torch.inference_mode():
            for index, x in enumerate(_examples(self._batches, device, self._limit)):
                with seeded(derive_seed(self._seed, Purpose.EVALUATION, index), device):
                    out = model(x)
                terms = model.loss(x, out)
                is_bound = is_bound and model.likelihood.is_density_of(x)
                center = out.posterior.mean
                maps = (out.map_posterior.mean,) if isinstance(out, LevelOutput) else ()
                decoded = model.decode(center, *maps).clamp(0, 1)
                ours = psnr(decoded, x).clamp(max=MAX_PSNR_DB).mean()
                theirs = psnr(mean.expand_as(x), x).clamp(max=MAX_PSNR_DB).mean()
                more = [measure(decoded, x).mean() for measure in self._measures.values()]
                sums += len(x) * wide(torch.stack([terms["reconstruction"], terms["kl"], ours, theirs, *more]))
                num_examples += len(x)
                latents.append(center.float().cpu())
                if has_map(model):
                    levels.add(model, x, out)
        reconstruction, kl, ours_db, theirs_db, *more = (sums / num_examples).tolist()
        return {
            "bound" if is_bound else "objective": -(reconstruction + kl),
            "reconstruction": reconstruction,
            "kl": kl,
            "psnr_db": ours_db,
            f"mean_{self._noun}_psnr_db": theirs_db,
            "psnr_gain_db": ours_db - theirs_db,
            **dict(zip(self._measures, more, strict=True)),
            **(levels.means() if has_map(model) else {}),
            **latent_usage(torch.cat(latents)),
            "examples": num_examples,
        }


def mean_example(batches: Iterable[Any], *, limit: int = MAX_EXAMPLES) -> Tensor:
    """Mean of up to `limit` examples of uint8 or float batches: (channel, *dims) float32 in [0, 1]."""
    total: Any = 0.0
    num_examples = 0
    for x in _examples(batches, torch.device("cpu"), limit):
        total = total + x.double().sum(0)
        num_examples += len(x)
    if num_examples == 0:
        raise ValueError("no batch was given to take the mean of.")
    mean: Tensor = (total / num_examples).float().contiguous()
    return mean


def _examples(batches: Iterable[Any], device: torch.device, limit: int) -> Iterator[Tensor]:
    """The first `limit` real examples of batches, without padding."""
    left = limit
    for batch in batches:
        data, mask = batch.data, getattr(batch, "mask", None)
        data = data if mask is None else data[np.asarray(mask)]
        yield to_device(data[:left], device)
        left -= len(data[:left])
        if left <= 0:
            return
