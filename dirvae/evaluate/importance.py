"""Log likelihoods by importance sampling: what a model says of data, whatever its latent.

log p(x) ≈ log mean over z ~ q(z|x) of p(x|z) p(z) / q(z|x), the posterior as proposal (Burda et al. 2015, arXiv
1509.00519, equation 8): a lower bound in expectation that tightens with the number of draws.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor, nn

from dirvae.autoencoder import AutoEncoder
from dirvae.training.seeding import Stream, stream_seed

__all__ = ["ImportanceEstimate", "estimate_likelihood"]


@dataclass(frozen=True, eq=False)
class ImportanceEstimate:
    """What importance sampling says of each example, in nats: (num,) float64 each.

    `log_likelihood` ≥ `bound` (the ELBO, by the same draws) = -`reconstruction` - `kl`. `effective_samples` is
    (Σw)²/Σw², from 1 to the number of draws: where it stays near 1, the posterior is a poor proposal and the log
    likelihood is still too low.
    """

    log_likelihood: Tensor
    bound: Tensor
    reconstruction: Tensor
    kl: Tensor
    effective_samples: Tensor

    @classmethod
    def joined(cls, parts: Sequence[ImportanceEstimate]) -> ImportanceEstimate:
        """Estimates of several sets of examples as one of all of them, in their order."""
        return cls(*(torch.cat([getattr(part, entry.name) for part in parts]) for entry in fields(cls)))

    def means(self) -> dict[str, float]:
        """Means over the examples as positive numbers of nats: "nll", "negative_bound" and the bound's parts.

        "nll_standard_error" is that of the mean over examples; the effective samples are a median.
        """
        num = len(self.log_likelihood)
        spread = float(self.log_likelihood.std(correction=0)) / math.sqrt(num)
        return {
            "nll": -float(self.log_likelihood.mean()),
            "nll_standard_error": spread,
            "negative_bound": -float(self.bound.mean()),
            "reconstruction": float(self.reconstruction.mean()),
            "kl": float(self.kl.mean()),
            "effective_samples": float(self.effective_samples.median()),
        }


@torch.inference_mode()
def estimate_likelihood(
    model: AutoEncoder, x: Tensor, *, samples: int = 1000, rows: int = 500, seed: int = 0
) -> ImportanceEstimate:
    """Estimate log p(x) and the bound for each of `x` (num, channel, *dims) with `samples` draws an example.

    `rows` examples are decoded at a time, one draw of each, so memory does not grow with `samples` or num. The
    noise is keyed by (seed, first example of the rows): the result is a function of the arguments. Latents whose
    sampler is an approximation are drawn from exactly, or the weights would belong to another distribution.
    The model is measured in evaluation mode and left in the mode of each of its modules. ValueError for a likelihood
    that is none, no example, and fewer than one draw or row.
    """
    for name, count in (("samples", samples), ("rows", rows)):
        if count < 1:
            raise ValueError(f"{name} is {count}; it must be 1 or more.")
    if len(x) == 0:
        raise ValueError("no example was given to estimate the likelihood of.")
    if not model.likelihood.is_density:
        raise ValueError(
            f"{type(model.likelihood).__name__} is no likelihood, so there is no log likelihood to estimate; train "
            "with one of the others."
        )
    with _evaluation_mode(model):
        return ImportanceEstimate.joined(list(_estimate_rows(model, x, samples, rows, seed)))


@contextlib.contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _estimate_rows(
    model: AutoEncoder, x: Tensor, samples: int, rows: int, seed: int
) -> Iterator[ImportanceEstimate]:
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        generator = Generator(x.device).manual_seed(stream_seed(seed, Stream.IMPORTANCE, start))
        posterior = model.encode(part)
        likelihoods = torch.zeros(len(part), dtype=torch.float64, device=x.device)
        ratios = torch.zeros_like(likelihoods)
        log_sum = torch.full_like(likelihoods, -math.inf)
        log_squares = torch.full_like(likelihoods, -math.inf)
        for _ in range(samples):
            z, log_ratio = model.latent.weighted_draw(posterior, generator)
            log_likelihood = model.likelihood.log_prob(part, model.decode_raw(z)).double()
            log_weight = log_likelihood + log_ratio
            likelihoods += log_likelihood
            ratios += log_ratio
            log_sum = torch.logaddexp(log_sum, log_weight)
            log_squares = torch.logaddexp(log_squares, 2 * log_weight)
        bound = (likelihoods + ratios) / samples
        effective = (2 * log_sum - log_squares).exp()
        yield ImportanceEstimate(
            log_likelihood=log_sum - math.log(samples),
            bound=bound,
            reconstruction=-likelihoods / samples,
            kl=-ratios / samples,
            effective_samples=effective,
        )
