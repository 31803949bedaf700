"""Annotated pictures for tests: generated and COCO's own, and masks by pycocotools and Pillow."""

from __future__ import annotations

import json
import warnings
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from PIL import Image

Bools = NDArray[np.bool_]


def random_ring(rng: np.random.Generator, height: int, width: int, kind: int) -> list[float]:
    """0 anywhere, 1 far outside, 2 tiny, 3 on half pixels, 4 with equal neighbours, 5 thin and long: x, y, x, y, ..."""
    points = rng.normal(0.5, (0.5, 3.0, 0.02, 0.5, 0.3, 0.4)[kind], (int(rng.integers(3, 12)), 2)) * [width, height]
    if kind == 3:
        points = np.round(points * 2) / 2
    elif kind == 4:
        points[1] = points[0]
    elif kind == 5:
        points[:, int(rng.integers(2))] = rng.random() * 9 + rng.random(len(points)) * 2
    ring: list[float] = points.ravel().tolist()
    return ring


def generated_record(seed: int, height: int = 90, width: int = 130) -> dict[str, Any]:
    """Four objects of polygons, one of compressed and one of plain run lengths, one without a mask."""
    mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seed)
    shapes: list[Any] = []
    for number in range(4):
        centre, radius = rng.random(2) * [width, height], rng.random() * 0.4 * height + 3
        angles = np.sort(rng.random(15)) * 2 * np.pi
        star = centre + (radius * (0.5 + rng.random((15, 1)))) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        shapes.append([star.round(2).ravel().tolist()])
        if number % 2:
            shapes[-1].append((rng.random((4, 2)) * [width, height]).round(2).ravel().tolist())
    blobs = np.asarray(Image.fromarray(rng.integers(0, 256, (9, 11), np.uint8)).resize((width, height))) > 128
    coded = mask.encode(np.asfortranarray(blobs.astype(np.uint8)))
    shapes.append({"size": [height, width], "counts": coded["counts"].decode()})
    flat = (~blobs).ravel(order="F")
    edges = [0, *(np.flatnonzero(flat[1:] != flat[:-1]) + 1).tolist(), flat.size]
    plain = [b - a for a, b in pairwise(edges)]
    shapes.append({"size": [height, width], "counts": [0, *plain] if flat[0] else plain})
    annotations = [
        {
            "id": 100 + number,
            "bbox": [*(rng.random(2) * 40).round(2).tolist(), *(rng.random(2) * 50).round(2).tolist()],
            "segmentation": shape,
            "area": round(float(rng.random() * 500), 2),
            "iscrowd": int(isinstance(shape, dict)),
            "keypoints": [float(number), 2.5, 2, 0, 0, 0, 7, 8, 1],
            "class": number,
        }
        for number, shape in enumerate([*shapes, None])
    ]
    return {"image": {"id": seed, "height": height, "width": width}, "annotations": annotations}


def coco_records(shared_data: Path) -> list[dict[str, Any]]:
    """Records of the COCO pictures beside the checkout; skips where they are absent."""
    paths = sorted((shared_data / "coco" / "annotations").glob("instances_*.json"))
    if not paths:
        pytest.skip(f"{shared_data / 'coco'} is absent: COCO's annotations are not part of the project")
    records = []
    for content in (json.loads(path.read_text(encoding="utf-8")) for path in paths):
        found = defaultdict(list)
        for annotation in content["annotations"]:
            found[annotation["image_id"]].append(annotation)
        records += [{"image": image, "annotations": found[image["id"]]} for image in content["images"]]
    return records


def pycocotools_mask(shape: Any, height: int, width: int) -> Bools:
    """The whole mask (height, width) of a segmentation, by pycocotools."""
    mask = pytest.importorskip("pycocotools.mask")
    if shape is None:
        return np.zeros((height, width), np.bool_)
    if isinstance(shape, list):
        rings = [ring + ring[-2:] * (3 - len(ring) // 2) for ring in shape]  # four numbers would be taken for a box
        coded = mask.merge(mask.frPyObjects(rings, height, width))
    else:
        coded = shape if isinstance(shape["counts"], str) else mask.frPyObjects(shape, height, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools 2.0.11 with NumPy 2
        return np.asarray(mask.decode(coded)).astype(np.bool_)


def pillow_masks(record: dict[str, Any], matrix: ArrayLike, size: tuple[int, int]) -> Bools:
    """The masks (objects, height, width) of an unmoved record: decoded whole, then Pillow's affine nearest."""
    rows = np.vstack([np.asarray(matrix, np.float64), [0, 0, 1]])
    inverse = np.linalg.inv(rows)[:2].ravel().tolist()
    height, width = record["image"]["height"], record["image"]["width"]
    masks = []
    for annotation in record["annotations"]:
        whole = Image.fromarray(pycocotools_mask(annotation.get("segmentation"), height, width).astype(np.uint8))
        moved = whole.transform((size[1], size[0]), Image.Transform.AFFINE, inverse, Image.Resampling.NEAREST)
        masks.append(np.asarray(moved).astype(np.bool_))
    return np.array(masks, np.bool_).reshape(-1, *size)
