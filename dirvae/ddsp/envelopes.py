"""From the rows of a curve to one value per sample, by time.

The value before the first row is that of the first row, the value behind the last row that of the last one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dirvae.ddsp.block import Block, RowPositions
from dirvae.ddsp.curve import Curve
from dirvae.float64 import narrow, wide_device

__all__ = ["hann_rise", "hann_rises", "upsample_hann", "upsample_linear"]


def hann_rise(fractions: Tensor) -> Tensor:
    """The rising half of a Hann window, sin²(π x / 2): same shape and dtype, 0 at 0 and 1 at 1."""
    return 0.5 - 0.5 * torch.cos(torch.pi * fractions)


def hann_rises(positions: RowPositions, device: torch.device | None = None) -> Tensor:
    """`hann_rise` of every sample's fraction: (time,) float64."""
    return positions.repeated(hann_rise(positions.fractions_of_period(device)))


def upsample_hann(curve: Curve, block: Block) -> Tensor:
    """The curve at every sample by overlapping Hann windows of two hops: (batch, time[, channel]), dtype of values.

    Window k stands on the moment of row k and falls to 0 at its two neighbours, so that all windows add up to 1
    (Engel et al. 2020, arXiv 2001.04643; here the hop is exact).
    """
    positions = block.rows_of(curve)
    return _between_rows(curve, positions, hann_rises(positions, wide_device(curve.values.device)))


def upsample_linear(curve: Curve, block: Block) -> Tensor:
    """The curve at every sample by straight lines between its rows: (batch, time[, channel]), dtype of values."""
    positions = block.rows_of(curve)
    return _between_rows(curve, positions, positions.fractions(wide_device(curve.values.device)))


def _between_rows(curve: Curve, positions: RowPositions, weights: Tensor) -> Tensor:
    """Each sample's row and the next one, the next one by its weight (time,)."""
    values = curve.values
    rows = positions.segments(values.device) + positions.first_row
    if values.ndim == 3:
        weights = weights[:, None]
    return torch.lerp(_rows(values, rows), _rows(values, rows + 1), narrow(weights, values))


def _rows(values: Tensor, rows: Tensor) -> Tensor:
    """`values[:, rows]`, rows outside being the nearest one; its gradient is several times as fast."""
    rows = rows.clamp(0, values.shape[1] - 1)
    shape = (values.shape[0], rows.shape[0], *values.shape[2:])
    return values.gather(1, rows.view(1, -1, *(1,) * (values.ndim - 2)).expand(shape))
