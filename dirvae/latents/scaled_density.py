"""Scaled Dirichlet distributions as pure functions: z = x / Σx with x_k ~ Gamma(a_k, b_k), a rate a component.

A rate common to all components cancels; the laws here depend on the ratios of the rates alone, and are those of a
Dirichlet where the rates are equal. Components lie on axis 1, grid axes after it; everything is computed in float64.

What has no closed form is an integral over one variable, whatever K is. With y_k ~ Gamma(a_k, 1), w = y/Σy and the
rates' geometric mean Π b_k^(a_k/Σa) scaled to 1,

    E log Σ_k w_k / b_k = ∫ [(1 + t)^(-Σa) - Π_k (1 + t/b_k)^(-a_k)] dt/t     (Laplace transforms of Σy and of Σx)

and likewise for E z_k. In s = log t the integrand is smooth and dies exponentially on both sides, where the
trapezium rule converges exponentially fast.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.float64 import narrow, wide
from dirvae.latents.cells import sum_over_cells
from dirvae.latents.dirichlet_density import dirichlet_kl, log_power, multigamma_kl

__all__ = [
    "scaled_dirichlet_jensen_kl",
    "scaled_dirichlet_kl",
    "scaled_dirichlet_log_prob",
    "scaled_dirichlet_mean",
    "scaled_multigamma_kl",
]

ENOUGH_FOR_KL, ENOUGH_FOR_MEAN = (64, 20.0), (96, 24.0)
"""Nodes, and nats by which an integrand has died at the outer ones: for errors of 1e-9, also of means near zero."""


def scaled_dirichlet_log_prob(log_z: Tensor, concentration: Tensor, log_rate: Tensor) -> Tensor:
    """Log density in nats at z = exp(log_z), grid axes summed: (batch,), in the dtype of `log_z`.

    Γ(Σa)/ΠΓ(a_k) · Π b_k^(a_k) z_k^(a_k - 1) / (Σ b_k z_k)^(Σa), with respect to the first K - 1 components
    (Monti, Mateu-Figueras and Pawlowsky-Glahn 2011, "Notes on the scaled Dirichlet distribution"): the joint
    density of the gammas with their total integrated out.
    """
    a, log_b, log_share = wide(concentration), wide(log_rate), wide(log_z)
    total = a.sum(1)
    cells = torch.lgamma(total) + (a * log_b - torch.lgamma(a)).sum(1) + log_power(log_share, a - 1)
    return narrow(sum_over_cells(cells - total * torch.logsumexp(log_b + log_share, dim=1)), log_z)


def scaled_dirichlet_kl(concentration: Tensor, log_rate: Tensor, prior_concentration: Tensor) -> Tensor:
    """KL(ScaledDir(a, b) ‖ Dir(prior)) in nats, grid axes summed: (batch,), in the dtype of `concentration`.

    KL(Dir(a) ‖ Dir(prior)) + Σ prior_k log b_k + Σprior · E log Σ w_k/b_k, w ~ Dir(a): exact, by quadrature.
    Takes memory for 64 float64 numbers a concentration.
    """
    a = wide(concentration)
    log_b = _centred(a, wide(log_rate))
    excess = _integral(_transform_gap(a, log_b))
    return narrow(_kl(a, log_b, prior_concentration, excess), concentration)


def scaled_dirichlet_jensen_kl(concentration: Tensor, log_rate: Tensor, prior_concentration: Tensor) -> Tensor:
    """An upper bound of `scaled_dirichlet_kl` in closed form: E log Σ w_k/b_k ≤ log Σ E[w_k]/b_k (Jensen).

    Tight where the rates are equal; otherwise looser by about Σprior/(2 (Σa + 1)) times the squared relative spread
    of 1/b, which is little for a sharp posterior.
    """
    a = wide(concentration)
    log_b = _centred(a, wide(log_rate))
    return narrow(_kl(a, log_b, prior_concentration, _log_mean_scale(a, log_b)), concentration)


def scaled_multigamma_kl(concentration: Tensor, log_rate: Tensor, prior_concentration: Tensor) -> Tensor:
    """Σ_k KL(Gamma(a_k, b_k) ‖ Gamma(prior_k, c)) in nats at the best common rate c = Σprior / Σ(a_k/b_k).

    The multi-gamma form. An upper bound of `scaled_dirichlet_kl` too, since normalising loses the total; looser
    than `scaled_dirichlet_jensen_kl` by KL(Gamma(Σa, 1) ‖ Gamma(Σprior, Σprior/Σa)).
    """
    a = wide(concentration)
    log_b = _centred(a, wide(log_rate))
    prior = wide(prior_concentration).expand_as(a)
    total, prior_total = a.sum(1), prior.sum(1)
    of_rates = (prior * log_b).sum(1) + prior_total * (_log_mean_scale(a, log_b) + (total / prior_total).log())
    cells = sum_over_cells(of_rates + prior_total - total) + multigamma_kl(a, prior)
    return narrow(cells, concentration)


def scaled_dirichlet_mean(concentration: Tensor, log_rate: Tensor) -> Tensor:
    """E[z_k], by quadrature: (batch, K, *grid), sums to 1 over axis 1, in the dtype of `concentration`.

    E[x_k/Σx] = ∫ E[x_k exp(-t Σx)] dt = a_k ∫ σ(s - log b_k) Π_j (1 + e^s/b_j)^(-a_j) ds.
    """
    a = wide(concentration)
    log_b = _centred(a, wide(log_rate))
    nodes, step = _nodes(a, log_b, *ENOUGH_FOR_MEAN)
    ours, reference = _transforms(a, log_b, nodes)
    density = torch.sigmoid(nodes - log_b.unsqueeze(-1)) * ours - torch.sigmoid(nodes) * reference
    share = a * (1 / a.sum(1, keepdim=True) + (density * step).sum(-1))
    share = share.clamp(min=0)
    return narrow(share / share.sum(1, keepdim=True), concentration)


def _kl(a: Tensor, log_b: Tensor, prior_concentration: Tensor, expected_log_scale: Tensor) -> Tensor:
    prior = wide(prior_concentration).expand_as(a)
    cells = (prior * log_b).sum(1) + prior.sum(1) * expected_log_scale
    return dirichlet_kl(a, prior) + sum_over_cells(cells)


def _centred(a: Tensor, log_b: Tensor) -> Tensor:
    """The same law with Σ a_k log b_k = 0: both Laplace transforms then agree in their far tails."""
    return log_b - (a * log_b).sum(1, keepdim=True) / a.sum(1, keepdim=True)


def _log_mean_scale(a: Tensor, log_b: Tensor) -> Tensor:
    """log Σ E[w_k]/b_k: (batch, *grid)."""
    return torch.logsumexp(a.log() - log_b, dim=1) - a.sum(1).log()


def _transform_gap(a: Tensor, log_b: Tensor) -> tuple[Tensor, Tensor]:
    nodes, step = _nodes(a, log_b, *ENOUGH_FOR_KL)
    ours, reference = _transforms(a, log_b, nodes)
    return reference - ours, step


def _integral(integrand: tuple[Tensor, Tensor]) -> Tensor:
    values, step = integrand
    return (values * step).sum(-1).squeeze(1)


def _transforms(a: Tensor, log_b: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor]:
    """Laplace transforms of Σ y_k/b_k and of Σ y_k at exp(nodes): each (batch, 1, *grid, node)."""
    exponent = torch.einsum("bk...,bk...n->b...n", a, F.softplus(nodes - log_b.unsqueeze(-1))).unsqueeze(1)
    return (-exponent).exp(), (-a.sum(1, keepdim=True).unsqueeze(-1) * F.softplus(nodes)).exp()


@torch.no_grad()
def _nodes(a: Tensor, log_b: Tensor, num: int, nats: float) -> tuple[Tensor, Tensor]:
    """Where the trapezium rule looks, (batch, 1, *grid, node), and its step: all but e^-nats of the integrands.

    On the left they die like Σa · exp(s - min log b), on the right like exp(-(Σa + 1)(s - max log b)), and in any
    case below (1 + e^s)^(-Σa), for the exponent is convex in log b.
    """
    total = a.sum(1, keepdim=True)
    left = log_b.amin(1, keepdim=True).clamp(max=0) - torch.log1p(total) - nats
    slow = log_b.amax(1, keepdim=True).clamp(min=0) + nats / (1 + total)
    right = torch.minimum(slow, torch.special.expm1((nats + 12) / total).log())
    step = (right - left) / (num - 1)
    count = torch.arange(num, dtype=a.dtype, device=a.device)
    return left.unsqueeze(-1) + step.unsqueeze(-1) * count, step.unsqueeze(-1)
