"""Masks of an output are those of the annotated picture, seen through the same transform as its pixels."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines.boxes import (
    Masks,
    compose,
    invert,
    move_record,
    orientation_matrix,
    place_masks,
    runs_to_mask,
    string_to_runs,
)
from pipelines.decode.geometry import Framing, frame

from .annotated import Bools, coco_records, generated_record, pillow_masks, pycocotools_mask

FRAMINGS: dict[str, dict[str, Any]] = {
    "crop": {"fit": "crop", "crop": "center"},
    "random crop": {"fit": "crop", "crop": "random"},
    "random crop, mirrored": {"fit": "crop", "crop": "random", "flip": True},
    "pad": {"fit": "pad", "crop": "center"},
    "stretch": {"fit": "stretch", "crop": "center"},
    "stretch, mirrored": {"fit": "stretch", "crop": "center", "flip": True},
}


def framing_of(how: str, source: tuple[int, int], target: tuple[int, int], seed: int = 0) -> Framing:
    words = np.random.default_rng(seed).integers(0, 1 << 63, 3, np.uint64) | np.uint64(1 << 63)
    return frame(source, target, words=words.tolist(), **{"flip": False, **FRAMINGS[how]})


def matrix_of(framing: Framing) -> NDArray[np.float32]:
    """As a batch carries it."""
    return np.array(framing.transform(), np.float32).reshape(2, 3)


def seen_pixels(framing: Framing, axis: int, num: int, scale: Fraction = Fraction(1)) -> list[int | None]:
    """The annotated column (axis 0) or row (1) under each centre of an output, by fractions; None in the padding."""
    begin, end = framing.box[axis], framing.box[axis + 2]
    to_begin, to_end = framing.target_box[axis], framing.target_box[axis + 2]
    seen = []
    for number in range(num):
        centre = Fraction(2 * number + 1, 2)
        ahead = to_begin + to_end - centre if framing.flip and axis == 0 else centre
        source = (begin + (ahead - to_begin) * (end - begin) / (to_end - to_begin)) * scale
        seen.append(int(source // 1))
    return seen


def exact_masks(record: dict[str, Any], columns: list[int | None], rows: list[int | None]) -> Bools:
    """pycocotools' whole masks, and of them the rows and columns that are seen."""
    height, width = record["image"]["height"], record["image"]["width"]
    x, y = np.array(columns), np.array(rows)
    inside = np.outer((y >= 0) & (y < height), (x >= 0) & (x < width))
    grid = np.ix_(np.clip(y, 0, height - 1), np.clip(x, 0, width - 1))
    masks = [pycocotools_mask(a.get("segmentation"), height, width)[grid] & inside for a in record["annotations"]]
    return np.array(masks, np.bool_).reshape(-1, len(rows), len(columns))


def agreement(found: list[Bools], expected: list[Bools]) -> float:
    """Intersection over union of all masks together."""
    both = sum(int((a & b).sum()) for a, b in zip(found, expected, strict=True))
    either = sum(int((a | b).sum()) for a, b in zip(found, expected, strict=True))
    assert either > 1000, "the masks must cover something"
    return both / either


def records_for_test(shared_data: Path | None) -> list[dict[str, Any]]:
    return coco_records(shared_data)[::16] if shared_data else [generated_record(seed) for seed in range(8)]


@pytest.mark.parametrize("how", FRAMINGS)
@pytest.mark.parametrize("target", [(64, 64), (45, 70), (200, 150)])
def test_generated_masks_are_exactly_those_of_the_whole_mask(how: str, target: tuple[int, int]) -> None:
    for seed in range(5):
        record = generated_record(seed)
        framing = framing_of(how, (90, 130), target, seed)
        expected = exact_masks(record, seen_pixels(framing, 0, target[1]), seen_pixels(framing, 1, target[0]))
        assert np.array_equal(place_masks(Masks.of([record]), matrix_of(framing), target), expected)


@pytest.mark.parametrize("how", FRAMINGS)
def test_masks_of_coco_are_exactly_those_of_the_whole_mask(how: str, shared_data: Path) -> None:
    found, by_pillow = [], []
    for seed, record in enumerate(records_for_test(shared_data)):
        source = (record["image"]["height"], record["image"]["width"])
        framing = framing_of(how, source, (128, 96), seed)
        found.append(place_masks(Masks.of([record]), matrix_of(framing), (128, 96)))
        expected = exact_masks(record, seen_pixels(framing, 0, 96), seen_pixels(framing, 1, 128))
        assert np.array_equal(found[-1], expected), record["image"]["id"]
        by_pillow.append(pillow_masks(record, np.reshape(framing.transform(), (2, 3)), (128, 96)))
    assert agreement(found, by_pillow) > 0.99


def stored_size(height: int, width: int, shorter: int = 64) -> tuple[int, int]:
    scale = shorter / min(height, width)
    return max(shorter, round(height * scale)), max(shorter, round(width * scale))


