"""Masks of source pictures, rasterised in output pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .affine import as_matrix, compose
from .crossings import fill_crossings
from .masks import Masks
from .polygon_grid import polygon_crossings
from .run_lengths import run_crossings
from .sampling import Samples, Sampling

__all__ = ["place_all_masks", "place_masks"]


def place_masks(masks: Masks, matrix: ArrayLike, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The masks (objects, height, width) bool of one example in an output of (height, width).

    matrix: (2, 3), source → output pixels; its axes stay axes.
    An output pixel is set if its centre, mapped back to the annotated picture, lies in a pixel that COCO's own API sets
    in the mask of that picture. So the masks are exactly those that a nearest-neighbour resize of the full
    mask gives, at the cost of the output's pixels only. Raises `ValueError` for masks of more than one example.
    """
    if len(masks) != 1:
        raise ValueError(f"masks are those of {len(masks)} examples; choose one: masks[i].")
    return place_all_masks(masks, as_matrix(matrix)[None], size)


def place_all_masks(masks: Masks, matrices: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The masks (objects, height, width) bool of all examples; matrices: (examples, 2, 3)."""
    output = np.zeros((masks.num_objects, *size), np.bool_)
    filled = np.flatnonzero(masks.offsets[1:] > masks.offsets[:-1]).tolist()
    if not filled:
        return output
    samplings = []
    for index in filled:
        height, width = masks.sizes[index].tolist()
        samplings.append(Sampling.of(compose(matrices[index], masks.transforms[index]), size, (height, width)))
    samples = Samples.of(samplings)
    pictures = np.repeat(np.arange(len(filled)), np.diff(masks.offsets)[filled])
    owners = np.repeat(np.arange(masks.num_objects), np.diff(masks.object_rings))
    ring_pictures = pictures[owners]
    for crossings in polygon_crossings(masks.points, masks.ring_offsets, ring_pictures, samples):
        fill_crossings(crossings, owners, ring_pictures, samples, output)
    first_columns = np.cumsum([0, *(len(sampling.columns) for sampling in samplings)])
    for owner in np.flatnonzero(np.diff(masks.object_runs)).tolist():
        runs = masks.runs[masks.object_runs[owner] : masks.object_runs[owner + 1]]
        picture = pictures[owner : owner + 1]
        sampling, first = samplings[picture[0]], int(first_columns[picture[0]])
        crossings = run_crossings(runs, sampling.columns, sampling.source_size[0], first=first)
        fill_crossings(crossings, np.array([owner]), picture, samples, output)
    return output
