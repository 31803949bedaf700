"""Differentiable draws of log gammas, from which a Dirichlet sample is made by a softmax.

An estimator is a pure function (concentration, generator) → logits, both (batch, K, *grid): the softmax of the logits
over axis 1 is the draw. docs/latents.md has the bias and the variance of each one's gradient, measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from dirvae import noise
from dirvae.float64 import narrow, wide, wide_exponential

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "exact_log_gamma",
    "find_estimator",
    "laplace_logits",
    "paper_log_gamma",
    "rsvi_log_gamma",
    "weibull_log_gamma",
]

Estimator = Callable[[Tensor, Generator | None], Tensor]

EULER_GAMMA = 0.57721566490153286
NEWTON_STEPS = 6


def exact_log_gamma(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Log of Gamma(concentration, 1) draws, exact in distribution and in its gradient at every concentration.

    Any shape, concentration > 0. Gamma(a) has the law of Gamma(a + 1) · U^(1/a) (Marsaglia and Tsang 2000);
    in logs the second factor is -E/a with E ~ Exp(1), which cannot underflow. The gradient is implicit for
    the first factor (Figurnov et al. 2018, arXiv 1805.08498) and explicit for the second.
    """
    boosted = noise.standard_gamma(concentration + 1, generator)
    return boosted.log() - noise.exponential(concentration, generator) / concentration


def paper_log_gamma(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Log of the inverse-CDF approximation to Gamma(concentration, 1), as in the Dirichlet VAE paper.

    Any shape, concentration > 0. x = (u a Γ(a))^(1/a) with u uniform (Joo et al. 2019, arXiv 1901.02739,
    section 3.2), in logs (lgamma(a + 1) - E) / a. Close only for a well below 1: at a = 1 it gives U(0, 1)
    where Exp(1) is due. Its mean is Γ(a + 1)^(1/a) · a/(a + 1), about half the true one for a ≤ 1, and its
    squared relative deviation is 1/(a (a + 2)) where 1/a is due.
    """
    return (torch.lgamma(concentration + 1) - noise.exponential(concentration, generator)) / concentration


def rsvi_log_gamma(
    concentration: Tensor, generator: Generator | None = None, *, shape_augmentation: int = 10
) -> Tensor:
    """Log of Gamma(concentration, 1) draws, exact in distribution, differentiated through the rejection sampler.

    Any shape, concentration > 0. Gamma(a) has the law of Gamma(a + B) · Π_{i<B} U_i^(1/(a + i)), and an accepted
    draw of Marsaglia and Tsang's sampler is h(ε, c) = (c - 1/3) (1 + ε/√(9c - 3))³, c = a + B (Naesseth et al.
    2017, arXiv 1610.05683). The gradient is the reparameterised part, g_rep, through h and the
    U_i at fixed ε. The other part, g_cor, needs the value of the objective and is left out, as is usual: the law of
    the accepted ε still moves a little with c. What that costs shrinks as B = `shape_augmentation` grows.
    """
    c = concentration + shape_augmentation
    with torch.no_grad():
        accepted = noise.standard_gamma(c.detach(), generator)
        normals = (9 * c - 3).sqrt() * ((accepted / (c - 1 / 3)).pow(1 / 3) - 1)
    log_gamma = (c - 1 / 3).log() + 3 * torch.log1p(normals / (9 * c - 3).sqrt())
    for i in range(shape_augmentation):
        log_gamma = log_gamma - noise.exponential(concentration, generator) / (concentration + i)
    return log_gamma


def weibull_log_gamma(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Log of draws from the Weibull law nearest to Gamma(concentration, 1): an explicit inverse CDF.

    Any shape, concentration > 0. x = λ E^s with E ~ Exp(1), where s = 1/k and λ minimise KL(Weibull(k, λ) ‖
    Gamma(a, 1)) = γ a s - a log λ - log s + λ Γ(1 + s) + log Γ(a) + constants (Zhang et al. 2018, WHAI, arXiv
    1803.01328). The minimum keeps the gamma's mean, λ = a/Γ(1 + s), and has a s (ψ(1 + s) + γ) = 1.
    Exact at a = 1, close above, too narrow in its logarithm far below.
    """
    a = wide(concentration)
    power = _weibull_power(a)
    log_scale = a.log() - torch.lgamma(1 + power)
    return narrow(log_scale + power * wide_exponential(concentration, generator).log(), concentration)


def _weibull_power(a: Tensor) -> Tensor:
    """The s > 0 with a s (ψ(1 + s) + γ) = 1, by Newton's method in logs; differentiable once."""
    with torch.no_grad():
        log_a = a.log()
        log_s = torch.where(
            a < 0.3, -log_a - (1 - log_a).clamp(min=1).log(), 0.5 * (math.log(6 / math.pi**2) - log_a)
        )
        for _ in range(NEWTON_STEPS):
            s = log_s.exp()
            harmonic = torch.digamma(1 + s) + EULER_GAMMA
            steepness = 1 + s * torch.polygamma(1, 1 + s) / harmonic
            log_s = log_s - (log_a + log_s + harmonic.log()) / steepness
    return (log_s - (a.log() - log_a) / steepness).exp()  # the root's value, and its slope in log a


def laplace_logits(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Gaussian logits whose softmax approximates a Dirichlet draw, as in ProdLDA.

    Any shape, concentration > 0. The Laplace approximation of the Dirichlet in the softmax basis (MacKay 1998;
    Srivastava and Sutton 2017, arXiv 1703.01488, section 3.2) has logits of mean log a and covariance diag(1/a), both
    centred over the components. The softmax does not see the centring, so independent logits are the whole of it.
    ProdLDA keeps the centred covariance's diagonal alone and is too narrow by 1 - 1/K. Good for large
    concentrations; below 1 the true logits spread like 1/a, these like 1/√a.
    """
    return concentration.log() + noise.normal(concentration, generator) * concentration.rsqrt()


ESTIMATORS: dict[str, Estimator] = {
    "exact": exact_log_gamma,
    "laplace": laplace_logits,
    "paper": paper_log_gamma,
    "rsvi": rsvi_log_gamma,
    "weibull": weibull_log_gamma,
}


def find_estimator(estimator: str | Estimator) -> Estimator:
    """The estimator of that name, or the function itself; ValueError for a name that is not known."""
    if not isinstance(estimator, str):
        return estimator
    if estimator not in ESTIMATORS:
        raise ValueError(f"no estimator is called {estimator!r}; use one of {', '.join(sorted(ESTIMATORS))}.")
    return ESTIMATORS[estimator]
