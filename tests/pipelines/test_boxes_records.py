"""Records: what is one, its objects as arrays, and the same record of a picture that was moved."""

from __future__ import annotations

import copy
import doctest
import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pipelines.boxes
from pipelines.boxes import (
    Packed,
    apply,
    is_record,
    move_record,
    orientation_matrix,
    pack_keypoints,
    record_boxes,
    record_captions,
    record_classes,
    record_crowd,
    record_keypoints,
)

from .annotated import coco_records, generated_record

ROUNDED = 0.51e-4
"""Half of the last decimal that is written, in pixels."""

IMAGE = {"id": 1, "width": 20, "height": 10}


def record_of(**annotation: Any) -> dict[str, Any]:
    good = {"id": 1, "bbox": [0, 0, 1, 1]}
    return {"image": IMAGE, "annotations": [good, {"id": 4711, "bbox": [1, 2, 3, 4], **annotation}]}


@pytest.mark.parametrize(
    ("json", "expected"),
    [
        ({"image": IMAGE, "annotations": []}, True),
        ({"image": IMAGE, "annotations": [{"bbox": [0, 0, 1, 1]}], "factors": {"size": 3}}, True),
        ({"image": IMAGE, "annotations": [{"id": 1}, {"bbox": [0, 0, 1, 1]}]}, True),
        ({"image": IMAGE, "captions": []}, True),
        ({"image": IMAGE}, False),
        ({"image": IMAGE, "annotations": [{"label": 3}]}, False),
        ({"image": IMAGE, "annotations": ["cat"]}, False),
        ({"image": IMAGE, "annotations": {"bbox": 1}}, False),
        ({"image": {"width": 20}, "annotations": []}, False),
        ({"image": {"width": 20.5, "height": 10}, "annotations": []}, False),
        ({"image": {"width": 0, "height": 10}, "annotations": []}, False),
        ({"image": {"width": True, "height": 10}, "annotations": []}, False),
        ({"image": "x.jpg", "annotations": []}, False),
        ({"annotations": []}, False),
        ([], False),
        (None, False),
        ("record", False),
    ],
)
def test_a_record_has_an_image_with_a_size_and_objects_with_boxes(json: Any, expected: bool) -> None:
    assert is_record(json) is expected
    if not expected:
        assert len(record_boxes(json)) == len(record_classes(json)) == len(record_captions(json)) == 0
        assert record_keypoints(json).shape == (0, 0, 3)


def test_the_arrays_of_a_record_are_its_numbers() -> None:
    record = record_of(bbox=[-1.5, 2, 30.25, 0], iscrowd=1, keypoints=[1, 2.5, 2, 0, 0, 0])
    record["annotations"].append({"bbox": [0, 0, 1, 1], "class": 16, "iscrowd": 0})
    record["captions"] = [{"id": 1, "caption": "A cat."}, {"id": 2, "caption": ""}]
    boxes, keypoints = record_boxes(record), record_keypoints(record)
    assert boxes.dtype == keypoints.dtype == np.float32
    assert boxes.tolist() == [[0, 0, 1, 1], [-1.5, 2, 30.25, 0], [0, 0, 1, 1]]
    assert keypoints.shape == (3, 2, 3)
    assert keypoints[1].tolist() == [[1, 2.5, 2], [0, 0, 0]]
    assert not keypoints[[0, 2]].any()
    assert record_classes(record).tolist() == [-1, -1, 16]
    assert record_classes(record).dtype == np.int64
    assert record_crowd(record).tolist() == [False, True, False]
    assert record_crowd(record).dtype == np.bool_
    assert record_captions(record) == ["A cat.", ""]


def test_keypoints_of_a_batch_have_the_most_of_any_example() -> None:
    arrays = [record_keypoints(record_of(keypoints=[1, 2, 2] * num)) for num in (1, 3, 0)]
    packed = pack_keypoints(arrays)
    assert isinstance(packed, Packed)
    assert packed.values.shape == (6, 3, 3)
    assert packed.values.dtype == np.float32
    assert packed[0][1].tolist() == [[1, 2, 2], [0, 0, 0], [0, 0, 0]]
    assert packed[1][1].tolist() == [[1, 2, 2]] * 3


@pytest.mark.parametrize(
    ("read", "name", "value"),
    [
        *((record_boxes, "bbox", value) for value in (None, [], [1, 2, 3], [1, 2, 3, 4, 5], ["1", 2, 3, 4], "box")),
        *((record_boxes, "bbox", [1, 2, 3, value]) for value in (float("nan"), float("inf"), -1, 1e300, None)),
        *(
            (record_keypoints, "keypoints", value)
            for value in ([1, 2], [1, 2, None], [1, float("nan"), 2], "abc", {"a": 1})
        ),
        *((record_classes, "class", value) for value in ("3", 1.5, -2, None, True, 1 << 70)),
        *((record_crowd, "iscrowd", value) for value in (2, -1, "0", [], 1.0)),
    ],
)
def test_a_malformed_entry_is_refused_with_the_annotation(read: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"annotation 4711: its {name} is .*; it"):
        read(record_of(**{name: value}))


