"""Masks as the places where their columns change between outside and inside, on a sample of the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Crossings", "fill_crossings", "join_crossings"]


@dataclass(frozen=True, eq=False)
class Crossings:
    """Where parts (rings of polygons, or whole run lengths) change between outside and inside, down their columns.

    A column starts outside, and every crossing changes the pixels from its row on. All arrays are (crossings,) int64.

    part    ascending: which part
    column  position among the sampled columns
    row     the first source row that is changed, 0 to the height
    """

    part: NDArray[np.int64]
    column: NDArray[np.int64]
    row: NDArray[np.int64]


def fill_crossings(
    crossings: Crossings, owners: NDArray[np.int64], rows: NDArray[np.int64], target: NDArray[np.bool_]
) -> None:
    """Set what is inside: target[owner of the part, row, column], the union of an owner's parts.

    owners: (parts,) index of the mask in `target` · rows: (sampled rows,) int64 ascending source rows ·
    target: (masks, sampled rows, sampled columns) bool, changed in place. Only the box of each part is touched.
    """
    if not len(crossings.part) or not target.size:
        return
    starts = np.searchsorted(rows, crossings.row)
    begins = np.flatnonzero(np.diff(crossings.part, prepend=-1))
    boxes = zip(
        owners[crossings.part[begins]].tolist(),
        begins.tolist(),
        [*begins[1:].tolist(), len(starts)],
        np.minimum.reduceat(starts, begins).tolist(),
        np.maximum.reduceat(starts, begins).tolist(),
        np.minimum.reduceat(crossings.column, begins).tolist(),
        (np.maximum.reduceat(crossings.column, begins) + 1).tolist(),
        strict=True,
    )
    for owner, begin, end, top, bottom, left, right in boxes:
        if top == bottom:
            continue
        width = right - left
        changes = np.zeros((bottom - top + 1) * width, np.uint8)
        cells = (starts[begin:end] - top) * width + (crossings.column[begin:end] - left)
        np.add.at(changes, cells, 1)  # wraps at 256, which keeps what is even even
        inside = changes[: (bottom - top) * width].reshape(-1, width) & 1
        np.bitwise_xor.accumulate(inside, axis=0, out=inside)
        target[owner, top:bottom, left:right] |= inside.view(np.bool_)


def join_crossings(pieces: Sequence[Crossings], height: int) -> Crossings:
    """The crossings of one part of which some are in each piece, without those that undo one another."""
    column = np.concatenate([piece.column for piece in pieces])
    row = np.concatenate([piece.row for piece in pieces])
    places, counts = np.unique(column * (height + 1) + row, return_counts=True)
    places = places[counts % 2 == 1]
    part = max((int(piece.part[0]) for piece in pieces if len(piece.part)), default=0)
    return Crossings(np.full(len(places), part), places // (height + 1), places % (height + 1))