@pytest.mark.parametrize("how", FRAMINGS)
@pytest.mark.parametrize("of_coco", [False, True], ids=["generated", "COCO"])
def test_masks_of_a_resized_picture_lose_nothing(how: str, of_coco: bool, request: pytest.FixtureRequest) -> None:
    found, exact, by_pillow = [], [], []
    records = records_for_test(request.getfixturevalue("shared_data") if of_coco else None)
    for seed, record in enumerate(records):
        height, width = record["image"]["height"], record["image"]["width"]
        stored = stored_size(height, width, 256 if of_coco else 64)
        resize = np.array([[stored[1] / width, 0, 0], [0, stored[0] / height, 0]])
        moved = move_record(record, resize, stored)
        framing = framing_of(how, stored, (128, 96), seed)
        found.append(place_masks(Masks.of([moved]), matrix_of(framing), (128, 96)))
        columns = seen_pixels(framing, 0, 96, Fraction(width, stored[1]))
        exact.append(exact_masks(record, columns, seen_pixels(framing, 1, 128, Fraction(height, stored[0]))))
        whole = compose(np.reshape(framing.transform(), (2, 3)), resize)
        by_pillow.append(pillow_masks(record, whole, (128, 96)))
    assert agreement(found, exact) > 0.999
    assert agreement(found, by_pillow) > 0.99


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_turn_with_the_picture(orientation: int) -> None:
    for seed in range(3):
        record = generated_record(seed)
        matrix = orientation_matrix(orientation, width=130, height=90)
        upright = (90, 130) if orientation < 5 else (130, 90)
        moved = move_record(record, matrix, upright)
        whole = place_masks(Masks.of([moved]), [[1, 0, 0], [0, 1, 0]], upright)
        for mask, annotation in zip(whole, record["annotations"], strict=True):
            raw = Image.fromarray(pycocotools_mask(annotation["segmentation"], 90, 130).astype(np.uint8) * 255)
            assert np.array_equal(mask, np.asarray(turned(raw, orientation)) > 0)
        framing = framing_of("random crop, mirrored", upright, (50, 60), seed)
        found = place_masks(Masks.of([moved]), matrix_of(framing), (50, 60))
        expected = pillow_masks(record, compose(np.reshape(framing.transform(), (2, 3)), matrix), (50, 60))
        assert agreement([found], [expected]) > 0.99


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    """Upright, as Pillow turns a picture that has this orientation."""
    from PIL import ImageOps

    exif = picture.getexif()
    exif[0x0112] = orientation
    upright: Image.Image = ImageOps.exif_transpose(picture)
    return upright


def test_polygons_and_run_lengths_of_one_mask_give_one_mask() -> None:
    record = generated_record(7)
    coded = move_record(record, [[0.5, 0, 0], [0, 0.5, 0]], (45, 65))
    for annotation in record["annotations"]:
        if isinstance(annotation["segmentation"], list):
            runs = pycocotools_mask(annotation["segmentation"], 90, 130).ravel(order="F")
            edges = np.flatnonzero(np.diff(runs, prepend=False)).tolist()
            counts = np.diff([0, *edges, runs.size]).tolist()
            annotation["segmentation"] = {"size": [90, 130], "counts": counts}
    matrix = [[-0.7, 0, 60], [0, 1.3, -20]]
    back = compose(matrix, [[0.5, 0, 0], [0, 0.5, 0]])
    from_runs = place_masks(Masks.of([record]), back, (60, 60))
    assert np.array_equal(place_masks(Masks.of([coded]), matrix, (60, 60)), from_runs)


def test_run_lengths_are_resampled_as_pillow_does_and_kept() -> None:
    record = generated_record(3)
    moved = move_record(record, [[0.4, 0, 0], [0, 0.4, 0]], (36, 52))
    expected = pillow_masks(record, [[0.4, 0, 0], [0, 0.4, 0]], (36, 52))
    kinds = set()
    for old, new, mask in zip(record["annotations"], moved["annotations"], expected, strict=True):
        shape = new["segmentation"]
        if isinstance(shape, dict):
            kinds.add(type(shape["counts"]))
            assert type(shape["counts"]) is type(old["segmentation"]["counts"])
            assert new["original_segmentation"] == old["segmentation"]
            assert shape["size"] == [36, 52]
            as_runs = (
                shape["counts"] if isinstance(shape["counts"], list) else string_to_runs(shape["counts"], (36, 52))
            )
            assert np.array_equal(runs_to_mask(as_runs, (36, 52)), mask)
    assert kinds == {str, list}


