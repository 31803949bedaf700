"""Polygons and run lengths cover the pixels that COCO's own programs say."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.boxes import mask_to_runs, polygon_mask, runs_to_mask, runs_to_string, string_to_runs

from .annotated import coco_records, pycocotools_mask, random_ring

coco_mask = pytest.importorskip("pycocotools.mask")


@pytest.mark.parametrize("kind", range(6), ids=["anywhere", "outside", "tiny", "half pixels", "twins", "thin"])
def test_a_polygon_covers_what_pycocotools_covers(kind: int) -> None:
    rng = np.random.default_rng(kind)
    num_inside = 0
    for _ in range(350):
        height, width = rng.integers(1, 70, 2).tolist()
        rings = [random_ring(rng, height, width, kind) for _ in range(rng.integers(1, 4))]
        found = polygon_mask(rings, (height, width))
        assert np.array_equal(found, pycocotools_mask(rings, height, width)), (rings, height, width)
        num_inside += int(found.sum())
    assert num_inside > 500, "the polygons must cover something"


def test_large_polygons_cover_what_pycocotools_covers() -> None:
    rng = np.random.default_rng(1)
    for number in range(30):
        height, width = rng.integers(700, 1500, 2).tolist()
        rings = [random_ring(rng, height, width, number % 6)]
        assert np.array_equal(polygon_mask(rings, (height, width)), pycocotools_mask(rings, height, width))


@pytest.mark.parametrize(
    "ring", [[3, 4], [1, 1, 5, 6], [2, 2, 2, 2, 2, 2], [0, 0, 9, 0, 4, 0], [2.5, 1, 2.5, 8, 2.5, 3]]
)
def test_a_ring_without_area_covers_what_pycocotools_covers(ring: list[float]) -> None:
    assert np.array_equal(polygon_mask([ring], (9, 9)), pycocotools_mask([ring], 9, 9))
    assert not polygon_mask([], (9, 9)).any()


def test_every_polygon_of_coco_covers_what_pycocotools_covers(shared_data: Path) -> None:
    num_polygons = 0
    for record in coco_records(shared_data):
        height, width = record["image"]["height"], record["image"]["width"]
        for shape in (annotation["segmentation"] for annotation in record["annotations"]):
            if isinstance(shape, list):
                assert np.array_equal(polygon_mask(shape, (height, width)), pycocotools_mask(shape, height, width))
                num_polygons += 1
            else:
                mask = pycocotools_mask(shape, height, width)
                assert np.array_equal(runs_to_mask(shape["counts"], (height, width)), mask)
                assert mask_to_runs(mask).tolist() == shape["counts"]
    assert num_polygons > 1000


def test_a_sample_of_rows_and_columns_is_that_part_of_the_mask() -> None:
    rng = np.random.default_rng(2)
    for number in range(300):
        rings = [random_ring(rng, 40, 50, number % 6)]
        rows, columns = np.sort(rng.integers(0, 40, 12)), np.sort(rng.integers(0, 50, 15))
        sample = polygon_mask(rings, (40, 50), rows=rows, columns=columns)
        assert np.array_equal(sample, polygon_mask(rings, (40, 50))[np.ix_(rows, columns)])


def test_rings_that_run_to_and_fro_cover_what_pycocotools_covers_in_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(5)
    rings = [(rng.random((num, 2)) * [90, 70]).ravel().tolist() for num in (300, 3, 0, 700)]
    monkeypatch.setattr("pipelines.boxes.polygon_grid._MOST", 1000)
    expected = pycocotools_mask([ring for ring in rings if ring], 70, 90)
    assert np.array_equal(polygon_mask(rings, (70, 90)), expected)
    monkeypatch.undo()
    wild = (rng.random((20_000, 2)) * [400, 300]).ravel().tolist()
    tracemalloc.start()
    try:
        polygon_mask([wild], (300, 400))
        assert tracemalloc.get_traced_memory()[1] < 300e6, "all 2.7 million crossings at once take 400 MB"
    finally:
        tracemalloc.stop()


def random_mask(rng: np.random.Generator) -> Any:
    height, width = rng.integers(1, 60, 2)
    coarse = rng.random((height // 7 + 1, width // 5 + 1)) < rng.random()
    return np.kron(coarse, np.ones((7, 5), np.bool_))[:height, :width]


def test_run_lengths_and_their_strings_are_those_of_pycocotools() -> None:
    rng = np.random.default_rng(3)
    for number in range(500):
        mask = random_mask(rng) if number % 3 else rng.random(rng.integers(1, 30, 2)) < 0.5
        coded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        runs = mask_to_runs(mask)
        assert runs.dtype == np.uint32
        assert runs_to_string(runs).encode() == coded["counts"]
        assert np.array_equal(string_to_runs(coded["counts"], mask.shape), runs)
        assert np.array_equal(runs_to_mask(runs, mask.shape), mask)


def test_long_runs_survive_the_string() -> None:
    for runs in ([0, 1 << 20], [1 << 20], [1000, 48_000, 3, 999_000, 48_573]):
        size = (1 << 10, 1 << 10)
        runs[-1] += (1 << 20) - sum(runs)
        assert string_to_runs(runs_to_string(runs), size).tolist() == runs


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda: string_to_runs("52", (3, 4)), "give 7 pixels in all; 3 × 4 are 12"),
        (lambda: string_to_runs("", (3, 4)), "give 0 pixels"),
        (lambda: string_to_runs("5P", (3, 4)), "damaged"),
        (lambda: string_to_runs("5 2", (3, 4)), "damaged"),
        (lambda: string_to_runs("5ü2", (3, 4)), "damaged|0 to"),
        (lambda: string_to_runs("P" * 12 + "0", (3, 4)), "too many characters"),
        (lambda: runs_to_mask([-1, 13], (3, 4)), "must be 0 to"),
        (lambda: runs_to_mask([1 << 40], (3, 4)), "must be 0 to"),
        (lambda: runs_to_mask([1.5, 10.5], (3, 4)), "whole numbers"),
        (lambda: runs_to_mask([[12]], (3, 4)), "whole numbers"),
        (lambda: runs_to_mask([1 << 30], (1 << 15, 1 << 15)), "it may have 1 to 268,435,456"),
        (lambda: runs_to_mask([0], (0, 4)), "0 × 4 pixels"),
    ],
)
def test_damaged_run_lengths_are_refused(read: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read()


def test_random_damage_to_a_string_is_refused_or_gives_a_mask_of_the_size() -> None:
    rng = np.random.default_rng(4)
    whole, refused = runs_to_string(mask_to_runs(rng.random((20, 20)) < 0.5)), 0
    for _ in range(500):
        text = bytearray(whole.encode())
        text[rng.integers(len(text))] = rng.integers(0, 256)
        try:
            assert runs_to_mask(string_to_runs(bytes(text), (20, 20)), (20, 20)).shape == (20, 20)
        except ValueError:
            refused += 1
    assert refused > 200
