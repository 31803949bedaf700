"""What is rounded in a moved record is too little to matter, and polygons come back as they were."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.boxes import Masks, compose, move_record, orientation_matrix, place_masks

from .annotated import coco_records, generated_record
from .test_boxes_masks import exact_masks, framing_of, matrix_of, seen_pixels, stored_size

SCALES = [0.0213, 0.123, 1 / 3, 0.4, 0.9999, 1.7, 31.3]


def record_of(points: NDArray[np.float64]) -> dict[str, Any]:
    annotation = {"id": 1, "bbox": [0, 0, 1, 1], "segmentation": [points.ravel().tolist()]}
    return {"image": {"height": 4000, "width": 6000}, "annotations": [annotation]}


def moved_and_back(points: NDArray[np.float64], matrix: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points (points, 2) as they are stored, and as they are found again, through text."""
    moved = json.loads(json.dumps(move_record(record_of(points), matrix, (50, 60))))
    return np.reshape(moved["annotations"][0]["segmentation"], (-1, 2)), Masks.of([moved]).points


def numbers_of(value: Any) -> list[float]:
    if isinstance(value, list):
        return [number for one in value for number in numbers_of(one)]
    return [value]


def test_coordinates_and_areas_of_a_moved_record_have_four_decimals() -> None:
    record = generated_record(3)
    record["annotations"][0]["keypoints"][3:6] = [0.123456789, 5, 0]
    moved = move_record(record, [[1 / 3, 0, 1 / 7], [0, -1 / 3, 30]], (30, 43))
    num_numbers = 0
    for annotation in moved["annotations"]:
        shape = annotation["segmentation"]
        values = [annotation["bbox"], annotation["area"], annotation["keypoints"][:3]]
        for number in numbers_of([*values, *(shape if isinstance(shape, list) else [])]):
            assert len(repr(number).partition(".")[2]) <= 4, number
            num_numbers += 1
    assert num_numbers > 150
    assert moved["annotations"][0]["keypoints"][3:6] == [0.123456789, 5, 0], "not labelled, so not moved"


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("orientation", [1, 4, 5, 8])
def test_points_of_two_decimals_come_back_as_they_were(scale: float, orientation: int) -> None:
    rng = np.random.default_rng(0)
    points = (rng.random((500, 2)) * [6100, 4100] - 50).round(2)
    points[::2] = points[::2].round(1)
    matrix = compose(
        [[scale, 0, 0], [0, 0.97 * scale, 0]], orientation_matrix(orientation, width=6000, height=4000)
    )
    stored, back = moved_and_back(points, matrix)
    assert np.array_equal(stored, stored.round(4))
    assert np.array_equal(back, points)


@pytest.mark.parametrize("scale", SCALES)
def test_points_of_more_decimals_come_back_to_a_millionth(scale: float) -> None:
    rng = np.random.default_rng(1)
    matrix = [[scale, 0, 3.3], [0, -scale, 700]]
    points = (rng.random((500, 2)) * [6100, 4100] - 50).round(5)
    assert np.array_equal(moved_and_back(points, matrix)[1], points)
    points = rng.random((500, 2)) * [6100, 4100] - 50
    assert np.abs(moved_and_back(points, matrix)[1] - points).max() < 1.1e-6


def test_one_point_of_more_decimals_is_enough_to_keep_all() -> None:
    points = np.array([[10.1, 20.3], [50.5, 20.7], [30.123456, 90.9]])
    stored, back = moved_and_back(points, [[1 / 3, 0, 0], [0, 1 / 3, 0]])
    assert not np.array_equal(stored, stored.round(4))
    assert np.array_equal(back, points)


def test_a_picture_that_becomes_tiny_keeps_its_polygons() -> None:
    points = (np.random.default_rng(2).random((300, 2)) * [6000, 4000]).round(2)
    assert np.array_equal(moved_and_back(points, [[0.004, 0, 0], [0, 0.004, 0]])[1], points)


def test_points_that_are_moved_twice_come_back_as_they_were() -> None:
    points = (np.random.default_rng(3).random((300, 2)) * [6000, 4000]).round(2)
    record = record_of(points)
    for _ in range(5):
        record = move_record(record, [[0, -0.77, 900], [0.71, 0, 1.234]], (50, 60))
    assert np.array_equal(Masks.of([record]).points, points)


def test_every_mask_of_coco_is_exact_after_a_resize(shared_data: Path) -> None:
    num_masks = 0
    for seed, record in enumerate(coco_records(shared_data)):
        height, width = record["image"]["height"], record["image"]["width"]
        stored = stored_size(height, width, 256)
        resize = np.array([[stored[1] / width, 0, 0], [0, stored[0] / height, 0]])
        moved = json.loads(json.dumps(move_record(record, resize, stored)))
        framing = framing_of("random crop, mirrored", stored, (224, 224), seed)
        found = place_masks(Masks.of([moved]), matrix_of(framing), (224, 224))
        columns = seen_pixels(framing, 0, 224, Fraction(width, stored[1]))
        expected = exact_masks(record, columns, seen_pixels(framing, 1, 224, Fraction(height, stored[0])))
        assert np.array_equal(found, expected), record["image"]["id"]
        num_masks += len(found)
    assert num_masks > 1000


def test_a_matrix_without_inverse_is_refused() -> None:
    with pytest.raises(ValueError, match="no inverse"):
        move_record(generated_record(0), [[1, 0, 0], [0, 0, 0]], (50, 60))