@pytest.mark.parametrize("captions", ["text", [1], [{"id": 5}], [{"id": 5, "caption": 3}], {"a": 1}])
def test_a_malformed_caption_is_refused(captions: Any) -> None:
    with pytest.raises(ValueError, match="caption"):
        record_captions({"image": IMAGE, "annotations": [], "captions": captions})


def test_where_nothing_moves_the_record_itself_is_given() -> None:
    record = generated_record(0)
    assert move_record(record, [[1, 0, 0], [0, 1, 0]], (90, 130)) is record
    moved = move_record(record, [[1, 0, 0], [0, 1, 0]], (91, 130))
    assert (moved["stored"]["height"], moved["stored"]["width"]) == (91, 130)
    assert move_record(moved, [[1, 0, 0], [0, 1, 0]], (91, 130)) is moved


def check_moved(record: dict[str, Any], moved: dict[str, Any], matrix: Any) -> int:
    """Compare each number with one that is computed by itself; how many polygons there were."""
    scale, num_polygons = abs(np.linalg.det(np.asarray(matrix)[:, :2])), 0
    for old, new in zip(record["annotations"], moved["annotations"], strict=True):
        x, y, width, height = old["bbox"]
        corners = apply(matrix, [[x, y], [x + width, y], [x, y + height], [x + width, y + height]])
        low, high = corners.min(axis=0), corners.max(axis=0)
        assert new["bbox"] == pytest.approx([*low, *(high - low)], abs=2 * ROUNDED)
        assert new["area"] == pytest.approx(old["area"] * scale, abs=ROUNDED)
        if isinstance(old["segmentation"], list):
            for ring, other in zip(old["segmentation"], new["segmentation"], strict=True):
                expected = [matrix @ [x, y, 1] for x, y in zip(ring[::2], ring[1::2], strict=True)]
                assert np.reshape(other, (-1, 2)) == pytest.approx(np.array(expected), abs=ROUNDED)
                num_polygons += 1
        for k in range(0, len(old.get("keypoints", ())), 3):
            x, y, visibility = old["keypoints"][k : k + 3]
            expected = matrix @ [x, y, 1] if visibility else [x, y]
            assert new["keypoints"][k : k + 3] == pytest.approx([*expected, visibility], abs=ROUNDED)
        ours = {"bbox", "area", "segmentation", "keypoints", "original_segmentation"}
        assert {key: new[key] for key in new if key not in ours} == {
            key: old[key] for key in old if key not in ours
        }
    return num_polygons


@pytest.mark.parametrize("orientation", [None, *range(2, 9)])
def test_a_moved_record_has_the_numbers_of_exact_arithmetic(orientation: int | None) -> None:
    record = {**generated_record(1), "captions": [{"id": 1, "caption": "x"}], "factors": {"a": 1}}
    before = copy.deepcopy(record)
    matrix, size = np.array([[0.35, 0, 0], [0, 0.4, 0]]), (36, 46)
    if orientation:
        matrix = orientation_matrix(orientation, width=130, height=90)
        size = (90, 130) if orientation < 5 else (130, 90)
    moved = json.loads(json.dumps(move_record(record, matrix, size), allow_nan=False))
    assert record == before, "the record given is not changed"
    assert check_moved(record, moved, matrix) == 6
    assert moved["stored"] == {"height": size[0], "width": size[1], "transform": matrix.tolist()}
    assert {key: moved[key] for key in ("image", "captions", "factors")} == {
        key: record[key] for key in ("image", "captions", "factors")
    }


def test_moved_records_of_coco_have_the_numbers_of_exact_arithmetic(shared_data: Path) -> None:
    num_polygons = 0
    for record in coco_records(shared_data)[::3]:
        height, width = record["image"]["height"], record["image"]["width"]
        scale = 256 / min(height, width)
        stored = (round(height * scale), round(width * scale))
        matrix = np.array([[stored[1] / width, 0, 0], [0, stored[0] / height, 0]])
        num_polygons += check_moved(record, move_record(record, matrix, stored), matrix)
    assert num_polygons > 300


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bbox", [1, 2, 3]),
        ("bbox", 5),
        ("area", "large"),
        ("area", float("nan")),
        ("keypoints", [1, 2]),
        ("segmentation", [[1, 2, 3]]),
        ("segmentation", [5]),
        ("segmentation", "abc"),
        ("segmentation", {"counts": "0", "size": [10, 20]}),
    ],
)
def test_what_cannot_be_moved_is_refused_with_the_annotation(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"annotation 4711: its {name} is "):
        move_record(record_of(**{name: value}), [[2, 0, 0], [0, 2, 0]], (20, 40))


def test_what_is_no_record_cannot_be_moved() -> None:
    with pytest.raises(ValueError, match="no record"):
        move_record({"factors": 1}, [[2, 0, 0], [0, 2, 0]], (20, 40))


def test_the_examples_of_the_docstrings_run() -> None:
    attempted = 0
    for module in pkgutil.iter_modules(pipelines.boxes.__path__):
        done = doctest.testmod(importlib.import_module(f"pipelines.boxes.{module.name}"))
        assert done.failed == 0, module.name
        attempted += done.attempted
    assert attempted > 15
    assert pipelines.boxes.__all__ == sorted(set(pipelines.boxes.__all__), key=lambda n: (n[0].islower(), n))
    assert all(getattr(pipelines.boxes, name).__doc__ for name in pipelines.boxes.__all__)
