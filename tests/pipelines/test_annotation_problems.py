# ruff: noqa: E501 (one sentence per line)
"""What is wrong with annotation files and tables is counted, shown and explained, and never stops a build."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.sharding.annotations.problems import _WORDINGS, Problem
from pipelines.sharding.annotations.store_building import build_store
from tests.pipelines.annotation_files import annotation, built, coco, image, sentences

RING = [1, 1, 5, 1, 5.5, 5]
DOG = {"id": 1, "name": "dog"}

Case = tuple[list[Any], list[Any], dict[str, Any], str]

CASES: dict[str, Case] = {
    "image not in folder": (
        [image(), image(2, "b.jpg"), image(3, "c.jpg")],
        [],
        {},
        '2 images of the annotations are not in the folder (the first: a.json: image 2, file_name "b.jpg"). Add the '
        "files, or leave it so: what is said of them is left out.",
    ),
    "ambiguous name": ([image(1, "z.jpg")], [], {}, '1 file name fits several files of the folder (a.json: image 1, file_name "z.jpg")'),
    "image entry": ([image(None), image(2, 5)], [], {}, "2 image entries have no usable id or file_name (the first: a.json: image null, file_name"),  # type: ignore[arg-type]
    "image size": ([image(width="x")], [], {}, "1 image entry has no usable width and height (a.json: image 1"),
    "duplicate image id": ([image(), image(1, "b/z.jpg")], [], {}, '1 image entry has the id of an earlier one in the same file (a.json: image 1, file_name "b/z.jpg")'),
    "image named twice": ([image(), image(2)], [annotation(1, 2)], {}, "1 image entry names a file that an earlier one in the same annotation file names (a.json: image 2"),
    "image entries differ": ([image(x=1), image(2, x=2)], [], {}, '1 value in an image entry differs from that of an earlier entry for the same file (a.json: image 2, file_name "a.jpg", "x" 2, before 1)'),
    "unknown image": ([image()], [annotation(), annotation(2, 5), annotation(3, None)], {}, "2 annotations have an image_id that no image has (the first: a.json: annotation 2, image_id 5)"),
    "unknown category": ([image()], [annotation(category_id=7), annotation(2, category_id="1")], {}, "2 annotations have a category_id that their file does not explain (the first: a.json: annotation 1, category_id 7)"),
    "category entry": ([image()], [], {"categories": [{"id": "x", "name": "y"}]}, '1 category entry has no whole number, written without a point, as id or no name (a.json: category "x", "y")'),
    "category conflict": ([image()], [], {"categories": [DOG, {"id": 1, "name": "cat"}]}, '1 category has the id of an earlier one and another name (a.json: category 1, "cat", before "dog")'),
    "category named twice": ([image()], [], {"categories": [DOG, {"id": 2, "name": "dog"}]}, '1 category has the name of an earlier one and another id (a.json: category 2, "dog", before 1)'),
    "bad box": ([image()], [annotation(), annotation(2, bbox=[1, 2, -3, 4])], {}, "1 annotation has a bbox that is not four numbers of ±1e8 at most with width and height of at least 0 (a.json: annotation 2, bbox [1, 2, -3, 4]). They are left out; correct or remove them."),
    "no box": ([image()], [{"id": 4, "image_id": 1}], {}, "1 annotation has neither a bbox nor a caption (a.json: annotation 4)"),
    "box outside": ([image()], [annotation(bbox=[-1, 0, 42, 31]), annotation(2, bbox=[0, 0, 42, 5])], {}, "1 annotation has a box that leaves its picture by more than 1 pixel (a.json: annotation 2, bbox [0, 0, 42, 5])"),
    "bad caption": ([image()], [{"id": 4, "image_id": 1, "caption": 5}], {}, "1 caption is not a text (a.json: annotation 4, caption 5)"),
    "bad run lengths": ([image()], [annotation(segmentation={"size": [30, 40], "counts": [5, 6]})], {}, '1 mask has run lengths that do not fit its size (a.json: annotation 1, segmentation {"size": [30, 40], "counts": [5, 6]})'),
    "mask size": ([image()], [annotation(segmentation={"size": [40, 30], "counts": [1200]})], {}, "1 mask has another size than its picture (a.json: annotation 1, segmentation {"),
    "bad polygon": ([image()], [annotation(segmentation=[RING, RING[:5]])], {}, "1 segmentation is not polygons of an even number of at least 6 coordinates of ±1e8 at most (a.json: annotation 1, segmentation [["),
    "bad keypoints": ([image()], [annotation(keypoints=[1, 2])], {}, "1 annotation has keypoints that are not three numbers of ±1e8 at most for each point (a.json: annotation 1, keypoints [1, 2])"),
    "bad crowd": ([image()], [annotation(2, iscrowd=2), annotation(3, iscrowd=None), annotation(4, iscrowd=[1])], {}, "2 annotations have an iscrowd that is neither 0 nor 1 (the first: a.json: annotation 2, iscrowd 2)"),
    "duplicate annotation id": ([image()], [annotation(), annotation(), annotation()], {}, "2 annotations have the id of an earlier one in the same file (the first: a.json: annotation 1, image_id 1)"),
    "section": ([image()], {}, {}, "1 section is not a list (a.json: annotations is an object). What is in them is left out"),  # type: ignore[dict-item]
    "not an object": ([image()], [5], {}, "1 entry is not an object (a.json: an entry of annotations)"),
    "not finite": ([image(x=float("nan"))], [annotation(area=float("-inf"))], {}, "2 numbers are not finite (NaN or Infinity) (the first: a.json: NaN)"),
    "long integer": ([image(x=12345678901234567890123)], [], {}, "1 whole number has more than 64 bits (a.json: 12345678901234567890123)"),
}  # fmt: skip
FILES = ("a.jpg", "b/z.jpg", "c/z.jpg")


@pytest.mark.parametrize("kind", CASES)
def test_a_problem_is_counted_with_its_first_place_and_a_remedy(tmp_path: Path, kind: str) -> None:
    images, annotations, sections, beginning = CASES[kind]
    report, _ = built(tmp_path, coco(tmp_path / "a.json", images, annotations, **sections), files=FILES)
    said = {problem.kind: problem.sentence() for problem in report.problems}
    if kind == "image entries differ":
        said.pop("image named twice")
    if kind in ("bad run lengths", "category conflict", "no box", "category entry"):
        assert len(said) == 1
    assert list(said) == [kind]
    assert said[kind].startswith(beginning)
    assert said[kind].endswith(_WORDINGS[kind].remedy)


TABLES = {
    "row without file": ("file,x\na.jpg,1\nq,2\n", '1 row of the table names no file of the folder (t.csv, line 3: "q")'),
    "row without key": ("file,x\n,1\n", "1 row of the table has no value in the key column (t.csv, line 2)"),
    "second row": ("file,x\na.jpg,1\na,2\n", '1 row of the table names a file that an earlier row names (t.csv, line 3: "a")'),
    "row length": ("file,x\na.jpg\n", "1 row of the table has another number of columns than its header (t.csv, line 2: 1 instead of 2)"),
    "column name": ("file,image,,file\na.jpg,1,2,3\n", '3 columns of the table have no name, the name of an earlier one or one that is used by annotations (the first: t.csv: column 2, "image")'),
    "ambiguous name": ("file\nz\n", '1 file name fits several files of the folder (t.csv, line 2: "z")'),
}  # fmt: skip


@pytest.mark.parametrize("kind", TABLES)
def test_a_problem_of_a_table_is_counted_with_its_line(tmp_path: Path, kind: str) -> None:
    content, beginning = TABLES[kind]
    (tmp_path / "t.csv").write_text(content, encoding="utf-8")
    report, store = built(tmp_path, files=FILES, table=tmp_path / "t.csv")
    assert [problem.kind for problem in report.problems] == [kind]
    assert sentences(report)[0].startswith(beginning)
    if kind == "second row":
        assert store.record("a.jpg") == {"file": "a.jpg", "x": 1}


def test_lines_that_are_no_objects_are_a_problem(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(
        '{"file": "a.jpg", "image": 1}\n[1]\n{"file"\n' + "[" * 9999, encoding="utf-8"
    )
    report, store = built(tmp_path, table=tmp_path / "t.jsonl")
    assert sentences(report)[0].startswith(
        "3 lines of the table are not JSON objects (the first: t.jsonl, line 2: [1])"
    )
    assert sentences(report)[1].startswith("1 column of the table has no name")
    assert store.record("a.jpg") == {"file": "a.jpg"}


def test_every_kind_of_problem_is_tested() -> None:
    elsewhere = {"damaged", "annotations differ", "bad row"}
    assert {*CASES, *TABLES, *elsewhere} == set(_WORDINGS)


def segmentations(tmp_path: Path, values: Sequence[Any]) -> list[Any]:
    """What becomes of segmentations in a picture of 40 × 30 pixels."""
    entries = [annotation(number, segmentation=value) for number, value in enumerate(values)]
    _, store = built(tmp_path, coco(tmp_path / "a.json", [image()], entries))
    return [one["segmentation"] for one in (store.record("a.jpg") or {})["annotations"]]


def test_a_segmentation_that_cannot_be_read_becomes_null_and_others_stay(tmp_path: Path) -> None:
    good = [[RING], [], None, {"size": [30, 40], "counts": [1000, 200]}]
    wrong = [
        [RING[:4]], [RING[:5]], RING, "x", 5, [None], [[1, 2, 3, 4, 5, None]], {}, {"size": [30, 40]},
        {"size": [30, 40], "counts": []}, {"size": [30, 40], "counts": [1201, -1]}, {"size": [30.0, 40], "counts": [1200]},
        {"size": [30, 40], "counts": "\x7f"}, {"size": [30, 40], "counts": ""}, {"size": [30, 40], "counts": "öö"},
        {"size": [30, 40], "counts": "o" * 50}, {"size": [1 << 62, 1 << 62], "counts": [1]}, {"size": [40, 30], "counts": [1200]},
    ]  # fmt: skip
    assert segmentations(tmp_path, [*good, *wrong]) == [*good, *([None] * len(wrong))]


def test_compressed_run_lengths_of_pycocotools_fit_and_shortened_ones_do_not(tmp_path: Path) -> None:
    mask = pytest.importorskip("pycocotools.mask")
    rng, values = np.random.Generator(np.random.Philox(0)), list[Any]()
    for share in (0.0, 0.001, 0.02, 0.5, 0.98, 1.0):
        drawn = np.asfortranarray(rng.random((30, 40)) < share, dtype=np.uint8)
        encoded = mask.encode(drawn)
        values.append({"size": [30, 40], "counts": encoded["counts"].decode()})
    assert segmentations(tmp_path, values) == values
    shorter = [{**value, "counts": value["counts"][:-1]} for value in values]
    assert segmentations(tmp_path, shorter) == [None] * len(values)


def test_annotations_of_a_category_whose_id_is_taken_are_never_given_the_wrong_name(tmp_path: Path) -> None:
    first = coco(tmp_path / "1.json", [image()], [annotation(1)])
    second = coco(tmp_path / "2.json", [image()], [annotation(2)], categories=[{"id": 1, "name": "cat"}])
    report, store = built(tmp_path, first, second)
    found = [(one["category"], one["class"]) for one in (store.record("a.jpg") or {})["annotations"]]
    assert found == [("dog", 0), (None, -1)]
    assert [problem.kind for problem in report.problems] == ["unknown category", "category conflict"]


def test_texts_of_files_are_shown_without_control_characters_and_cut(tmp_path: Path) -> None:
    path = coco(tmp_path / "a\x1b.json", [image(1, "\x1b[31m" + "x" * 9999)], [])
    said = sentences(built(tmp_path, path)[0])[0]
    assert "\x1b" not in said
    assert len(said) < 400
    assert "a\\x1b.json" in said


def test_a_single_case_is_said_without_the_word_first() -> None:
    assert Problem("damaged", 1, "a.json: it ends").sentence() == (
        "1 annotation file is cut off or damaged (a.json: it ends). What comes before that place is used; get the file "
        "again."
    )


def test_hostile_values_in_every_place_never_raise(tmp_path: Path) -> None:
    values = [None, True, -1, 1.5, 10**18, "x", "\x00", [], [[]], {}, {"a": 1}, "1e400", [1] * 5]
    keys = ("id", "image_id", "category_id", "bbox", "segmentation", "keypoints", "area", "caption", "license")
    entries = [{**annotation(9), key: value} for key in keys for value in values]
    images = [{**image(1), key: value} for key in (*keys, "file_name", "width", "height") for value in values]
    categories = [
        {"id": 1, "name": "n", key: value} for key in ("id", "name", "keypoints", "skeleton") for value in values
    ]
    path = coco(tmp_path / "a.json", images, entries, categories=categories, licenses=[*values, {"id": []}])
    report, store = built(tmp_path, path, path)
    assert report.problems
    assert json.loads(json.dumps(store.record("a.jpg"), allow_nan=False)) == store.record("a.jpg")
    build_store(tmp_path / "none", annotations=[], table=None, key="file", files=[])
