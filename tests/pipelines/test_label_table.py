"""`labels.json` as people may change it, and names that terminals would obey."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pipelines
from pipelines import Label, LabelTable
from pipelines.errors import ShardError
from pipelines.shown_names import escaped, shown_name

WILD = "dog\x00\x1b[31m\n"
LONG = "k" * 500_000
ENTRY = {"class": 0, "id": 1, "name": "dog", "annotations": 1, "images": 1}


def load(folder: Path, content: Any) -> LabelTable:
    (folder / "labels.json").write_text(json.dumps(content))
    return LabelTable.load(folder)


def table_of(**changes: Any) -> dict[str, Any]:
    return {"format": "dirvae-labels", "version": 1, "labels": [{**ENTRY, **changes}]}


def test_names_are_shown_escaped_and_cut_and_kept_as_they_are() -> None:
    table = LabelTable([Label(0, 1, WILD), Label(1, 2, LONG), Label(2, 3, "cat")])
    assert repr(table).isprintable()
    assert len(repr(table)) < 200
    with pytest.raises(KeyError) as raised:
        table.find("n" * 500_000)
    said = raised.value.args[0]
    assert len(said) < 400
    assert said.isprintable()
    assert table.find(WILD).number == 0
    assert table.names == (WILD, LONG, "cat")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "(it is not a table of labels)"),
        ([1], "(it is not a table of labels)"),
        ("text", "(it is not a table of labels)"),
        ({}, "(it lacks format)"),
        ({**table_of(), "labels": None}, "(its labels are not a list of objects)"),
        (table_of(keypoints=None), "(it is not a table of labels: its parts are of the wrong types)"),
        (table_of(keypoints=["a", 3]), "(a name in it is not a text)"),
        (table_of(skeleton=3), "(it is not a table of labels: its parts are of the wrong types)"),
        (table_of(skeleton=[[1, 2, 3]]), "(its skeleton is not made of pairs)"),
        (table_of(skeleton=["ab"]), "(its skeleton is not made of pairs)"),
        (table_of(keypoints=["a"], skeleton=[[1, 2]]), "(its skeleton joins keypoints that it does not name)"),
        (table_of(keypoints=["a"], skeleton=[[0, 1]]), "(its skeleton joins keypoints that it does not name)"),
        (table_of(keypoints=["a"], skeleton=[["1", 1]]), "(its skeleton joins keypoints that it does not name)"),
        (table_of(name="\ud800"), "(a name in it holds half a character (a lone surrogate))"),
        (table_of(keypoints=["\udfff"]), "(a name in it holds half a character (a lone surrogate))"),
        (table_of(id="1"), "(a number in it is not a whole number from 0 up)"),
    ],
)
def test_damage_is_said_without_the_words_of_python(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(ShardError) as raised:
        load(tmp_path, content)
    assert f"labels.json: not a readable table of labels {said}." in str(raised.value)


def test_what_is_written_can_be_read_whatever_was_given() -> None:
    wild = Label(0, 1, "\ud800x", 1, 1, "\udc00", ("left", "\ud9ff"), ((1, 2), (2, 3), (-1, 1)))
    read = LabelTable.of_json(json.loads(LabelTable([wild]).text())["labels"])[0]
    assert (read.name, read.supercategory, read.keypoints, read.skeleton) == ("?x", "?", ("left", "?"), ((1, 2),))
    of_bytes = Label(0, 1, "caf\udce9")  # a folder whose name is not UTF-8
    assert LabelTable.of_json([of_bytes.to_json()])[0] == of_bytes


def test_classes_of_an_earlier_set_are_refused_in_words(tmp_path: Path) -> None:
    from pipelines.sources.label_tables import _labels_of_classes

    for content in ([1], None, {"a": None}, {"a": "0"}):
        (tmp_path / "classes.json").write_text(json.dumps(content))
        with pytest.raises(ShardError, match=r"\(it is not a table of classes\)"):
            _labels_of_classes(tmp_path)
    (tmp_path / "classes.json").write_text('{"a": 0}')
    assert _labels_of_classes(tmp_path) == LabelTable([Label(0, 0, "a")])
    assert pipelines.LabelTable is LabelTable


def test_a_shown_name_has_at_most_60_characters_of_a_name() -> None:
    assert (shown_name("it's"), shown_name("dog", quoted=False)) == (repr("it's"), "dog")
    assert shown_name("é\x07", quoted=False) == "é\\x07"
    assert escaped("a\ud800\u202eb") == "a\\ud800\\u202eb"
    assert shown_name(LONG, quoted=False) == "k" * 59 + "…"
