"""What packing leaves in a record can be read, and what it cannot repair is said; files that are no tables say why."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pipelines
from pipelines import make_shards
from pipelines.boxes import is_record, record_boxes, record_captions, record_classes, record_crowd, record_keypoints
from pipelines.boxes.masks import Masks
from pipelines.errors import SourceError
from pipelines.sharding.annotations import coco_reading, json_bytes
from pipelines.sharding.annotations.coco_reading import read_batches
from pipelines.sharding.annotations.problems import ProblemLog
from pipelines.sharding.annotations.table_reading import read_table
from pipelines.sharding.modalities.annotated_picture import annotated_fields

from .annotation_files import annotation, built, coco, image
from .coco_folder import CocoFolder, make_coco_folder
from .wav_files import packed

RING = [1, 1, 5, 1, 5.5, 5]
READERS: tuple[Callable[[Any], Any], ...] = (
    record_boxes, record_classes, record_crowd, record_keypoints, record_captions, lambda record: Masks.of([record]),
)  # fmt: skip
CHANGES: list[tuple[dict[str, Any], str, Any]] = [
    ({"iscrowd": None}, "", None),
    ({"iscrowd": True}, "", True),
    ({"iscrowd": 2}, "bad crowd", 0),
    ({"iscrowd": "yes"}, "bad crowd", 0),
    ({"iscrowd": [1]}, "bad crowd", 0),
    ({"iscrowd": {}}, "bad crowd", 0),
    ({"iscrowd": 1.0}, "bad crowd", 0),
    ({"segmentation": [[*RING, 2e8, 1]]}, "bad polygon", None),
    ({"segmentation": [RING, [1, 1, 5, 1, 5, -100000001]]}, "bad polygon", None),
    ({"segmentation": [[1e8, 1e8, 5, 1, 5, -1e8]]}, "", [[1e8, 1e8, 5, 1, 5, -1e8]]),
    ({"keypoints": [1, 1e9, 2]}, "bad keypoints", None),
    ({"keypoints": [-1e9, 1, 2]}, "bad keypoints", None),
    ({"segmentation": {"size": [30, 40], "counts": "```````P1"}}, "bad run lengths", None),
]


@pytest.mark.parametrize("number", range(len(CHANGES)))
@pytest.mark.parametrize("on", [True, False])
def test_what_packing_leaves_in_a_record_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, on: bool
) -> None:
    if not on:
        for module in (coco_reading, json_bytes):
            monkeypatch.setattr(module, "orjson_function", lambda name: None)
    change, kind, expected = CHANGES[number]
    report, store = built(tmp_path, coco(tmp_path / "a.json", [image()], [annotation(7), annotation(8, **change)]))
    assert [problem.kind for problem in report.problems] == ([kind] if kind else [])
    record = store.record("a.jpg")
    assert record is not None
    assert [one["id"] for one in record["annotations"]] == [7, 8]
    assert record["annotations"][1][next(iter(change))] == expected
    assert is_record(record)
    for read in READERS:
        read(record)


@pytest.mark.parametrize("box", [[1, 1, 1e39, 1], [1e9, 1, 2, 2], [-1e9, 1, 2, 2]])
def test_boxes_that_cannot_be_read_are_left_out(tmp_path: Path, box: list[float]) -> None:
    report, store = built(tmp_path, coco(tmp_path / "a.json", [image()], [annotation(7), annotation(8, bbox=box)]))
    assert [problem.kind for problem in report.problems] == ["bad box"]
    assert [one["id"] for one in (store.record("a.jpg") or {})["annotations"]] == [7]


@pytest.mark.parametrize("value", [True, [], {}, None])
def test_a_category_id_that_is_no_id_is_an_unknown_category(tmp_path: Path, value: Any) -> None:
    without = annotation(9)
    del without["category_id"]
    path = coco(tmp_path / "a.json", [image()], [annotation(7, category_id=value), without, annotation(8)])
    report, store = built(tmp_path, path)
    assert [(problem.kind, problem.count) for problem in report.problems] == [("unknown category", 1)]
    assert [one["class"] for one in (store.record("a.jpg") or {})["annotations"]] == [-1, -1, 0]


def test_a_whole_category_id_with_a_point_is_the_same_id(tmp_path: Path) -> None:
    report, store = built(tmp_path, coco(tmp_path / "a.json", [image()], [annotation(category_id=1.0)]))
    assert report.problems == ()
    assert (store.record("a.jpg") or {})["annotations"][0]["class"] == 0


@pytest.mark.parametrize("section", ["images", "annotations", "categories"])
@pytest.mark.parametrize(
    ("value", "said"), [({}, "an object"), ({"a": 1}, "an object"), ("x", '"x"'), (5, "5"), (None, "null")]
)
def test_a_section_that_is_no_list_is_a_problem(tmp_path: Path, section: str, value: Any, said: str) -> None:
    path = coco(tmp_path / "a.json", [image()], [annotation()])
    path.write_text(json.dumps({**json.loads(path.read_text()), section: value}))
    log = ProblemLog()
    assert {batch.section for batch in read_batches(path, log)} == {"images", "annotations", "categories"} - {
        section
    }
    assert [problem.kind for problem in log.problems()] == ["section"]
    assert log.problems()[0].first == f"a.json: {section} is {said}"


def test_a_compressed_file_gives_all_that_comes_before_its_cut(tmp_path: Path) -> None:
    path = coco(tmp_path / "a.json.gz", [image(number, f"{number * 7919}.jpg") for number in range(300)], [])
    whole = gzip.compress(path.read_bytes())
    counts = []
    for length in (len(whole) // 2, len(whole) - 200, len(whole) - 4):
        path.write_bytes(whole[:length])
        log = ProblemLog()
        counts.append(sum(len(batch.entries) for batch in read_batches(path, log)))
        assert [problem.kind for problem in log.problems()] == ["damaged"]
        assert "its compressed content is cut off or damaged" in log.problems()[0].first
    assert 100 < counts[0] < counts[1] < counts[2] == 301


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\xef\xbb\xbf \n", "it is empty"),
        (json.dumps({"images": []}).encode("utf-16"), "it is a text in UTF-16"),
        (b'{"id": 1}\n{"id": 2}\n', "it is JSON Lines"),
        (gzip.compress(b"", mtime=0), "it is empty"),
    ],
)
def test_a_file_that_is_no_annotation_file_says_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(SourceError, match=f"not an annotation file: {reason}"):
        list(read_batches(tmp_path / "a.json", ProblemLog()))


def test_what_is_too_deep_or_too_long_is_found_by_its_place(tmp_path: Path) -> None:
    path, before = tmp_path / "a.json", b'{"images": [{"id": 1}, {"id": 2}, '
    path.write_bytes(before + b'{"a": "' + b"x" * 5_000_000 + b'"}]}')
    with pytest.raises(
        SourceError, match=rf"begins at byte {len(before) + 6} has more than 4 MiB, after 2 entries of i"
    ):
        list(read_batches(path, ProblemLog()))
    path.write_bytes(before + b"[" * 200)
    with pytest.raises(SourceError, match="nested more than 100 deep before byte 234"):
        list(read_batches(path, ProblemLog()))


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("t.csv", 'file,x\na,1\nb,"2\nc,3\n', "the quote that begins in line 3 does not end"),
        ("t.csv", 'file,x,y\na,"1\n",2\nb,"2\n\n","4\nc,3', "the quote that begins in line 6 does not end"),
        ("t.csv", 'file,x\na,"', "the quote that begins in line 2 does not end"),
        ("t.jsonl", "file,x\na,1\n", r"line 1 is not a JSON object \(file,x\)"),
        ("t.jsonl", "", "it is empty"),
    ],
)
def test_a_table_that_cannot_be_read_says_where(tmp_path: Path, name: str, text: str, reason: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=reason):
        list(read_table(tmp_path / name, "file", ProblemLog()))


def test_a_quote_that_ends_with_the_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('file,x\na,"1\n2"', encoding="utf-8")
    assert [row.columns for row in read_table(tmp_path / "t.csv", "file", ProblemLog())] == [
        {"file": "a", "x": "1\n2"}
    ]


VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    10**18,
    10**400,
    "x",
    "\ud800",
    [],
    [[]],
    [None],
    {},
    {"a": 1},
    float("nan"),
    [1] * 6,
]
KEYS = ("id", "bbox", "segmentation", "keypoints", "area", "iscrowd", "class", "category_id", "category",
        "original_segmentation")  # fmt: skip


@pytest.mark.parametrize("stored", [(96, 64), (48, 32), (50, 50)])
def test_hostile_values_beside_a_picture_never_raise(stored: tuple[int, int]) -> None:
    entry = {"id": 1, "bbox": [1, 1, 5, 5], "class": 0, "category": "c", "category_id": 1}
    coded: dict[str, Any] = {**entry, "segmentation": {"size": [64, 96], "counts": [64 * 96]}}
    whole: dict[str, Any] = {"image": {"width": 96, "height": 64}, "captions": [], "annotations": [entry]}
    records = [{**whole, key: value} for key in ("image", "captions", "annotations", "stored") for value in VALUES]
    records += [{**whole, "image": {"width": value, "height": 64}} for value in VALUES]
    records += [{**whole, "annotations": [one, value]} for one in (entry, coded) for value in VALUES]
    records += [{**whole, "stored": {"width": 9, "height": 9, "transform": value}} for value in VALUES]
    records += [
        {**whole, "annotations": [{**one, key: value}]}
        for one in (entry, coded)
        for key in KEYS
        for value in VALUES
    ]
    for record in records:
        fields, found = annotated_fields(
            {"json": json.dumps(record).encode()},
            "a.png",
            file=(96, 64),
            orientation=1,
            stored=stored,
            frame="auto",
        )
        moved = json.loads(fields["json"])
        json.dumps(found.to_json())
        if not found.remarks:
            for read in READERS:
                read(moved)


@pytest.fixture
def folder(tmp_path: Path) -> CocoFolder:
    return make_coco_folder(tmp_path / "coco")


PICTURE = {"width": 96, "height": 64}
GOOD = {"id": 1, "bbox": [1, 1, 5, 5]}
BESIDE: list[tuple[Any, str]] = [
    (b"{", "is not JSON"),
    (b"\x00\xff\xfe", "is not JSON"),
    (b"[" * 200_000, "is not JSON"),
    (b"", "is not JSON"),
    ({"image": PICTURE, "annotations": [{"bbox": [1, 2, -3, 4]}]}, "has a bbox that cannot be read"),
    (
        {"image": PICTURE, "annotations": [{"bbox": [1, 2, float("nan"), 4]}]},
        "annotation number 0 (from 0): its bbox",
    ),
    (
        {"image": PICTURE, "annotations": [GOOD, {**GOOD, "id": 7, "class": "cat"}]},
        "annotation 7: its class is 'cat'",
    ),
    ({"image": PICTURE, "annotations": [{**GOOD, "iscrowd": 3}]}, "has an iscrowd that cannot be read"),
    ({"image": PICTURE, "annotations": [{**GOOD, "keypoints": [1]}]}, "has keypoints that cannot be read"),
    (
        {"image": PICTURE, "annotations": [{**GOOD, "segmentation": [[1, 2, "x", 4]]}]},
        "has a segmentation that cannot",
    ),
    ({"image": PICTURE, "captions": [{"caption": 5}]}, "caption number 0 (from 0) is 5"),
    ({"annotations": [GOOD]}, "needs an image with width and height"),
    ({"image": PICTURE, "annotations": [GOOD, 5]}, "annotations that are all objects"),
    ({"image": PICTURE, "annotations": None, "captions": [{"caption": "A cat."}]}, ""),
    ({"image": PICTURE, "annotations": [{**GOOD, "iscrowd": None}]}, ""),
    ({"annotations": [{"label": 3}]}, ""),
    ({"annotations": None, "captions": 5}, ""),
]


@pytest.mark.parametrize("number", range(len(BESIDE)))
def test_a_fault_in_a_json_beside_a_picture_is_said_and_strict_refuses_it(
    folder: CocoFolder, tmp_path: Path, number: int
) -> None:
    content, reason = BESIDE[number]
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    (folder.images / "000000.json").write_bytes(text)
    report = make_shards(folder.images, tmp_path / "out", workers=0)
    said = report.sets[0].notes
    assert len(said) == bool(reason)
    assert reason in " ".join(said)
    assert packed(tmp_path / "out")["000000"]["json"] == text, "it is kept as it is"
    if reason:
        assert "000000.png" in said[0]
        assert said[0].startswith("1 × ")
        with pytest.raises(pipelines.ShardingError, match=r"000000\.png"):
            make_shards(folder.images, tmp_path / "strict", workers=0, strict=True)
    else:
        make_shards(folder.images, tmp_path / "strict", workers=0, strict=True)
        make_shards(folder.images, tmp_path / "small", workers=0, strict=True, resize=32)
