"""Where the objects of a record lie on a picture that was cropped, resized or mirrored.

record (boxes, polygons, run lengths, keypoints in pixels of the stored picture) ─ matrix ─▶ pixels of the output
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["Shapes", "captions_of", "is_record", "shapes_of"]

Matrix = NDArray[np.floating[Any]]
Size = tuple[int, int]

MOST_PIXELS = 1 << 28
"""Of one mask, so that a damaged record cannot fill the memory."""


@dataclass(frozen=True, eq=False)
class Shapes:
    """The objects of one example, in pixels of the output.

    boxes      (N, 4) float32: left, top, right, bottom, clipped to the output
    visible    (N,) float32: the share of each box that is left
    classes    (N,) int64, -1 unknown
    names      of the categories, empty where unknown
    crowd      (N,) bool
    keypoints  (N, K, 3) float32: x, y, visibility
    masks      (N, height, width) bool; None where none were asked for
    """

    boxes: NDArray[np.float32]
    visible: NDArray[np.float32]
    classes: NDArray[np.int64]
    names: tuple[str, ...]
    crowd: NDArray[np.bool_]
    keypoints: NDArray[np.float32]
    masks: NDArray[np.bool_] | None


def is_record(value: Any) -> bool:
    """Whether a json member describes the objects of a picture."""
    if not isinstance(value, Mapping) or not isinstance(value.get("annotations"), list):
        return False
    image = value.get("image")
    return isinstance(image, Mapping) and {"width", "height"} <= image.keys()


def captions_of(value: Any) -> list[str]:
    """The captions in a record, none where it has none."""
    entries = value.get("captions") if isinstance(value, Mapping) else None
    if not isinstance(entries, list):
        return []
    texts = [entry.get("caption") if isinstance(entry, Mapping) else entry for entry in entries]
    return [text for text in texts if isinstance(text, str)]


def shapes_of(record: Mapping[str, Any], matrix: Matrix, size: Size, *, with_masks: bool) -> Shapes:
    """The objects of a record, placed by `matrix` (2, 3), source → output, in an output of (height, width) `size`.

    Raises `ValueError`, `TypeError` or `KeyError` for a record that is not as it should be.
    """
    objects = [one for one in record["annotations"] if isinstance(one, Mapping) and "bbox" in one]
    boxes = np.array([one["bbox"] for one in objects], np.float64).reshape(-1, 4)
    _check_finite(boxes)
    corners = np.stack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    placed = _moved(corners, matrix)
    whole = np.concatenate([placed.min(1), placed.max(1)], 1)
    limits = np.array([size[1], size[0], size[1], size[0]], np.float64)
    clipped = np.clip(whole, 0, limits)
    areas = [np.prod(one[:, 2:] - one[:, :2], axis=1) for one in (whole, clipped)]
    masks = [_mask_of(one, record, matrix, size) for one in objects] if with_masks else None
    return Shapes(
        clipped.astype(np.float32),
        (areas[1] / np.maximum(areas[0], 1e-9)).astype(np.float32),
        np.array([_class_of(one) for one in objects], np.int64),
        tuple(str(one.get("category") or "") for one in objects),
        np.array([bool(one.get("iscrowd")) for one in objects], bool),
        _keypoints(objects, matrix, size),
        None if masks is None else np.array(masks, bool).reshape(-1, *size),
    )


def _check_finite(values: NDArray[np.float64]) -> None:
    if not np.isfinite(values).all():
        raise ValueError("a coordinate is not a finite number")


def _class_of(one: Mapping[str, Any]) -> int:
    number = one.get("class", one.get("category_id", -1))
    return number if isinstance(number, int) else -1


def _moved(points: NDArray[np.float64], matrix: Matrix) -> NDArray[np.float64]:
    """Points (..., 2) of the source in the output."""
    moved: NDArray[np.float64] = points @ np.asarray(matrix, np.float64)[:, :2].T + matrix[:, 2]
    return moved


def _keypoints(objects: Sequence[Mapping[str, Any]], matrix: Matrix, size: Size) -> NDArray[np.float32]:
    rows = [np.array(one.get("keypoints") or [], np.float64).reshape(-1, 3) for one in objects]
    for row in rows:
        _check_finite(row)
    most = max(map(len, rows), default=0)
    found = np.zeros((len(rows), most, 3), np.float32)
    for place, row in zip(found, rows, strict=True):
        place[: len(row), :2] = _moved(row[:, :2], matrix)
        inside = ((place[: len(row), :2] >= 0) & (place[: len(row), :2] < (size[1], size[0]))).all(1)
        place[: len(row), 2] = row[:, 2] * inside
    return found


def _mask_of(one: Mapping[str, Any], record: Mapping[str, Any], matrix: Matrix, size: Size) -> NDArray[np.bool_]:
    """The mask of an object, (height, width) bool, all False where it has none."""
    shape, (height, width) = one.get("segmentation"), size
    if isinstance(shape, Mapping):
        if isinstance(shape["counts"], str | bytes):
            counts = _counts_of_text(shape["counts"])
        else:
            counts = [int(count) for count in shape["counts"]]
        return _resampled(_decoded(counts, shape["size"]), matrix, size)
    canvas = Image.new("1", (width, height))
    for ring in shape or ():
        _check_finite(np.array(ring, np.float64))
        points = _moved(np.array(ring, np.float64).reshape(-1, 2), matrix) - 0.5
        if len(points) >= 3:
            ImageDraw.Draw(canvas).polygon([tuple(point) for point in points.tolist()], fill=1)
    return np.asarray(canvas, bool)


def _decoded(counts: Sequence[int], size: Sequence[int]) -> NDArray[np.bool_]:
    """Run lengths, column by column, the first run of zeros → (height, width) bool."""
    height, width = int(size[0]), int(size[1])
    if not 0 < height * width <= MOST_PIXELS:
        raise ValueError(f"a mask has {height:,} by {width:,} pixels")
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"the run lengths of a mask add up to {sum(counts):,}, not to {height} x {width} pixels")
    runs = np.arange(len(counts)) % 2 == 1
    return np.repeat(runs, counts).reshape(width, height).T


def _counts_of_text(text: str | bytes) -> list[int]:
    """The run lengths that COCO writes as text: 5 bits a letter, from the lowest, each from the fourth on as a
    difference to the one two before it."""
    letters = text.encode("ascii") if isinstance(text, str) else text
    counts: list[int] = []
    value, shift = 0, 0
    for letter in letters:
        bits = letter - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        value -= (bits & 16 and 1) << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, shift = 0, 0
    return counts


def _resampled(mask: NDArray[np.bool_], matrix: Matrix, size: Size) -> NDArray[np.bool_]:
    """The mask at each output pixel's centre: the nearest pixel of the source."""
    inverse = np.linalg.inv(np.vstack([np.asarray(matrix, np.float64), [0, 0, 1]]))
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    moved = picture.transform(
        (size[1], size[0]), Image.Transform.AFFINE, tuple(inverse[:2].ravel().tolist()), Image.Resampling.NEAREST
    )
    return np.asarray(moved) > 0
