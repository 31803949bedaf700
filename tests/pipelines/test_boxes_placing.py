"""Boxes, polygons and keypoints of an output lie where exact arithmetic puts them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipelines import Batch
from pipelines.boxes import (
    Masks,
    Packed,
    apply,
    compose,
    invert,
    orientation_matrix,
    pack_keypoints,
    place,
    place_boxes,
    place_keypoints,
    place_masks,
    place_polygons,
    record_boxes,
    record_keypoints,
)

from .annotated import generated_record

SIZE = (40, 60)
MATRICES = {
    "identity": [[1, 0, 0], [0, 1, 0]],
    "scaled and shifted": [[0.37, 0, -11.5], [0, 0.61, 3.25]],
    "mirrored": [[-0.5, 0, 55], [0, 0.5, 0]],
    "turned": [[0, -0.4, 50], [0.7, 0, -9]],
    "transposed": [[0, 0.4, 0], [0.4, 0, 0]],
}


def exact(matrix: Any, x: float, y: float) -> tuple[Fraction, Fraction]:
    (a, b, c), (d, e, f) = [[Fraction(float(number)) for number in row] for row in matrix]
    return a * Fraction(x) + b * Fraction(y) + c, d * Fraction(x) + e * Fraction(y) + f


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_boxes_are_those_of_exact_arithmetic(matrix: Any) -> None:
    boxes = (np.random.default_rng(0).random((300, 4)) * [200, 120, 90, 60] - [50, 30, 0, 0]).astype(np.float32)
    boxes[:5, 2] = 0
    placed = place_boxes(boxes, matrix, SIZE)
    assert placed.boxes.dtype == placed.visible.dtype == np.float32
    num_cut = 0
    for box, found, visible in zip(boxes.tolist(), placed.boxes.tolist(), placed.visible.tolist(), strict=True):
        x, y, width, height = map(Fraction, box)
        corners = [exact(matrix, x + i * width, y + j * height) for i in (0, 1) for j in (0, 1)]  # type: ignore[arg-type]
        low, high = [min(c[k] for c in corners) for k in (0, 1)], [max(c[k] for c in corners) for k in (0, 1)]
        cut_low = [max(low[k], Fraction(0)) for k in (0, 1)]
        cut_high = [min(high[k], Fraction(SIZE[1 - k])) for k in (0, 1)]
        sides = [max(cut_high[k] - cut_low[k], Fraction(0)) for k in (0, 1)]
        area = (high[0] - low[0]) * (high[1] - low[1])
        if area == 0 or sides[0] * sides[1] == 0:
            assert visible == 0
            assert found == [0, 0, 0, 0]
            continue
        num_cut += area != sides[0] * sides[1]
        assert found == pytest.approx([*map(float, (*cut_low, *sides))], abs=1e-3)
        assert visible == pytest.approx(float(sides[0] * sides[1] / area), abs=1e-5)
    assert num_cut > 20


def test_boxes_that_touch_a_border_are_not_visible_outside_and_whole_inside() -> None:
    placed = place_boxes([[60, 0, 5, 5], [-5, 0, 5, 5], [0, 0, 60, 40], [55, 35, 5, 5]], MATRICES["identity"], SIZE)
    assert placed.visible.tolist() == [0, 0, 1, 1]
    assert place_boxes(np.zeros((0, 4)), MATRICES["identity"], SIZE).boxes.shape == (0, 4)
    with pytest.raises(FrozenInstanceError):
        placed.visible = placed.visible  # type: ignore[misc]


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_keypoints_are_those_of_exact_arithmetic(matrix: Any) -> None:
    rng = np.random.default_rng(1)
    points = (rng.random((50, 6, 3)) * [160, 100, 0] - [20, 20, 0]).astype(np.float32)
    points[..., 2] = rng.integers(0, 3, (50, 6))
    placed = place_keypoints(points, matrix, SIZE)
    assert placed.points.dtype == np.float32
    num_inside = 0
    for old, new in zip(points.reshape(-1, 3).tolist(), placed.points.reshape(-1, 3).tolist(), strict=True):
        x, y = exact(matrix, old[0], old[1])
        if old[2] > 0 and 0 <= x < SIZE[1] and 0 <= y < SIZE[0]:
            assert new == pytest.approx([float(x), float(y), old[2]], abs=1e-3)
            num_inside += 1
        else:
            assert new == [0, 0, 0]
    assert 20 < num_inside == placed.num_visible.sum()


def test_left_and_right_change_places_only_where_the_picture_is_mirrored() -> None:
    points = np.array([[[1, 1, 2], [2, 2, 1], [3, 3, 2]]], np.float32)
    for matrix, expected in [
        ([[-1, 0, 10], [0, 1, 0]], [[9, 1, 2], [7, 3, 2], [8, 2, 1]]),
        ([[1, 0, 0], [0, -1, 10]], [[1, 9, 2], [3, 7, 2], [2, 8, 1]]),
        ([[0, -1, 10], [1, 0, 0]], [[9, 1, 2], [8, 2, 1], [7, 3, 2]]),
        ([[-1, 0, 10], [0, -1, 10]], [[9, 9, 2], [8, 8, 1], [7, 7, 2]]),
    ]:
        assert place_keypoints(points, matrix, (10, 10), pairs=[(1, 2)]).points[0].tolist() == expected
    with pytest.raises(ValueError, match=r"\(1, 3\); there are 3 keypoints"):
        place_keypoints(points, MATRICES["identity"], SIZE, pairs=[(1, 3)])
    assert place_keypoints(np.zeros((2, 0, 3)), MATRICES["mirrored"], SIZE, pairs=[(1, 3)]).points.shape == (
        2,
        0,
        3,
    )


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_a_clipped_convex_polygon_is_the_intersection_of_half_planes(matrix: Any) -> None:
    rng = np.random.default_rng(2)
    num_cut = 0
    for _ in range(60):
        angles = np.sort(rng.random(9)) * 2 * np.pi
        ring = rng.random(2) * [130, 90] + 25 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        placed = place_polygons([ring.ravel().tolist()], matrix, SIZE)
        expected = area_by_columns(apply(matrix, ring))
        whole = area_by_columns(apply(matrix, ring), clip=False)
        assert placed.visible == pytest.approx(expected / whole, abs=2e-3)
        num_cut += 0 < expected < 0.99 * whole
        for clipped in placed.rings:
            assert (clipped >= 0).all()
            assert (clipped <= [SIZE[1], SIZE[0]]).all()
    assert num_cut > 5


def area_by_columns(ring: Any, *, clip: bool = True) -> float:
    """The area of a convex polygon inside the output, summed over thin columns."""
    low, high = ring[:, 0].min(), ring[:, 0].max()
    columns = np.linspace(low, high, 4001)
    x = (columns[1:] + columns[:-1]) / 2
    following = np.roll(ring, -1, axis=0)
    top, bottom = np.full(len(x), np.inf), np.full(len(x), -np.inf)
    for (x0, y0), (x1, y1) in zip(ring, following, strict=True):
        inside = (np.minimum(x0, x1) <= x) & (x < np.maximum(x0, x1))
        y = y0 + (x - x0) / np.where(x1 == x0, 1, x1 - x0) * (y1 - y0)
        top, bottom = np.where(inside, np.minimum(top, y), top), np.where(inside, np.maximum(bottom, y), bottom)
    if clip:
        top, bottom = np.maximum(top, 0), np.minimum(bottom, SIZE[0])
        bottom = np.where((x < 0) | (x > SIZE[1]), -np.inf, bottom)
    return float(np.maximum(bottom - top, 0).sum() * (columns[1] - columns[0]))


def test_polygons_inside_stay_as_they_are_and_those_outside_go() -> None:
    inside, outside = [1.0, 1.0, 9.0, 1.0, 5.0, 9.0], [-9.0, 1.0, -1.0, 1.0, -5.0, 9.0]
    placed = place_polygons([inside, outside, np.zeros((0, 2)), [1, 1]], MATRICES["identity"], SIZE)
    assert [ring.ravel().tolist() for ring in placed.rings] == [inside]
    assert placed.visible == pytest.approx(0.5)
    assert place_polygons([], MATRICES["identity"], SIZE).visible == 0
    frame = [[-5, -5, 100, -5, 100, 100, -5, 100]]
    assert sorted(place_polygons(frame, MATRICES["identity"], SIZE).rings[0].tolist()) == [
        [0, 0],
        [0, 40],
        [60, 0],
        [60, 40],
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_moves_pixels_as_pillow_does(orientation: int) -> None:
    raw = np.arange(12, dtype=np.uint8).reshape(3, 4)
    picture = Image.fromarray(raw)
    picture.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(picture))
    matrix = orientation_matrix(orientation, width=4, height=3)
    for row in range(3):
        for column in range(4):
            x, y = apply(matrix, [column + 0.5, row + 0.5]).tolist()
            assert upright[int(y), int(x)] == raw[row, column]
    with pytest.raises(ValueError, match="1 to 8"):
        orientation_matrix(orientation + 8, 4, 3)


@pytest.mark.parametrize("matrix", MATRICES.values(), ids=MATRICES)
def test_an_inverse_takes_back_and_compose_is_one_after_the_other(matrix: Any) -> None:
    points = np.random.default_rng(3).random((20, 2)) * 100
    assert apply(invert(matrix), apply(matrix, points)) == pytest.approx(points)
    other = [[0.3, 0, 4], [0, -2, 5]]
    assert apply(compose(other, matrix), points) == pytest.approx(apply(other, apply(matrix, points)))


def batch_of(records: list[Any], **fields: Any) -> Batch:
    matrices = np.array([MATRICES["scaled and shifted"], MATRICES["mirrored"], MATRICES["identity"]], np.float32)
    data = np.zeros((3, 3, *SIZE), np.uint8)
    whole = {
        "boxes": Packed.of([record_boxes(record) for record in records]),
        "keypoints": pack_keypoints([record_keypoints(record) for record in records]),
        "masks": Masks.of(records),
        "json": records,
    }
    return Batch(data, ["a", "b", "c"], np.arange(3), {}, {**whole, **fields}, transform=matrices)


def test_a_batch_is_placed_as_its_examples_are() -> None:
    records = [generated_record(1), generated_record(2), None]
    batch = batch_of(records)
    placed = place(batch, pairs=[(0, 2)])
    assert batch.fields["masks"].num_objects == 14, "the batch given is not changed"
    assert set(placed.fields) == {"boxes", "keypoints", "masks", "visible", "json"}
    assert placed.fields["masks"].values.shape == (14, *SIZE)
    for index, record in enumerate(records):
        matrix = batch.transform[index]  # type: ignore[index]
        boxes = place_boxes(record_boxes(record), matrix, SIZE)
        assert np.array_equal(placed.fields["boxes"][index], boxes.boxes)
        assert np.array_equal(placed.fields["visible"][index], boxes.visible)
        points = record_keypoints(record)
        if len(points):
            expected = place_keypoints(points, matrix, SIZE, pairs=[(0, 2)]).points
            assert np.array_equal(placed.fields["keypoints"][index], expected)
        assert np.array_equal(placed.fields["masks"][index], place_masks(Masks.of([record]), matrix, SIZE))
    assert placed.fields["masks"].values.any()


def test_a_batch_without_objects_is_placed() -> None:
    placed = place(batch_of([None, None, None]))
    assert placed.fields["masks"].values.shape == (0, *SIZE)
    assert placed.fields["boxes"].values.shape == (0, 4)
    assert placed.fields["visible"].offsets.tolist() == [0, 0, 0, 0]


def test_a_batch_that_cannot_be_placed_is_refused() -> None:
    batch = batch_of([generated_record(1), None, None])
    with pytest.raises(ValueError, match="placed before"):
        place(place(batch))
    with pytest.raises(ValueError, match="no transform"):
        place(batch.replace(transform=None))
    with pytest.raises(ValueError, match="ask its iterator"):
        place(batch.replace(fields={"json": []}))
