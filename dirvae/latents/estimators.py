"""Differentiable draws of log Gamma(concentration, 1), from which a Dirichlet sample is made by a softmax.

An estimator is a pure function (concentration, generator) → log of a gamma draw, elementwise, same shape.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

__all__ = ["ESTIMATORS", "Estimator", "exact_log_gamma", "find_estimator", "paper_log_gamma"]

Estimator = Callable[[Tensor, Generator | None], Tensor]


def exact_log_gamma(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Log of Gamma(concentration, 1) draws, exact in distribution and in its gradient at every concentration.

    Any shape, concentration > 0. Gamma(a) has the law of Gamma(a + 1) · U^(1/a) (Marsaglia and Tsang 2000);
    in logs the second factor is -E/a with E ~ Exp(1), which cannot underflow. The gradient is implicit for
    the first factor (Figurnov et al. 2018, arXiv 1805.08498) and explicit for the second.
    """
    boosted = torch._standard_gamma(concentration + 1, generator=generator)
    exponential = torch.empty_like(concentration).exponential_(generator=generator)
    return boosted.log() - exponential / concentration


def paper_log_gamma(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Log of the inverse-CDF approximation to Gamma(concentration, 1), as in the Dirichlet VAE paper.

    Any shape, concentration > 0. x = (u a Γ(a))^(1/a) with u uniform (Joo et al. 2019, arXiv 1901.02739,
    section 3.2), in logs (lgamma(a + 1) - E) / a. Close only for a well below 1: at a = 1 it gives U(0, 1)
    where Exp(1) is due, and its relative variance is 1/(a (a + 2)) where 1/a is due.
    """
    exponential = torch.empty_like(concentration).exponential_(generator=generator)
    return (torch.lgamma(concentration + 1) - exponential) / concentration


ESTIMATORS: dict[str, Estimator] = {"exact": exact_log_gamma, "paper": paper_log_gamma}


def find_estimator(estimator: str | Estimator) -> Estimator:
    """The estimator of that name, or the function itself; ValueError for a name that is not known."""
    if not isinstance(estimator, str):
        return estimator
    if estimator not in ESTIMATORS:
        raise ValueError(f"no estimator is called {estimator!r}; use one of {', '.join(sorted(ESTIMATORS))}.")
    return ESTIMATORS[estimator]
