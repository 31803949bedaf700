"""A whole batch is placed in one go, and each example as if it were alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipelines import Batch
from pipelines.boxes import (
    Masks,
    Packed,
    compose,
    move_record,
    orientation_matrix,
    pack_keypoints,
    place,
    place_boxes,
    place_keypoints,
    place_masks,
    record_boxes,
    record_keypoints,
)

from .annotated import generated_record, pillow_masks

SIZE = (60, 84)


def mixed_batch() -> tuple[list[Any], Batch]:
    """Pictures of different sizes, turned in all eight ways, some without a record, one outside of its output."""
    records: list[Any] = []
    matrices = []
    for number in range(16):
        height, width = 50 + 7 * number, 130 - 5 * number
        record = generated_record(number, height, width)
        turn = orientation_matrix(number % 8 + 1, width=width, height=height)
        matrix = compose([[0.731, 0, -2.3], [0, 0.633, 1.7]], turn)
        if number % 5 == 4:
            record = move_record(record, [[0.5, 0, 0], [0, 0.5, 0]], (height // 2, width // 2))
            matrix = compose(matrix, [[2, 0, 0], [0, 2, 0]])
        records.append(record)
        matrices.append(compose([[1, 0, 1000 * (number == 3)], [0, 1, 0]], matrix))
        if number % 6 == 0:
            records.append(None)
            matrices.append(np.zeros((2, 3)))  # of a picture without objects, so not looked at
    fields = {
        "boxes": Packed.of([record_boxes(record) for record in records]),
        "keypoints": pack_keypoints([record_keypoints(record) for record in records]),
        "masks": Masks.of(records),
    }
    num = len(records)
    data = np.zeros((num, 3, *SIZE), np.uint8)
    batch = Batch(data, [""] * num, np.arange(num), {}, fields, transform=np.array(matrices, np.float32))
    return records, batch


@pytest.mark.parametrize(
    ("num_crossings", "num_pixels"), [(1 << 20, 1 << 16), (40, 7), (1000, 1000)], ids=["whole", "cut", "some"]
)
def test_every_example_of_a_batch_is_placed_as_if_it_were_alone(
    num_crossings: int, num_pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, batch = mixed_batch()
    matrices: Any = batch.transform
    expected = [
        place_masks(Masks.of([record]), matrix, SIZE) for record, matrix in zip(records, matrices, strict=True)
    ]
    monkeypatch.setattr("pipelines.boxes.polygon_grid._MOST", num_crossings)
    monkeypatch.setattr("pipelines.boxes.crossings._AT_ONCE", num_pixels)
    placed = place(batch, pairs=[(0, 2)])
    for index, (record, matrix) in enumerate(zip(records, matrices, strict=True)):
        assert np.array_equal(placed.fields["masks"][index], expected[index]), index
        boxes = place_boxes(record_boxes(record), matrix, SIZE)
        assert np.array_equal(placed.fields["boxes"][index], boxes.boxes)
        assert np.array_equal(placed.fields["visible"][index], boxes.visible)
        if record is not None:
            points = place_keypoints(record_keypoints(record), matrix, SIZE, pairs=[(0, 2)]).points
            assert np.array_equal(placed.fields["keypoints"][index], points)
    masks = placed.fields["masks"].values
    assert masks[placed.fields["masks"].offsets[4] : placed.fields["masks"].offsets[5]].sum() == 0, "outside"
    assert masks.any(axis=(1, 2)).sum() > 70


def test_masks_of_a_mixed_batch_are_those_of_pycocotools_and_pillow() -> None:
    records, batch = mixed_batch()
    placed = place(batch).fields["masks"]
    both = either = 0
    for index, (record, matrix) in enumerate(zip(records, batch.transform, strict=True)):  # type: ignore[arg-type]
        if record is not None and "stored" not in record:
            expected = pillow_masks(record, matrix, SIZE)
            both += int((placed[index] & expected).sum())
            either += int((placed[index] | expected).sum())
    assert either > 10_000
    assert both / either > 0.995
