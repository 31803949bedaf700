"""Annotation files that are read many entries at a time give what the streaming parser gives, whatever is in them."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import SourceError
from pipelines.sharding.annotations import coco_reading, json_bytes, quick_reading
from pipelines.sharding.annotations.coco_reading import read_batches
from pipelines.sharding.annotations.problems import ProblemLog
from pipelines.sharding.annotations.store import AnnotationStore
from pipelines.sharding.annotations.store_building import build_store
from tests.pipelines.annotation_files import annotation, image

orjson = pytest.importorskip("orjson")

Switch = Callable[[bool], None]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Switch:
    """Turns the quick reader on and off."""

    def switch(on: bool) -> None:
        for module in (coco_reading, json_bytes):
            monkeypatch.setattr(module, "orjson_function", lambda name: getattr(orjson, name) if on else None)

    return switch


def reading(path: Path) -> Any:
    """All that comes out of a file: its entries, what is wrong with it, or the sentence that refuses it."""
    log, found = ProblemLog(), list[Any]()
    try:
        for batch in read_batches(path, log):
            found += [(batch.section, entry) for entry in batch.entries]
    except SourceError as error:
        return "refused: what came before is thrown away", str(error)
    return repr(found), [problem.sentence() for problem in log.problems()]


def both(path: Path, quick: Switch) -> Any:
    quick(False)
    slow = reading(path)
    quick(True)
    assert reading(path) == slow
    return slow


def content(**sections: Any) -> dict[str, Any]:
    rings = [[1, 2.5, 3, 4e-7, 5, 6], [1, 1, 2, 2, 3, 3.25]]
    entries = [
        annotation(1, segmentation=rings, text='}, {"id": 5}], "images": [{'),
        annotation(2, text='\\"}, {\\ \u00e9 \u2028 \U0001f600 }]'),
        annotation(3, segments_info=[{"id": 1}, {"id": 2}], empty={}, nothing=[]),
        annotation(4, segmentation={"size": [30, 40], "counts": [1200]}),
    ]
    return {
        "info": {"images": [1], "text": "]}"},
        "images": [image(1), image(2, "b.jpg")],
        "annotations": entries,
        "categories": [{"id": 1, "name": "dog"}],
        "licenses": [],
        **sections,
    }


WHOLE = content()
PLAIN = content(annotations=[annotation(number, segmentation=[[1, 2, 3, 4, 5, 6.5]]) for number in range(5)])


@pytest.mark.parametrize("size", [1, 30, 1 << 17])
@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\t ", " :\r")])
@pytest.mark.parametrize("value", [WHOLE, PLAIN], ids=["odd", "plain"])
def test_spaces_and_characters_change_nothing(
    tmp_path: Path, quick: Switch, monkeypatch: pytest.MonkeyPatch,
    size: int, indent: int | None, ascii_only: bool, separators: tuple[str, str], value: Any,
) -> None:  # fmt: skip
    monkeypatch.setattr(quick_reading, "PIECE_BYTES", size)
    path = tmp_path / "a.json"
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, separators=separators)
    path.write_text(text, encoding="utf-8")
    found, said = both(path, quick)
    expected = [(name, one) for name, part in value.items() if name != "info" for one in part]
    assert (found, said) == (repr(expected), [])


@pytest.mark.parametrize("order", list(itertools.permutations(WHOLE)))
def test_the_order_of_the_sections_changes_nothing(tmp_path: Path, quick: Switch, order: tuple[str, ...]) -> None:
    for number, value in enumerate((WHOLE, PLAIN)):
        path = tmp_path / f"{number}.json"
        path.write_text(json.dumps({name: value[name] for name in order}), encoding="utf-8")
        assert both(path, quick)[1] == []


@pytest.mark.parametrize("value", [WHOLE, PLAIN], ids=["odd", "plain"])
def test_a_file_that_is_cut_at_any_byte_gives_the_same(
    tmp_path: Path, quick: Switch, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    monkeypatch.setattr(quick_reading, "PIECE_BYTES", 50)
    path, text = tmp_path / "a.json", json.dumps(value).encode()
    for length in range(len(text)):
        path.write_bytes(text[:length])
        both(path, quick)


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        (b"6.5", b"NaN", "not finite"),
        (b"6.5", b"-Infinity", "not finite"),
        (b"6.5", b"1e999", "not finite"),
        (b"6.5", b"12345678901234567890123", "64 bits"),
        (b"6.5", b"9223372036854775807", "64 bits"),
        (b"6.5", b"06", "damaged"),
        (b"6.5", b"6.5,", "damaged"),
        (b"6.5", b"\xff", "damaged"),
        (b'"id": 3', b'"id": 3, "id": 30', ""),
        (b'"id": 3', b'"x": "a\nb"', None),
        (b'"id": 3', b'"x": "\\ud800"', None),
        (b'"id": 3', b'"x": ' + b"[" * 120 + b"]" * 120, None),
        (b'{"id": 3', b'5, "x", null, [{}], {"id": 3', "not objects"),
        (b'"licenses": []', b'"licenses": [5]', "not an object"),
        (b'"licenses": []', b'"licenses": {}', ""),
        (b'"licenses": []', b'"annotations": [{"id": 77}]', ""),
        (b'"categories": [{"id": 1, "name": "dog"}]', b'"categories": {}', "section is not a list"),
        (b'"categories": [{"id": 1, "name": "dog"}]', b'"categories": null', "section is not a list"),
        (b'"categories": [{"id": 1, "name": "dog"}]', b'"categories": []', ""),
        (b'"licenses": []', b'"im\\u0061ges": [{"id": 77}]', ""),
        (b'"licenses": []', b'"other": ' + b"[" * 40 + b"]" * 40, ""),
        (b'"licenses": []', b'"other": NaN', "not finite"),
        (b'"licenses": []}', b'"licenses": []} {}', "damaged"),
        (b'"licenses": []}', b'"licenses": []}\n \n', ""),
        (b'"licenses": []}', b'"licenses": [],}', "damaged"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [40, 1 << 17])
def test_odd_places_are_left_to_the_other_parser(
    tmp_path: Path,
    quick: Switch,
    monkeypatch: pytest.MonkeyPatch,
    old: bytes,
    new: bytes,
    kinds: str | None,
    size: int,
) -> None:
    monkeypatch.setattr(quick_reading, "PIECE_BYTES", size)
    path, text = tmp_path / "a.json", json.dumps(PLAIN).encode()
    assert old in text
    path.write_bytes(text.replace(old, new, 1))
    _, said = both(path, quick)
    if kinds is not None:
        assert kinds in " ".join(said)
        assert bool(kinds) == bool(said)
    path.write_bytes(gzip.compress(text.replace(old, new, 1))[:-9])
    both(path, quick)


def stores(tmp_path: Path, paths: list[Path], files: list[str], quick: Switch) -> Any:
    """Report and records of the store of some files, built without the quick reader and with it."""
    found = []
    for on in (False, True):
        quick(on)
        target = tmp_path / f"{on}.store"
        report = build_store(target, annotations=paths, table=None, key="file", files=files)
        store = AnnotationStore(target)
        found.append((report, [store.record(name) for name in files]))
    assert found[0] == found[1]
    return found[0]


def test_files_of_coco_give_the_same_store(tmp_path: Path, quick: Switch, shared_data: Path) -> None:
    paths = sorted((shared_data / "coco" / "annotations").glob("*.json"))
    if not paths:
        pytest.skip(f"{shared_data / 'coco'} is absent: it holds annotation files of COCO")
    names = {one["file_name"] for path in paths for one in json.loads(path.read_text("utf-8"))["images"]}
    report, _ = stores(tmp_path, paths, sorted(names), quick)
    assert report.num_annotations > 1000
    quick(True)
    for path in paths:
        batches = list(read_batches(path, ProblemLog()))
        assert all(batch.text or not batch.entries for batch in batches), "these are read quickly to their end"


ODD = [
    annotation(2, category="mine"), annotation(3, **{"class": 5}, bbox=[True, 1, 2, 3]), annotation(4, bbox=None),
    annotation(5, segmentation=[[1, 2, 3, 4, 5, True]]), annotation(6, segmentation=[[1, 2, 3, 4, 5, "6"]]),
    annotation(7, segmentation=[[1, 2, 3, 4, 5]]), annotation(8, keypoints=[1, 2]), annotation("x", category_id=1.0),
    annotation(9, category_id=True), annotation(10, image_id="1"), annotation(11, image_id=1.0), {"caption": "c"},
    annotation(12, bbox=[1, 2, 300, 4]), annotation(13, segmentation={"size": [30, 40], "counts": [7]}),
    {"id": 14, "image_id": 1, "caption": "c"}, {"id": 15, "image_id": 1, "caption": 5}, annotation(1 << 62), {},
    annotation(16, segmentation={"size": [40, 30], "counts": [1200]}), annotation(17, keypoints=[1, 2, False]),
    annotation(18, text="}, {"), annotation(19, segmentation=[5]), annotation(20, segmentation=[]), annotation(1),
    annotation(23, iscrowd=2), annotation(24, iscrowd=[1]), annotation(25, segmentation=[[1, 2, 3, 4, 5, -1.5e8]]),
    annotation(26, keypoints=[1, 2e8, 2]), annotation(27, bbox=[1, 2, 3e8, 4]), annotation(28, category_id=[]),
    annotation(21, segmentation=[[1, 2, 3, 4, 5, None]]), annotation(22, segmentation=[[1, 2, 3, 4, 5, [6]]]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ODD)))
def test_an_odd_annotation_among_others_gives_the_same_store(tmp_path: Path, quick: Switch, number: int) -> None:
    entries = [annotation(1, segmentation=[[1, 2, 3, 4, 5, 6.5]]), ODD[number], annotation(100), ODD[number - 1]]
    paths = []
    for name, separators in (("a", (", ", ": ")), ("b", (",", ":"))):
        value = {
            "images": [image(), image(2, "b.jpg")],
            "annotations": entries,
            "categories": [{"id": 1, "name": name}],
        }
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(value, separators=separators), encoding="utf-8")
    report, (record, _) = stores(tmp_path, paths, ["a.jpg", "b.jpg"], quick)
    assert record is not None
    assert {1, 100} <= {one["id"] for one in record["annotations"]}
    assert report.problems


def test_texts_between_entries_of_two_forms_do_not_move_their_ends(tmp_path: Path, quick: Switch) -> None:
    texts = ("", "", "}, {")  # as many as there are commas of the other form
    first, second, third = (json.dumps(annotation(number, text=text)) for number, text in enumerate(texts, 1))
    path = tmp_path / "a.json"
    path.write_text(f'{{"images": [{json.dumps(image())}], "annotations": [{first}, {second},{third}]}}')
    _, (record,) = stores(tmp_path, [path], ["a.jpg"], quick)
    assert [one["id"] for one in record["annotations"]] == [1, 2, 3]
