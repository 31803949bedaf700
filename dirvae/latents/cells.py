"""Axes of latents: components lie on axis 1, the cells of a grid on the axes after it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["along_components", "limit_at_zero", "sum_over_cells"]


def sum_over_cells(cells: Tensor) -> Tensor:
    """One number a cell to one an example: (batch, *grid) → (batch,)."""
    return cells.sum(tuple(range(1, cells.dim()))) if cells.dim() > 1 else cells


def along_components(vector: Tensor, like: Tensor) -> Tensor:
    """A number a component, ready to meet `like` (batch, K, *grid): (K,) → (1, K, 1, …)."""
    return vector.view(1, -1, *(1,) * (like.dim() - 2))


def limit_at_zero(order: Tensor) -> Tensor:
    """Log of ε^order as ε falls to 0, elementwise: -inf for an order above 0, +inf for one below, 0 for 0.

    What shares of exactly 0 make of a log density: its limit as all of them fall to 0 together, never inf - inf.
    """
    return torch.where(order > 0, -math.inf, torch.where(order < 0, math.inf, 0.0))
