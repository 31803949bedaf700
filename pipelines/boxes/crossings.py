"""Masks as the rows at which their sampled columns change between outside and inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .sampling import Samples

__all__ = ["Crossings", "fill_crossings", "join_crossings"]

Ints = NDArray[np.int64]

_AT_ONCE = 1 << 16
"""The number of pixels that are set at once."""


@dataclass(frozen=True, eq=False)
class Crossings:
    """Where parts (rings of polygons, or whole run lengths) change between outside and inside, down their columns.

    A column starts outside, and every crossing changes the pixels from its row on. Each column of a part has an even
    number of them. All arrays are (crossings,) int64.

    part    which part
    column  position among the sampled columns of all pictures
    row     the first source row that is changed, 0 to the height
    """

    part: Ints
    column: Ints
    row: Ints


def fill_crossings(
    crossings: Crossings, owners: Ints, pictures: Ints, samples: Samples, output: NDArray[np.bool_]
) -> None:
    """Set the pixels inside: each mask is the union of the parts that it owns.

    owners: (parts,) index of the mask in `output` · pictures: (parts,) index of the picture in `samples` ·
    output: (masks, height, width) bool, contiguous, changed in place.
    """
    if not len(crossings.part) or not output.size:
        return
    picture = pictures[crossings.part]
    start = samples.row_counts[samples.row_begins[picture] + crossings.row]
    num_columns, num_starts = len(samples.columns), samples.most_rows + 1
    order = (crossings.part * num_columns + crossings.column) * num_starts + start
    order.sort()
    lengths = order[1::2] - order[::2]
    some = lengths > 0
    cell = order[::2][some]
    start, cell = cell % num_starts, cell // num_starts
    column, part = cell % num_columns, cell // num_columns
    lengths, steps = lengths[some], samples.row_steps[pictures[part]]
    first = owners[part] * (output.shape[1] * output.shape[2]) + samples.places[column] + start * steps
    flat = output.reshape(-1)
    for step in {*samples.row_steps.tolist()}:
        chosen = steps == step if len(samples.row_steps) > 1 else slice(None)
        _set_spans(flat, first[chosen], lengths[chosen], step)


def _set_spans(flat: NDArray[np.bool_], first: Ints, lengths: Ints, step: int) -> None:
    """Set `lengths` places from each `first` on, `step` apart."""
    ends = lengths.cumsum()
    begin = done = 0
    while begin < len(ends):
        stop = max(begin + 1, int(np.searchsorted(ends, done + _AT_ONCE, side="right")))
        length = lengths[begin:stop]
        places = (first[begin:stop] - step * (ends[begin:stop] - length - done)).repeat(length)
        places += np.arange(0, len(places) * step, step)
        flat[places] = True
        begin, done = stop, int(ends[stop - 1])


def join_crossings(pieces: Sequence[Crossings], height: int) -> Crossings:
    """The crossings of one part that came in pieces, without pairs that cancel each other."""
    column = np.concatenate([piece.column for piece in pieces])
    row = np.concatenate([piece.row for piece in pieces])
    places, counts = np.unique(column * (height + 1) + row, return_counts=True)
    places = places[counts % 2 == 1]
    part = max((int(piece.part[0]) for piece in pieces if len(piece.part)), default=0)
    return Crossings(np.full(len(places), part), places // (height + 1), places % (height + 1))
