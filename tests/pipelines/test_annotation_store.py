"""Records out of a store are what the `json` module reads from the annotation files."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import pickle
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ShardingError, SourceError
from pipelines.sharding.annotations.adding import Earlier
from pipelines.sharding.annotations.store import AnnotationStore
from pipelines.sharding.annotations.store_building import build_store
from pipelines.sharding.attachments import file_digest
from pipelines.sharding.findings import LabelKey
from tests.absent import run, without
from tests.pipelines.annotation_files import annotation, built, coco, image, sentences

NAMES = ("captions_train2017", "captions_val2017", "instances_train2017", "instances_val2017")


@pytest.fixture
def coco_files(shared_data: Path) -> list[Path]:
    """Four files of COCO."""
    folder = shared_data / "coco" / "annotations"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent: it holds annotation files of COCO")
    return [folder / f"{name}.json" for name in NAMES]


def expected_records(paths: list[Path]) -> dict[str, dict[str, Any]]:
    """By file name, out of files that agree on their images and categories."""
    records: dict[str, dict[str, Any]] = {}
    for path in paths:
        content = json.loads(path.read_text(encoding="utf-8"))
        licenses = {one["id"]: one for one in content["licenses"]}
        categories = sorted(content.get("categories", []), key=lambda one: one["id"])
        numbers = {one["id"]: (one["name"], place) for place, one in enumerate(categories)}
        by_id = {}
        for one in content["images"]:
            new = {"image": one, "license": licenses[one["license"]], "captions": [], "annotations": []}
            by_id[one["id"]] = records.setdefault(one["file_name"], new)
        for one in content["annotations"]:
            if "caption" in one:
                by_id[one["image_id"]]["captions"].append(one)
            else:
                name, number = numbers[one["category_id"]]
                by_id[one["image_id"]]["annotations"].append({**one, "category": name, "class": number})
    return records


def test_every_field_of_coco_files_is_there_unchanged(tmp_path: Path, coco_files: list[Path]) -> None:
    expected = expected_records(coco_files)
    files = [f"photographs/{name}" for name in sorted(expected)]
    report, store = built(tmp_path, *coco_files, files=files)
    assert {name: store.record(f"photographs/{name}") for name in expected} == expected
    assert not report.problems
    assert not report.remarks or all("annotation" in remark for remark in report.remarks)
    assert report.num_records == report.num_images == len(expected) > 150
    assert report.num_annotations == sum(len(one["annotations"]) for one in expected.values()) > 1000
    assert report.num_captions == sum(len(one["captions"]) for one in expected.values()) > 500
    instances = json.loads(coco_files[2].read_text(encoding="utf-8"))["categories"]
    assert [(one.class_number, one.id, one.name, one.supercategory) for one in report.categories] == [
        (number, one["id"], one["name"], one["supercategory"]) for number, one in enumerate(instances)
    ]
    assert store.categories == report.categories


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    path = coco(tmp_path / "a.json", [image()], [])
    assert file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(SourceError, match=r"absent\.json: cannot be read"):
        file_digest(tmp_path / "absent.json")


def test_a_file_of_which_nothing_is_said_has_no_record(tmp_path: Path) -> None:
    report, store = built(tmp_path, coco(tmp_path / "a.json", [image()], []), files=["a.jpg", "b.jpg"])
    assert store.record("b.jpg") is None
    assert store.record("never listed.jpg") is None
    assert store.record("a.jpg") == {"image": image(), "captions": [], "annotations": []}
    assert report.remarks == ("1 file is in no annotation file.", "1 picture has no annotation.")


def test_paths_that_are_not_utf_8_have_records(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file,x\nfolder/a,5\n", encoding="utf-8")
    _, store = built(tmp_path, files=["\udcff/folder/a.jpg"], table=table)
    assert store.record("\udcff/folder/a.jpg") == {"file": "folder/a", "x": 5}


def test_files_are_joined_by_the_file_they_name_and_not_by_image_ids(tmp_path: Path) -> None:
    first = coco(tmp_path / "1.json", [image(1), image(2, "b.jpg")], [annotation(1, 1), annotation(2, 2)])
    second = coco(tmp_path / "2.json", [image(2, "a.jpg"), image(1, "b.jpg")], [annotation(3, 1), annotation(4, 2)])
    report, store = built(tmp_path, first, second, files=["a.jpg", "b.jpg"])
    found = {name: [one["id"] for one in (store.record(name) or {})["annotations"]] for name in ("a.jpg", "b.jpg")}
    assert found == {"a.jpg": [1, 4], "b.jpg": [2, 3]}
    assert not report.problems


def test_an_annotation_in_two_files_is_merged(tmp_path: Path) -> None:
    keypoints = {"keypoints": [5, 6, 2], "num_keypoints": 1}
    first = coco(tmp_path / "instances.json", [image(x=1)], [annotation(7, area=4.0), annotation(8)])
    second = coco(tmp_path / "people.json", [image(5, y=2)], [annotation(7, 5, area=5.0, **keypoints)])
    third = coco(
        tmp_path / "more.json", [image(6, y=2)], [annotation(7, 6, z=[1]), annotation(8, 6, category_id=2)]
    )
    report, store = built(tmp_path, first, second, third)
    record = store.record("a.jpg")
    named, unknown = {"category": "dog", "class": 0}, {"category": None, "class": -1}
    assert record is not None
    assert record["image"] == image(x=1, y=2)
    assert record["annotations"] == [
        annotation(7, area=4.0, z=[1], **keypoints, **named),
        annotation(8, **named),
        annotation(8, 6, category_id=2, **{**unknown}),
    ]
    assert [problem.kind for problem in report.problems] == ["unknown category", "annotations differ"]
    assert sentences(report)[1] == (
        "value in an annotation differs from that of an earlier file for the same id (people.json: annotation 7, "
        '"area" 5.0, before 4.0). The first is kept; make the files agree.'
    ).join(["1 ", ""])
    assert report.num_annotations == 3


def test_categories_that_are_known_keep_their_classes_and_new_ones_follow(tmp_path: Path) -> None:
    names = {3: "cat", 1: "dog", 9: "cow", 5: "hen"}
    categories = [{"id": number, "name": name} for number, name in names.items()]
    path = coco(tmp_path / "a.json", [image()], [annotation(category_id=9)], categories=categories)
    report, store = built(tmp_path, path, earlier=Earlier(labels=[LabelKey(0, 5, "hen"), LabelKey(4, 9, "cow")]))
    assert {one.id: one.class_number for one in report.categories} == {1: 5, 3: 6, 5: 0, 9: 4}
    assert [one.id for one in report.categories] == [1, 3, 5, 9]
    assert (store.record("a.jpg") or {})["annotations"][0]["class"] == 4


def test_of_many_categories_only_those_of_a_record_are_looked_up(tmp_path: Path) -> None:
    categories = [{"id": number, "name": f"kind {number}"} for number in range(5000)]
    objects = [annotation(7, category_id=4321), annotation(8, category_id=4321)]
    _, store = built(tmp_path, coco(tmp_path / "a.json", [image()], objects, categories=categories))
    found = store.record("a.jpg") or {}
    assert [one["category"] for one in found["annotations"]] == ["kind 4321"] * 2
    assert len(store._opened().meanings) == 1
    assert len(store.categories) == 5000


def test_keypoints_and_skeleton_of_a_category_are_kept(tmp_path: Path) -> None:
    person = {"id": 1, "name": "person", "keypoints": ["nose", "tail"], "skeleton": [[1, 2]]}
    report, store = built(tmp_path, coco(tmp_path / "a.json", [image()], [], categories=[person]))
    assert store.categories == report.categories
    assert (report.categories[0].keypoints, report.categories[0].skeleton) == (("nose", "tail"), ((1, 2),))


def test_a_file_without_categories_uses_those_of_the_others(tmp_path: Path) -> None:
    first = coco(tmp_path / "1.json", [image()], [])
    second = coco(tmp_path / "2.json", [image()], [annotation()], categories=[])
    report, store = built(tmp_path, first, second)
    assert (store.record("a.jpg") or {})["annotations"][0]["category"] == "dog"
    assert not report.problems


def test_a_store_is_read_by_threads_forks_and_unpickled_copies(tmp_path: Path) -> None:
    _, store = built(tmp_path, coco(tmp_path / "a.json", [image()], [annotation()]))
    expected = store.record("a.jpg")
    found: dict[str, Any] = defaultdict(lambda: None)

    def read() -> None:
        found["thread"] = store.record("a.jpg")
        store.close()

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(store.record("a.jpg")))
    child.start()
    child.join(30)
    copy: AnnotationStore = pickle.loads(pickle.dumps(store))
    assert expected is not None
    assert found["thread"] == queue.get() == copy.record("a.jpg") == store.record("a.jpg") == expected
    store.close()
    assert store.record("a.jpg") == expected


def test_a_store_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    good = coco(tmp_path / "a.json", [image()], [annotation()])
    _, store = built(tmp_path, good)
    with pytest.raises(SourceError):
        built(tmp_path, good, tmp_path / "absent.json")
    assert store.record("a.jpg") is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "annotations.store"]
    with pytest.raises(ShardingError, match="cannot be written"):
        build_store(tmp_path / "no folder" / "s", annotations=[good], table=None, key="file", files=[])


@pytest.mark.parametrize("content", [b"", b"no store", b"SQLite format 3\0" + bytes(3000)])
def test_what_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(SourceError, match="cannot be read as a store of annotations"):
        AnnotationStore(tmp_path / "s").record("a.jpg")


def test_without_ijson_the_error_says_how_to_install_it(tmp_path: Path) -> None:
    path = coco(tmp_path / "a.json", [image()], [])
    code = f"""
from pathlib import Path
from pipelines.sharding.annotations.store_building import build_store
from pipelines import errors
try:
    build_store(Path({str(tmp_path / "s")!r}), annotations=[Path({str(path)!r})], table=None, key="f", files=[])
except errors.ShardingError as error:
    print(error)
"""
    said = "Annotation files are read with ijson. Install it: pip install 'dirvae[labels]'."
    assert run(without("ijson") + code) == said
