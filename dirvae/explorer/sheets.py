"""The cells of a sheet as media: latents decoded row by row, each with its row's context, or examples of the set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dirvae.drawing.media import Media
    from dirvae.explore.sheet import Sheet

__all__ = ["joined", "sheet_media"]

DECODED_AT_ONCE = 32


def sheet_media(run: Any, sheet: Sheet) -> Media:
    """All cells, row by row; an empty cell is black, or silent."""
    if sheet.latents is not None:
        parts = []
        for row in range(sheet.rows):
            context = sheet.contexts[row] if sheet.contexts else None
            latents = sheet.latents[row * sheet.columns : (row + 1) * sheet.columns]
            parts += [run.decode(some, context) for some in latents.split(DECODED_AT_ONCE)]
        return joined(parts)
    assert sheet.examples is not None
    numbers = [int(one) for one in sheet.examples]
    found = {one: run.original(one) for one in sorted(set(numbers)) if one >= 0}
    any_one = next(iter(found.values()))
    return joined([found.get(one, _empty(any_one)) for one in numbers])


def joined(parts: Sequence[Media]) -> Media:
    """Media of one kind as one, in this order; sounds and clips of different length end with silence or black."""
    first = parts[0]
    (name,) = [one.name for one in fields(first) if getattr(first, one.name) is first.values]
    arrays = [part.values for part in parts]
    if first.kind != "image":
        longest = max(array.shape[1] for array in arrays)
        arrays = [
            np.pad(array, [(0, 0), (0, longest - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]) for array in arrays
        ]
    return replace(first, **{name: np.concatenate(arrays)})


def _empty(media: Media) -> Media:
    (name,) = [one.name for one in fields(media) if getattr(media, one.name) is media.values]
    return replace(media, **{name: np.zeros_like(media.values)})
