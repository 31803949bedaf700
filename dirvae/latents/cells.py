"""Axes of latents: components lie on axis 1, the cells of a grid on the axes after it."""

from __future__ import annotations

from torch import Tensor

__all__ = ["along_components", "sum_over_cells"]


def sum_over_cells(cells: Tensor) -> Tensor:
    """One number a cell to one an example: (batch, *grid) → (batch,)."""
    return cells.sum(tuple(range(1, cells.dim()))) if cells.dim() > 1 else cells


def along_components(vector: Tensor, like: Tensor) -> Tensor:
    """A number a component, ready to meet `like` (batch, K, *grid): (K,) → (1, K, 1, …)."""
    return vector.view(1, -1, *(1,) * (like.dim() - 2))