def test_a_record_moved_twice_has_the_masks_of_one_move() -> None:
    record = generated_record(4)
    first, second = np.array([[0.31, 0, 0], [0, 0.37, 0]]), orientation_matrix(6, width=40, height=33)
    twice = move_record(move_record(record, first, (33, 40)), second, (40, 33))
    once = move_record(record, compose(second, first), (40, 33))
    for annotation, other in zip(twice["annotations"], once["annotations"], strict=True):
        if isinstance(annotation["segmentation"], dict):
            assert annotation["segmentation"] == other["segmentation"]
            assert annotation["original_segmentation"] == other["original_segmentation"]
    matrix = [[2.0, 0, -5], [0, 2.0, -9]]
    assert np.array_equal(*(place_masks(Masks.of([r]), matrix, (64, 48)) for r in (twice, once)))


def test_points_of_a_moved_record_come_back_as_they_were() -> None:
    record = generated_record(5)
    moved = move_record(record, [[0, -0.123, 16], [0.321, 0, 0]], (42, 16))
    assert np.array_equal(Masks.of([moved]).points, Masks.of([record]).points)


@pytest.mark.parametrize("matrix", [[[1, 0, 900], [0, 1, 0]], [[1, 0, 0], [0, 1, -900]]])
def test_outside_the_output_nothing_is_set(matrix: Any) -> None:
    assert not place_masks(Masks.of([generated_record(0)]), matrix, (40, 50)).any()


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ([[1, 0.1, 0], [0, 1, 0]], "must keep the axes"),
        ([[1, 1, 0], [-1, 1, 0]], "must keep the axes"),
        ([[1, 0, 0], [0, 0, 0]], "no inverse"),
        ([[1, 0, 0], [0, float("nan"), 0]], "finite"),
        ([[1, 0], [0, 1]], "2 rows of 3"),
    ],
)
def test_a_matrix_that_is_no_placement_is_refused(matrix: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        place_masks(Masks.of([generated_record(0)]), matrix, (40, 50))
    assert invert([[2, 0, 1], [0, 4, 1]]).tolist() == [[0.5, 0, -0.5], [0, 0.25, -0.25]]


def test_masks_of_a_batch_are_those_of_its_examples() -> None:
    records = [
        generated_record(0),
        None,
        {"factors": [1]},
        generated_record(1),
        {"image": {"width": 4, "height": 3}},
    ]
    whole = Masks.of(records)
    assert len(whole) == 5
    assert whole.num_objects == 14
    matrix, size = [[0.5, 0, 3], [0, 0.5, 2]], (50, 60)
    for index, record in enumerate(records):
        expected = place_masks(Masks.of([record]), matrix, size)
        assert expected.shape == (0 if index in (1, 2, 4) else 7, *size)
        assert np.array_equal(place_masks(whole[index], matrix, size), expected)
    assert np.array_equal(place_masks(whole[-2], matrix, size), place_masks(whole[3], matrix, size))
    with pytest.raises(IndexError):
        whole[5]
    with pytest.raises(ValueError, match="choose one"):
        place_masks(whole, matrix, size)
    assert repr(whole).startswith("Masks(5 examples, 14 objects: 12 rings")


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ([[1, 2, 3]], "as many x as y"),
        ([[1, 2, 3], [4, 5, 6]], "as many x as y"),
        ([["1", "2"]], "lists of numbers"),
        ([[1, None]], "lists of numbers"),
        ([1, 2, 3, 4], "lists of numbers"),
        ([[1, float("nan")]], "finite"),
        ([[1, float("inf")]], "finite"),
        ([[1, 1e300]], "finite"),
        ([[1, 10**400]], "lists of numbers"),
        ("abc", "polygons"),
        (7, "polygons"),
        ({}, "polygons"),
        ({"counts": 5, "size": [90, 130]}, "polygons"),
        ({"counts": [90 * 130]}, "size is None"),
        ({"counts": [90 * 130], "size": [130, 90]}, r"size is \[130, 90\]"),
        ({"counts": [5], "size": [90, 130]}, "give 5 pixels"),
        ({"counts": ["a"], "size": [90, 130]}, "whole numbers"),
        ({"counts": [[1], [2, 3]], "size": [90, 130]}, "whole numbers"),
        ({"counts": "~~", "size": [90, 130]}, "damaged"),
    ],
)
def test_a_malformed_segmentation_is_refused_with_the_annotation(shape: Any, said: str) -> None:
    good, bad = generated_record(0), generated_record(1)
    bad["annotations"][3] |= {"id": 4711, "segmentation": shape}
    with pytest.raises(ValueError, match=rf"annotation 4711: its segmentation is .*{said}"):
        Masks.of([good, bad])


def test_a_moved_record_without_the_original_run_lengths_is_refused() -> None:
    moved = move_record(generated_record(0), [[0.5, 0, 0], [0, 0.5, 0]], (45, 65))
    del moved["annotations"][4]["original_segmentation"]
    with pytest.raises(ValueError, match=r"annotation 104: .*original_segmentation"):
        Masks.of([moved])
