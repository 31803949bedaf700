"""Everything about a tracking that does not depend on the sound itself: sizes, costs, and where rows stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from dirvae.ddsp.curve import exact
from dirvae.ddsp.loudness import window_samples
from dirvae.ddsp.pitch.periodicity import LagWindow
from dirvae.ddsp.pitch.preparation import DECIMATION_REACH, decimation
from dirvae.ddsp.rows import count_rows, row_samples

__all__ = ["TrackPlan"]

JUMP_COST, VOICING_COST = 0.6, 0.6
"""Of a jump by an octave and of a change between pitch and none, in rows' worth of n(τ) at 250 rows per second."""

COST_RATE = 250
BLOCK_ROWS = 4096
"""Rows whose samples are prepared at a time, over all sounds of a batch; bounds the memory that is used."""


@dataclass(frozen=True)
class RowBlock:
    """Rows [first_row, end_row) and the kept samples [begin, end) that they depend on."""

    first_row: int
    end_row: int
    begin: int
    end: int


@dataclass(frozen=True)
class TrackPlan:
    """Plain numbers and tensors, so that what follows can be compiled: exact fractions end here.

    step            every how many samples one is kept
    kept_rate       samples kept per second
    middles         (row,) int64: the kept sample nearest to each row
    centres         (row,) int64: the sample nearest to each row
    level_window    samples of the loudness's window
    blocks          stretches that are tracked one after another
    lowest, highest, octave_penalty, quietest_db: as of `track_f0`
    """

    sample_rate: float
    step: int
    kept_rate: float
    lags: LagWindow
    middles: Tensor
    centres: Tensor
    level_window: int
    blocks: tuple[RowBlock, ...]
    lowest: float
    highest: float
    octave_penalty: float
    quietest_db: float
    cost_scale: float

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        sample_rate: Fraction | float,
        rate: Fraction | float,
        *,
        lowest: float,
        highest: float,
        octave_penalty: float,
        quietest_db: float,
    ) -> TrackPlan:
        """The plan for samples of a shape, (batch, time)."""
        step = decimation(sample_rate)
        kept_rate = exact(sample_rate) / step
        lags = LagWindow(math.ceil(kept_rate / exact(lowest)) + 1)
        rows = range(count_rows(shape[1], sample_rate=sample_rate, rate=rate))
        middles = row_samples(rows, sample_rate=kept_rate, rate=rate)
        return cls(
            sample_rate=float(sample_rate),
            step=step,
            kept_rate=float(kept_rate),
            lags=lags,
            middles=middles,
            centres=row_samples(rows, sample_rate=sample_rate, rate=rate),
            level_window=window_samples(sample_rate),
            blocks=_blocks(middles, max(1, BLOCK_ROWS // shape[0]), DECIMATION_REACH + 4 * lags.num_lags),
            lowest=lowest,
            highest=highest,
            octave_penalty=octave_penalty,
            quietest_db=quietest_db,
            cost_scale=float(exact(rate)) / COST_RATE,
        )

    @property
    def middle_octave(self) -> float:
        """log2 of the pitch in the middle of the range, in Hz."""
        return 0.5 * (math.log2(self.lowest) + math.log2(self.highest))

    @property
    def jump_cost(self) -> float:
        """Of an octave, from one row to the next."""
        return JUMP_COST * self.cost_scale

    @property
    def voicing_cost(self) -> float:
        """Of a change between pitch and none."""
        return VOICING_COST * self.cost_scale


def _blocks(middles: Tensor, num: int, margin: int) -> tuple[RowBlock, ...]:
    """Blocks of `num` rows, with `margin` samples beyond their first and last one."""
    blocks = []
    for first in range(0, len(middles), num):
        end = min(first + num, len(middles))
        begin = max(0, int(middles[first]) - margin)
        blocks.append(RowBlock(first, end, begin, int(middles[end - 1]) + margin + 1))
    return tuple(blocks)
