"""Kumaraswamy distributions as pure functions, numerically safe for parameters from 1e-3 to 1e4.

v = (1 - u^(1/b))^(1/a) on (0, 1), density a b v^(a - 1) (1 - v^a)^(b - 1): w = v^a is Beta(1, b). A value is handled as
the pair (log v, log(1 - v)), of which the smaller one holds what the other has lost. Everything is elementwise and
in float64.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dirvae.float64 import wide, wide_exponential

__all__ = [
    "beta_log_prob",
    "kumaraswamy_kl_from_beta",
    "kumaraswamy_log_prob",
    "log_complement",
    "log_kumaraswamy_moment",
    "log_kumaraswamy_rsample",
]

EULER_GAMMA = 0.57721566490153286
NUM_NODES = 64
NODES_AT_A_TIME = 8
NEGLIGIBLE_NATS = 20.0
FAR_TAIL_NATS = 40.0


def log_complement(log_p: Tensor) -> Tensor:
    """log(1 - p) from log p ≤ 0, without cancellation at either end (Mächler 2012); finite at log p = 0."""
    surprise = (-log_p).clamp(min=torch.finfo(log_p.dtype).tiny)
    is_near_one = surprise < math.log(2)
    near_one = torch.log(-torch.expm1(-torch.where(is_near_one, surprise, 1.0)))
    elsewhere = torch.log1p(-torch.exp(-torch.where(is_near_one, 1.0, surprise)))
    return torch.where(is_near_one, near_one, elsewhere)


def log_kumaraswamy_rsample(a: Tensor, b: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
    """One differentiable draw v as (log v, log(1 - v)): by the inverse CDF, log u = -E with E ~ Exp(1)."""
    noise = wide_exponential(b, generator)
    a, b = wide(a), wide(b)
    surprise = noise / b  # 1 - v^a = exp(-surprise)
    log_v = log_complement(-surprise) / a
    is_tail = surprise > FAR_TAIL_NATS  # v = 1 - exp(-surprise)/a is 1 in float64
    log_rest = log_complement(torch.where(is_tail, -1.0, log_v))
    return log_v, torch.where(is_tail, -surprise - a.log(), log_rest)


def kumaraswamy_log_prob(log_v: Tensor, log_rest: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Log density in nats at v, given as log v and log(1 - v)."""
    is_tail = log_rest < -FAR_TAIL_NATS
    log_rest_of_power = torch.where(
        is_tail, log_rest + a.log(), log_complement(a * torch.where(is_tail, -1.0, log_v))
    )
    return a.log() + b.log() + (a - 1) * log_v + (b - 1) * log_rest_of_power


def beta_log_prob(log_v: Tensor, log_rest: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Log density of Beta(a, b) in nats at v, given as log v and log(1 - v)."""
    return (a - 1) * log_v + (b - 1) * log_rest - _log_beta(a, b)


def log_kumaraswamy_moment(a: Tensor, b: Tensor, order: float = 1) -> Tensor:
    """log E[v^order] = log b + log B(1 + order/a, b)."""
    return b.log() + _log_beta(1 + order / a, b)


def kumaraswamy_kl_from_beta(a: Tensor, b: Tensor, prior_a: Tensor, prior_b: Tensor) -> Tensor:
    """KL(Kumaraswamy(a, b) ‖ Beta(prior_a, prior_b)) in nats.

    Closed but for E log(1 - v), which Nalisnick and Smyth (2017, arXiv 1605.06197) expand as -Σ_m b/(m + a b) B(m/a, b)
    and cut off after a few terms. The terms fall like m^(-1 - b) from m ≈ a on, so that what is cut off can be most
    of it, and the cut sum is below the divergence: no bound comes of it. Here the sum is an integral, exact to about
    3e-7.
    """
    mean_log_v = -(EULER_GAMMA + torch.digamma(b) + 1 / b) / a
    entropy_part = a.log() + b.log() - (b - 1) / b
    mean_log_rest: Tensor = _MeanLogRest.apply(a, b)  # type: ignore[no-untyped-call]
    return entropy_part + (a - prior_a) * mean_log_v - (prior_b - 1) * mean_log_rest + _log_beta(prior_a, prior_b)


def _mean_log_rest_and_slopes(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """E log(1 - v) and its derivatives by a and by b: each of their shape.

    It is -1/b - log a - E[r(w) - log a], r(w) = log (1 - w)/(1 - w^(1/a)), w ~ Beta(1, b), and r rises from 0 at
    w = 0 to log a at w = 1. In s = logit w the last expectation is over a smooth integrand that dies like e^s on the
    left and e^-s, or (1 - w)^b, on the right: the trapezium rule converges exponentially.
    """
    log_a = a.log()
    left = -torch.log1p(b) - NEGLIGIBLE_NATS
    slow = (-log_a).clamp(min=0) + NEGLIGIBLE_NATS
    right = torch.minimum(slow, torch.special.expm1((NEGLIGIBLE_NATS + 16) / b).log())
    step = (right - left) / (NUM_NODES - 1)
    total, by_a, by_b = torch.zeros_like(a), torch.zeros_like(a), torch.zeros_like(a)
    for start in range(0, NUM_NODES, NODES_AT_A_TIME):  # few enough to stay in the processor's cache
        count = torch.arange(start, start + NODES_AT_A_TIME, dtype=a.dtype, device=a.device)
        nodes = left + step * count.view(-1, *(1,) * a.dim())
        log_w = -F.softplus(-nodes)
        log_rest_of_w = log_w - nodes
        below = torch.expm1(log_w / a)  # w^(1/a) - 1
        excess = log_rest_of_w - torch.log(-below) - log_a
        weight = torch.exp(log_w + b * log_rest_of_w)
        total = total + (weight * excess).sum(0)
        by_a = by_a + (weight * (log_w / a * (1 + below) / below - 1)).sum(0)
        by_b = by_b + (weight * excess * log_rest_of_w).sum(0)
    mean = -1 / b - log_a - b * step * total
    return mean, -(1 + b * step * by_a) / a, 1 / b.square() - step * (total + b * by_b)


class _MeanLogRest(torch.autograd.Function):
    """E log(1 - v): the derivatives come with the value, at a third of the time of autograd's way back."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        mean, by_a, by_b = _mean_log_rest_and_slopes(a, b)
        ctx.save_for_backward(by_a, by_b)
        return mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        by_a, by_b = ctx.saved_tensors
        return gradients[0] * by_a, gradients[0] * by_b


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
