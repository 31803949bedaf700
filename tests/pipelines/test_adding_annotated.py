"""Files that are added to an annotated set: what the new annotation files say of them, and nothing else changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import pipelines
from pipelines import make_shards
from pipelines.errors import ShardingError
from pipelines.sharding.set_job import SetReport
from pipelines.storage.manifest import Manifest

from .coco_folder import drawn, encoded
from .test_make_shards_killed import contents, run_and_die
from .wav_files import packed

pytest.importorskip("ijson")
CAT, DOG = {"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    add(tmp_path / "images", 0, 1, 2)
    return tmp_path / "images"


def add(images: Path, *numbers: int) -> None:
    for number in numbers:
        (images / f"{number}.png").write_bytes(encoded(drawn(number, 32, 48)[0]))


def annotate(path: Path, *numbers: int, categories: tuple[dict[str, Any], ...] = (CAT,), **changes: Any) -> Path:
    """One object of the first category in each of these pictures."""
    entries = [{"id": number, "file_name": f"{number}.png", "width": 48, "height": 32} for number in numbers]
    one = {"category_id": categories[0]["id"], "bbox": [1, 2, 3, 4], **changes}
    annotations = [{"id": 10 + number, "image_id": number, **one} for number in numbers]
    path.write_text(json.dumps({"images": entries, "categories": categories, "annotations": annotations}))
    return path


def pack(images: Path, *files: Path, **settings: Any) -> SetReport:
    report = make_shards(
        images, images.parent / "out", annotations=files, workers=0, **{"shard_examples": 1, **settings}
    )
    return report.sets[0]


def records(images: Path) -> dict[str, Any]:
    found = packed(images.parent / "out")
    return {key: json.loads(one["json"]) for key, one in sorted(found.items()) if "json" in one}


def test_packed_pictures_of_new_annotation_files_are_counted_and_stay(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first, second = annotate(tmp_path / "a.json", 0, 1), annotate(tmp_path / "b.json", 1, 2, 3)
    pack(images, first)
    before = records(images)
    add(images, 3)
    report = pack(images, first, second, append=True)
    said = (
        "2 packed pictures are named in annotation files that are new (b.json) and stay as they are; --overwrite "
        "packs them again."
    )
    assert report.notes == (said,)
    assert Manifest.load(out).remarks == [said]
    assert records(images) == {**before, "3": records(images)["3"]}
    assert records(images)["3"]["annotations"][0]["category"] == "cat"
    assert pipelines.labels(out).counts == (3,)
    again = pack(images, first, second)
    assert again.was_complete
    assert again.notes == (said,)
    assert pack(images, first, second, overwrite=True).notes == ()
    assert records(images).keys() == {"0", "1", "2", "3"}


def test_a_set_without_annotations_gets_them_only_for_what_is_added(images: Path, tmp_path: Path) -> None:
    pack(images)
    add(images, 3)
    report = pack(images, annotate(tmp_path / "a.json", 0, 3), append=True)
    assert report.notes[0].startswith("1 packed picture is named in annotation files that are new (a.json)")
    assert records(images).keys() == {"3"}


def test_annotations_with_which_nothing_is_added_are_not_taken_for_packed(images: Path, tmp_path: Path) -> None:
    first, second = annotate(tmp_path / "a.json", 0), annotate(tmp_path / "b.json", 1, 2)
    pack(images, first)
    for _ in range(2):
        report = pack(images, second, append=True)
        assert not report.was_complete
        assert "2 packed pictures are named" in " ".join(report.notes)
    assert len(Manifest.load(tmp_path / "out").remarks) == 1
    with pytest.raises(ShardingError, match=r"annotations was a\.json and is b\.json"):
        pack(images, second)
    assert pack(images, first).was_complete


def test_the_manifest_says_which_annotation_files_each_part_was_packed_with(images: Path, tmp_path: Path) -> None:
    files = [annotate(tmp_path / f"{name}.json", number) for number, name in enumerate("abcd")]
    pack(images, files[0], files[1])
    add(images, 3)
    pack(images, files[1], files[3], append=True)
    add(images, 4)
    pack(images, files[1], files[3], append=True)
    settings = Manifest.load(tmp_path / "out").settings
    assert [name for name, _ in settings["annotations"]] == ["a.json", "b.json", "d.json"]
    assert settings["annotations_of_parts"] == [[0, 1], [1, 2]]
    assert pack(images, files[1], files[3]).was_complete
    with pytest.raises(ShardingError, match=r"annotations was b\.json and d\.json and is a\.json and b\.json"):
        pack(images, files[0], files[1])
    add(images, 5)
    assert not [
        note for note in pack(images, files[0], append=True).notes if "annotation files that are new" in note
    ]


def test_adding_without_annotations_to_a_set_that_has_them_is_refused(images: Path, tmp_path: Path) -> None:
    make_shards(images, tmp_path / "out", annotations=annotate(tmp_path / "a.json", 0), workers=0)
    table = tmp_path / "t.csv"
    table.write_text("file_name,mood\n0.png,calm\n")
    make_shards(images, tmp_path / "rows", labels=table, workers=0)
    add(images, 3)
    for out, name, file in (("out", "annotations", r"a\.json"), ("rows", "labels", r"t\.csv")):
        before = contents(tmp_path / out)
        with pytest.raises(ShardingError, match=rf"was packed with {name} \({file}\).* Give --{name}"):
            make_shards(images, tmp_path / out, workers=0, append=True)
        assert contents(tmp_path / out) == before


def test_an_id_that_has_another_name_than_before_is_no_class(images: Path, tmp_path: Path) -> None:
    pack(images, annotate(tmp_path / "a.json", 0, categories=(CAT, DOG)))
    add(images, 3)
    other = annotate(tmp_path / "b.json", 3, categories=({"id": 3, "name": "cow"}, {"id": 9, "name": "dog"}))
    said = " ".join(pack(images, other, append=True).notes)
    assert (
        '1 category has the id of an earlier one and another name (b.json: category 3, "cow", before "cat")' in said
    )
    assert '1 category has the name of an earlier one and another id (b.json: category 9, "dog", before 5)' in said
    (one,) = records(images)["3"]["annotations"]
    assert (one["category"], one["class"]) == (None, -1)
    table = pipelines.labels(tmp_path / "out")
    assert [(label.id, label.name) for label in table] == [(3, "cat"), (5, "dog"), (9, "dog")]


def test_only_what_is_added_is_counted_and_earlier_remarks_are_marked(images: Path, tmp_path: Path) -> None:
    first = annotate(tmp_path / "a.json", 0, 1, 4, bbox=[40, 2, 30, 4])
    said = pack(images, first).notes
    assert [note[:20] for note in said] == ["1 image of the annot", "3 annotations have a", "1 file is in no anno"]
    add(images, 4, 5)
    notes = pack(images, first, append=True).notes
    outside = "box that leaves its picture by more than 1 pixel"
    assert [note for note in notes if outside in note and note.startswith("1 annotation has a")]
    assert "1 file is in no annotation file." in notes
    assert [note for note in notes if note.startswith("Earlier: ")] == [f"Earlier: {one}" for one in said[:2]]
    assert len(notes) == 4


def test_other_settings_are_told_by_names(images: Path, tmp_path: Path) -> None:
    first = annotate(tmp_path / "a.json", 0)
    pack(images, first)
    with pytest.raises(ShardingError, match=r"\(was packed with annotations \(a\.json\) and is packed without\)"):
        pack(images)
    annotate(first, 1)
    with pytest.raises(ShardingError, match=r"\(annotations has changed \(a\.json\)\)"):
        pack(images, first)
    make_shards(images, tmp_path / "bare", workers=0)
    with pytest.raises(ShardingError, match=r"packed without annotations and is packed with them \(a\.json\)"):
        make_shards(images, tmp_path / "bare", workers=0, annotations=first)


def test_a_killed_addition_is_not_continued_with_other_annotations(images: Path, tmp_path: Path) -> None:
    """It dies at several steps: once a shard is finished, only the same files go on."""
    first, second = annotate(tmp_path / "a.json", 0, 3, 4), annotate(tmp_path / "b.json", 3, 4)
    settings: dict[str, Any] = {"append": True, "shard_examples": 3}
    pack(images, first, shard_examples=3)
    add(images, 3, 4, 5, 6)
    out, ways = tmp_path / "out", []
    shutil.copytree(out, tmp_path / "begun")
    begun = contents(out)["manifest.json"]
    for step in range(2, 60, 4):
        if not run_and_die(step, images, out, append=True, annotations=[first]):
            break
        before, journal = contents(out), out / ".make_shards" / "finished.jsonl"
        has_finished = journal.exists() and journal.read_bytes().endswith(b"\n")
        if has_finished and before["manifest.json"] == begun:
            with pytest.raises(
                ShardingError, match=r"unfinished set begun with other settings \(annotations was a"
            ):
                pack(images, second, **settings)
            before.pop(".make_shards.lock", None)  # which the dead have left
            assert contents(out) == before
            pack(images, first, **settings)
        else:
            pack(images, second, **settings)
        ways.append(has_finished)
        shutil.rmtree(out)
        shutil.copytree(tmp_path / "begun", out)
    assert set(ways) == {True, False}
