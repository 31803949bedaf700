"""What a pitch tracker is, whichever one it is."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from torch import Tensor

from dirvae.ddsp.curve import Curve

__all__ = ["CONFIDENT", "Pitch", "Tracker"]

CONFIDENT = 0.5
"""The confidence from which a row counts as pitched."""


@dataclass(frozen=True)
class Pitch:
    """What a tracker finds: `f0` in Hz and `confidence` in [0, 1], both curves (batch, row) float32.

    f0 is above 0 in every row: where there is no pitch it leads from the last one to the next one, evenly in
    octaves. Rows count as pitched from a confidence of 0.5 on.
    """

    f0: Curve
    confidence: Curve


class Tracker(Protocol):
    """Any function like `track_f0`: another one, of one's own too, can take its place wherever a tracker is wanted."""

    def __call__(self, samples: Tensor, sample_rate: Fraction | float, *, rate: Fraction | float = 250) -> Pitch:
        """The pitch of (batch, time) samples; row k at k / rate seconds, a row for each control period begun."""
