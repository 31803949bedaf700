"""Log likelihoods by importance sampling, for a model with any latent.

log p(x) ≈ log mean over z ~ q(z|x) of p(x|z) p(z) / q(z|x), where z holds the latents of all levels and the posterior
is the proposal (Burda et al. 2015, arXiv 1509.00519, equation 8): a lower bound in expectation that becomes tighter
with the number of draws. It is a lower bound for every other q as well, and the posterior is rarely the best: trained
to raise a bound, it is too narrow; trained with draws of too little spread, it is too wide. A wider or narrower q,
chosen on separate draws, gives a tighter bound.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Generator, Tensor, nn

from dirvae.autoencoder import AutoEncoder
from dirvae.float64 import wide, wide_device
from dirvae.levels import Levels
from dirvae.seeding import Purpose, derive_seed

__all__ = ["ImportanceEstimate", "WIDTHS", "check_width", "choose_width", "estimate_likelihood"]

WIDTHS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
"""Variances of the proposals that `choose_width` tries, in units of the posterior's."""
MIN_WIDTH, MAX_WIDTH = 1e-3, 1e3
"""Beyond these limits float32 draws are too inexact, and the weights would be wrong by nats."""
NUM_PILOTS = 200


@dataclass(frozen=True, eq=False)
class ImportanceEstimate:
    """The importance sampling estimates of each example, in nats: (num,) float64 each.

    They are on the model's device, or on the CPU if that device has no float64.

    `bound` (the ELBO) = -`reconstruction` - `kl`, always of the posterior; if that is the proposal, it uses the same
    draws as `log_likelihood`, which is then at least as large. `effective_samples` is (Σw)²/Σw², from 1 to the number
    of draws: if it stays near 1, the proposal is poor and the log likelihood is still too low.
    """

    log_likelihood: Tensor
    bound: Tensor
    reconstruction: Tensor
    kl: Tensor
    effective_samples: Tensor

    @classmethod
    def joined(cls, parts: Sequence[ImportanceEstimate]) -> ImportanceEstimate:
        """The estimates of several sets of examples as one, in their order."""
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
    model: AutoEncoder,
    x: Tensor,
    *,
    samples: int = 1000,
    rows: int = 500,
    seed: int = 0,
    width: float = 1.0,
    needs_density: bool = True,
) -> ImportanceEstimate:
    """Estimate log p(x) and the bound for each of `x` (num, channel, *dims) with `samples` draws per example.

    `width`: how wide the proposal is, in units of the posterior's variance (see `Posterior`), for instance
    that of `choose_width`. For any other value than 1 the bound is measured on separate draws, a tenth as many, but at
    least 20 unless `samples` is smaller.
    `rows` examples are decoded at a time, one draw of each, so memory does not grow with `samples` or num. The
    noise follows from (seed, first example of the rows): the result is a function of the arguments. Latents whose
    sampler is an approximation are sampled exactly here, because the weights would otherwise be those of another
    distribution. The model is measured in evaluation mode; then each module returns to its own mode. ValueError for a
    reconstruction term that is not a likelihood, or not one of such data (`needs_density=False` measures it all the
    same, and the numbers are then those of another objective), no example, fewer than one draw or row, or a width
    outside [0.001, 1000]; NotImplementedError for a custom posterior without `widened`.
    """
    check_width(width)
    _check(model, x, samples, rows, needs_density=needs_density)
    with _evaluation_mode(model):
        return ImportanceEstimate.joined(list(_estimate_rows(model, x, samples, rows, seed, width)))


@torch.inference_mode()
def choose_width(
    model: AutoEncoder,
    x: Tensor,
    *,
    samples: int = 1000,
    rows: int = 500,
    seed: int = 0,
    widths: Sequence[float] = WIDTHS,
) -> float:
    """The one of `widths` that gives the tightest `estimate_likelihood` of the first 200 of `x`, with fewer draws.

    It takes a tenth of `samples` draws, but at least 20 unless `samples` is smaller. Its noise, the same for every
    width, is independent of that of an estimate with the same `seed`, which therefore stays a lower bound in
    expectation. 1 for a posterior without `widened`, and if no width gives a finite likelihood. ValueError as for
    `estimate_likelihood`, and for no widths.
    """
    if not widths:
        raise ValueError("no widths were given to choose from.")
    for width in widths:
        check_width(width)
    _check(model, x, samples, rows, needs_density=True)
    pilot, few, found = x[:NUM_PILOTS], _fewer(samples), dict.fromkeys(widths, 0.0)
    with _evaluation_mode(model):
        for start in range(0, len(pilot), rows):
            part = pilot[start : start + rows]
            posterior = model.posteriors(part)
            if not _can_be_widened(posterior):
                return 1.0
            for width in widths:
                generator = Generator(x.device).manual_seed(derive_seed(seed, Purpose.PROPOSAL, start))
                draws = _draw(model, part, _proposal(posterior, width), few, generator)
                found[width] += float(draws.log_sum.sum())
    finite = {width: total for width, total in found.items() if math.isfinite(total)}
    return max(finite, key=finite.__getitem__, default=1.0)


