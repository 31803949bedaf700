"""Annotations as fields of a batch: ragged arrays, whatever the examples have."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import ExampleError, FolderSource, ImageIterator, boxes
from pipelines.batching.fields import FieldReader, absent_fields, gather_field
from pipelines.boxes import Masks, Packed
from pipelines.sources.source import Example
from pipelines.storage import json_text
from pipelines.storage.json_text import parse_json, parse_json_quickly

from .conftest import png

FIELDS = ("boxes", "classes", "crowd", "keypoints", "masks", "captions")
IMAGE = {"width": 20, "height": 10}
RING = [1.0, 1.0, 9.0, 1.0, 9.0, 5.0]


def record(num: int, **changes: Any) -> dict[str, Any]:
    objects = [
        {
            "id": i,
            "bbox": [i, 1, 4, 3],
            "class": i,
            "iscrowd": 0,
            "segmentation": [RING],
            "keypoints": [1, 2, 2] * i,
        }
        for i in range(num)
    ]
    captions = [{"id": 1, "caption": f"{num} things"}]
    return {"image": IMAGE, "annotations": objects, "captions": captions, **changes}


def example(content: Any) -> Example:
    fields = {} if content is None else {"json": json.dumps(content).encode()}
    return Example(0, "key", b"", "here.tar", fields=fields)


def gathered(name: str, *contents: Any) -> Any:
    return gather_field(name, [FieldReader(example(content)).value(name) for content in contents])


def test_objects_of_a_batch_are_packed_whatever_examples_have() -> None:
    contents = (record(2), None, {"factor": 3}, record(0), record(1))
    found = {name: gathered(name, *contents) for name in FIELDS}
    for name in ("boxes", "classes", "crowd", "keypoints"):
        assert isinstance(found[name], Packed)
        assert found[name].offsets.tolist() == [0, 2, 2, 2, 2, 3]
    assert found["boxes"].values.tolist() == [[0, 1, 4, 3], [1, 1, 4, 3], [0, 1, 4, 3]]
    assert found["classes"].values.tolist() == [0, 1, 0]
    assert found["keypoints"].values.shape == (3, 1, 3)
    assert isinstance(found["masks"], Masks)
    assert [found["masks"][number].num_objects for number in range(5)] == [2, 0, 0, 0, 1]
    assert found["captions"] == [["2 things"], [], [], ["0 things"], ["1 things"]]


def test_a_batch_without_any_annotation_has_the_same_types() -> None:
    for name, kind in (("boxes", Packed), ("masks", Masks), ("captions", list)):
        assert isinstance(gathered(name, None, {"factor": 3}), kind)
    assert gathered("boxes", None).values.shape == (0, 4)
    assert gathered("keypoints", None).values.shape == (0, 0, 3)


def test_a_member_of_that_name_comes_before_annotations() -> None:
    own = Example(0, "key", b"", fields={"boxes": b"mine", "json": json.dumps(record(1)).encode()})
    assert gather_field("boxes", [FieldReader(own).value("boxes")]) == [b"mine"]


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("boxes", {"bbox": [1, 2, float("nan"), 3]}, "annotation 0: its bbox"),
        ("boxes", {"bbox": [1, 2]}, "annotation 0: its bbox"),
        ("classes", {"class": "dog"}, "annotation 0: its class"),
        ("masks", {"segmentation": [[1, 2, 3]]}, "annotation 0: its segmentation"),
        ("masks", {"segmentation": {"counts": [5], "size": [10, 20]}}, "annotation 0: its segmentation"),
        ("keypoints", {"keypoints": [1, 2]}, "annotation 0: its keypoints"),
    ],
)
def test_damaged_annotations_name_the_example_and_the_annotation(
    name: str, changes: dict[str, Any], said: str
) -> None:
    content = record(1)
    content["annotations"][0] |= changes
    with pytest.raises(ExampleError, match="its field 'json' is damaged") as caught:
        FieldReader(example(content)).value(name)
    assert said in str(caught.value)
    assert "here.tar" in str(caught.value)


def test_all_fields_of_an_example_are_read_from_one_json(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(dict[str, bytes]):
        num = 0

        def get(self, name: str, default: Any = None) -> Any:
            self.num += name == "json" and name in self
            return super().get(name, default)

    fields = Counting(example(record(2)).fields)
    reader = FieldReader(Example(0, "key", b"", fields=fields))
    for name in (*FIELDS, "json", *FIELDS):
        reader.value(name)
    assert fields.num == 2, "once by the quick parser, once for the member itself"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": [1, 2.5, -0.0, 1e5, "é\\u0000"]}',
        "[NaN, -Infinity]",
        '"\\ud800"',
        "[" * 500 + "]" * 500,
        " 1 ",
        '{"a":1,"a":2}',
    ],
)
def test_the_quick_parser_says_what_the_usual_one_says(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = parse_json_quickly(text.encode())
    assert repr(found) == repr(parse_json(text))
    monkeypatch.setitem(sys.modules, "orjson", None)
    json_text.orjson_function.cache_clear()
    assert repr(parse_json_quickly(text.encode())) == repr(found)
    json_text.orjson_function.cache_clear()


@pytest.mark.parametrize("damaged", [b"{", b"\xff", b""])
def test_the_quick_parser_refuses_what_the_usual_one_refuses(damaged: bytes) -> None:
    with pytest.raises(ValueError, match=r"Expecting|decode"):
        parse_json_quickly(damaged)


def test_a_plain_folder_delivers_them_as_shards_do(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(png(number))
        (tmp_path / f"{number}.json").write_text(json.dumps(record(number)))
    batch = next(iter(ImageIterator(FolderSource(tmp_path), size=10, batch_size=3, fields=FIELDS)))
    assert np.diff(batch.fields["boxes"].offsets).tolist() == [0, 1, 2]
    assert boxes.place(batch).fields["masks"].values.shape == (3, 10, 10)


def test_ragged_fields_move_to_a_device(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "a.json").write_text(json.dumps(record(2)))
    batch = next(iter(ImageIterator(tmp_path, size=10, batch_size=1, fields=("json", *FIELDS))))
    placed = boxes.place(batch)
    for one in (batch.to("cpu"), placed.to("cpu"), batch.to("meta")):
        assert isinstance(one.fields["boxes"].values, torch.Tensor)
        assert isinstance(one.fields["masks"].offsets, torch.Tensor)
        assert one.fields["boxes"].values.device == one.data.device
        assert one.fields["captions"] == [["2 things"]]
    assert torch.equal(batch.to("cpu").fields["boxes"][0], torch.tensor([[0.0, 1, 4, 3], [1, 1, 4, 3]]))
    assert isinstance(batch.fields["boxes"].values, np.ndarray), "the batch itself stays as it was"


def test_a_batch_that_was_moved_is_not_placed_and_the_order_is_said(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "a.json").write_text(json.dumps(record(2)))
    for name in ("boxes", "keypoints", "masks"):
        batch = next(iter(ImageIterator(tmp_path, size=10, batch_size=1, fields=(name,))))
        with pytest.raises(ValueError, match=r"Place the batch before .* boxes\.place\(batch\)\.to\(device\)\."):
            boxes.place(batch.to("cpu"))
        assert len(boxes.place(batch).to("cpu").fields[name][0]) == 2


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("box", "boxes"),
        ("bbox", "boxes"),
        ("Mask", "masks"),
        ("class", "classes"),
        ("caption", "captions"),
        ("jsn", "json"),
        ("f0.np", "f0.npy"),
        ("zzz", None),
    ],
)
def test_a_name_that_no_example_has_is_told_with_the_one_that_is_like_it(
    tmp_path: Path, asked: str, meant: str | None
) -> None:
    (tmp_path / "a.png").write_bytes(png(1))
    (tmp_path / "a.json").write_text(json.dumps(record(2)))
    np.save(tmp_path / "a.f0.npy", np.zeros(3))
    with pytest.warns(UserWarning, match=f"has a field '{asked}', so it is None") as warned:
        next(iter(ImageIterator(tmp_path, size=10, batch_size=1, fields=(asked,))))
    said = str(warned[0].message)
    assert (f"Did you mean '{meant}'?" in said) if meant else ("mean" not in said)


def test_a_first_batch_without_the_field_is_warned_of() -> None:
    values = {"boxes": gathered("boxes", None), "captions": gathered("captions", None), "npy": [None]}
    assert absent_fields(values) == ["npy"]
