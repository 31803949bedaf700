"""The likelihood of a run's model, with sentences about what its numbers are worth."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.evaluate.importance import choose_width, estimate_likelihood
from dirvae.losses import BernoulliLikelihood
from dirvae.tasks import Task
from dirvae.training.logging import finite_or_none

__all__ = ["chunk_rows", "measure_likelihood"]

FEW_EFFECTIVE = 2.0
LARGEST_CHUNK = 1 << 22
"""Values of data decoded at a time; a network needs a few tens of times as much memory."""


def measure_likelihood(
    model: AutoEncoder, x: Tensor, task: Task, *, samples: int, width: float | None, seed: int
) -> tuple[dict[str, Any] | None, list[str]]:
    """The numbers of the likelihood, and notes about them; of coins over greys the cross entropy, not a likelihood.

    None for a model whose reconstruction term is no log likelihood at all. The numbers are those of `EvaluateConfig`.
    """
    if getattr(model, "likelihood", None) is None:
        return None, ["no likelihood: the spectral loss that the run was trained with is not one"]
    if not model.likelihood.is_density:
        return None, []
    x, rows = x.to(next(model.parameters()).device), chunk_rows(x)
    try:
        reason = model.likelihood.check(x)
    except ValueError as error:
        return None, [f"no likelihood: {str(error).rstrip('.')}"]
    are_greys = reason is not None and isinstance(model.likelihood, BernoulliLikelihood)
    if reason is not None and not are_greys:
        return None, [f"no likelihood: {reason.rstrip('.')}"]
    if are_greys:
        width = 1.0
    elif width is None:
        width = choose_width(model, x, samples=samples, rows=rows, seed=seed)
    estimate = estimate_likelihood(
        model, x, samples=samples, rows=rows, seed=seed, width=width, needs_density=not are_greys
    )
    means = finite_or_none(estimate.means())
    notes = ["numbers of the likelihood that are not finite are left out"] if None in means.values() else []
    counts = {"samples": samples, "values": x[0].numel()}
    if are_greys:
        notes.append(
            f"the {task.examples} hold other values than zeros and ones: bernoulli gives a cross entropy of greys, "
            "which is not a likelihood"
        )
        return {"cross_entropy_of_greys": means["reconstruction"], "kl": means["kl"], **counts}, notes
    effective = means["effective_samples"]
    if effective is not None and effective < min(FEW_EFFECTIVE, samples / 4):
        notes.append(
            f"of {samples:,} draws hardly more than one counts (see effective samples), so the NLL is an upper "
            "bound that may be many nats too high; more samples lower it"
        )
    return {**means, "proposal_width": width, **counts}, notes


def chunk_rows(x: Tensor) -> int:
    """How many examples of (num, *dims) are given to a model at a time."""
    return max(1, min(500, LARGEST_CHUNK // x[0].numel()))