def check_width(width: float) -> None:
    """ValueError for a width outside [0.001, 1000]."""
    if not MIN_WIDTH <= width <= MAX_WIDTH:
        raise ValueError(f"width is {width}; it must be a number from {MIN_WIDTH:g} to {MAX_WIDTH:g}.")


def _check(model: AutoEncoder, x: Tensor, samples: int, rows: int, *, needs_density: bool) -> None:
    for name, count in (("samples", samples), ("rows", rows)):
        if count < 1:
            raise ValueError(f"{name} is {count}; it must be 1 or more.")
    if len(x) == 0:
        raise ValueError("no example was given to estimate the likelihood of.")
    if not model.likelihood.is_density:
        raise ValueError(
            f"{type(model.likelihood).__name__} is not a likelihood, so there is no log likelihood to estimate; train "
            "with one of the others."
        )
    if (reason := model.likelihood.check(x)) is not None and needs_density:
        raise ValueError(reason)


def _can_be_widened(posteriors: Any) -> bool:
    parts = (posteriors.vector, posteriors.map) if isinstance(posteriors, Levels) else (posteriors,)
    return all(hasattr(part, "widened") for part in parts)


def _proposal(posteriors: Any, width: float) -> Any:
    if width == 1:
        return posteriors
    if not hasattr(posteriors, "widened"):
        raise NotImplementedError(f"{type(posteriors).__name__} has no method `widened`; use width 1.")
    return posteriors.widened(width)


def _fewer(samples: int) -> int:
    return min(samples, max(20, samples // 10))


@contextlib.contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@dataclass
class _Draws:
    """Sums over draws, each (row,) float64: of log p(x|z), of log p(z) - log q(z), and of their exponentials."""

    num: int
    likelihoods: Tensor
    ratios: Tensor
    log_sum: Tensor
    log_squares: Tensor


def _estimate_rows(
    model: AutoEncoder, x: Tensor, samples: int, rows: int, seed: int, width: float
) -> Iterator[ImportanceEstimate]:
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        generator = Generator(x.device).manual_seed(derive_seed(seed, Purpose.IMPORTANCE, start))
        posterior = model.posteriors(part)
        weighted = of_posterior = _draw(model, part, _proposal(posterior, width), samples, generator)
        if width != 1:
            of_posterior = _draw(model, part, posterior, _fewer(samples), generator)
        reconstruction, kl = (
            -total / of_posterior.num for total in (of_posterior.likelihoods, of_posterior.ratios)
        )
        yield ImportanceEstimate(
            log_likelihood=weighted.log_sum - math.log(samples),
            bound=-reconstruction - kl,
            reconstruction=reconstruction,
            kl=kl,
            effective_samples=(2 * weighted.log_sum - weighted.log_squares).exp(),
        )


def _draw(model: AutoEncoder, x: Tensor, proposal: Any, samples: int, generator: Generator) -> _Draws:
    nothing = torch.zeros(len(x), dtype=torch.float64, device=wide_device(x.device))
    draws = _Draws(samples, nothing, nothing, nothing - math.inf, nothing - math.inf)
    for _ in range(samples):
        decoded, log_ratio = model.weighted_decoding(proposal, generator)
        log_likelihood = wide(model.likelihood.log_prob(x, decoded))
        log_weight = log_likelihood + log_ratio
        draws.likelihoods = draws.likelihoods + log_likelihood
        draws.ratios = draws.ratios + log_ratio
        draws.log_sum = torch.logaddexp(draws.log_sum, log_weight)
        draws.log_squares = torch.logaddexp(draws.log_squares, 2 * log_weight)
    return draws
