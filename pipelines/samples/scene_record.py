"""What a sample scene shows, as COCO writes it: the shape's box and mask, and a caption."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..boxes import mask_to_runs
from .scene_drawing import SHAPES, Scene, shape_coverage

__all__ = ["scene_record"]

COLOURS = (  # up to which hue, in [0, 1), and the name of colours of the scenes' lightness up to there
    (0.03, "pink"),
    (0.115, "red"),
    (0.21, "orange"),
    (0.30, "yellow"),
    (0.47, "green"),
    (0.60, "turquoise"),
    (0.755, "blue"),
    (0.90, "purple"),
    (1.00, "pink"),
)
MOODS = {"dawn": "at dawn", "day": "by day", "dusk": "at dusk", "night": "at night"}


def scene_record(scene: Scene, index: int, size: int, file_name: str) -> dict[str, Any]:
    """The entries "image", "annotations" and "captions" of the scene with this number, `size` pixels wide and high.

    The one annotation is the shape: its class and category_id are its number in `SHAPES`, its mask the pixels that it
    covers at least half of, as run lengths, and its box the smallest around them. A shape that covers no pixel has no
    annotation. Ids of annotations and captions begin with 1, because COCO's evaluation takes 0 for none.
    """
    mask = shape_coverage(scene, size) >= 0.5
    number = SHAPES.index(scene.shape)
    shape = {
        "id": index + 1,
        "image_id": index,
        "category_id": number,
        "category": scene.shape,
        "class": number,
        "bbox": _box(mask),
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": {"counts": mask_to_runs(mask).tolist(), "size": [size, size]},
    }
    return {
        "image": {"id": index, "file_name": file_name, "width": size, "height": size},
        "annotations": [shape] if mask.any() else [],
        "captions": [{"id": index + 1, "image_id": index, "caption": _caption_of(scene)}],
    }


def _caption_of(scene: Scene) -> str:
    """The scene in a sentence: "A red star at dusk." """
    colour = next(name for limit, name in COLOURS if scene.hue < limit)
    article = "An" if colour[0] in "aeiou" else "A"
    return f"{article} {colour} {scene.shape} {MOODS[scene.background]}."


def _box(mask: NDArray[np.bool_]) -> Sequence[int]:
    """[left, top, width, height] of the pixels that are set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return [0, 0, 0, 0]
    left, top = int(columns[0]), int(rows[0])
    return [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
