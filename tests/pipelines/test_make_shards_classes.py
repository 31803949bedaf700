"""Sub-folders as classes: numbers that never change, a label for each example, and a table for readers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines import ImageIterator
from pipelines.errors import ShardError, SourceError
from pipelines.sharding import PackReport, make_shards
from pipelines.storage.manifest import Manifest

from .conftest import png
from .test_make_shards_killed import contents, run_and_die
from .wav_files import noise, packed, wav


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three classes, one of them with a tree of its own, and a picture in none."""
    folder = tmp_path / "source"
    for number, place in enumerate(("cats", "dogs", "dogs/small", "Übrige")):
        (folder / place).mkdir(parents=True)
        (folder / place / "x.png").write_bytes(png(number))
    (folder / "none.png").write_bytes(png(9))
    (folder / "empty").mkdir()
    return folder


def pack(source: Path, out: Path, **settings: Any) -> PackReport:
    return make_shards(source, out, **{"workers": 0, "shard_examples": 3, "classes": True, **settings})


def labels(out: Path) -> dict[str, bytes | None]:
    return {key: example.get("cls") for key, example in sorted(packed(out).items())}


def test_each_example_is_labelled_with_the_number_of_its_first_folder(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(source, out)
    assert json.loads((out / "classes.json").read_text(encoding="utf-8")) == {"cats": 0, "dogs": 1, "Übrige": 2}
    assert labels(out) == {
        "cats/x": b"0",
        "dogs/small/x": b"1",
        "dogs/x": b"1",
        "none": None,
        "Übrige/x": b"2",
    }
    assert Manifest.load(out).settings["classes"] == {"cats": 0, "dogs": 1, "Übrige": 2}
    (source / "none.png").unlink()
    pack(source, out, overwrite=True)
    images = ImageIterator(out, size=8, batch_size=4, fields=("cls",))
    assert sorted(next(iter(images)).fields["cls"].tolist()) == [0, 1, 1, 2]


def test_without_the_flag_nothing_is_labelled(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "out", classes=False)
    assert set(labels(tmp_path / "out").values()) == {None}
    assert not (tmp_path / "out" / "classes.json").exists()
    assert "classes" not in Manifest.load(tmp_path / "out").settings
    with pytest.raises(ShardError.__base__, match="classes was False and is True"):
        pack(source, tmp_path / "out", append=True)


def test_recordings_and_their_segments_are_labelled_as_well(tmp_path: Path) -> None:
    for name in ("oboe", "bassoon"):
        (tmp_path / "audio" / name).mkdir(parents=True)
        (tmp_path / "audio" / name / "a.wav").write_bytes(wav(noise("s16", 3000, 1), "s16", 1))
    pack(tmp_path / "audio", tmp_path / "out", segment=0.1)
    assert labels(tmp_path / "out") == {
        "bassoon/a-00000": b"0",
        "bassoon/a-00001": b"0",
        "oboe/a-00000": b"1",
        "oboe/a-00001": b"1",
    }


def test_classes_that_are_appended_come_after_those_that_are_there(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(source, out)
    for name in ("ants", "zebras", "cats"):
        (source / name).mkdir(exist_ok=True)
        (source / name / "new.png").write_bytes(png(50 + len(name)))
    pack(source, out, append=True)
    expected = {"cats": 0, "dogs": 1, "Übrige": 2, "ants": 3, "zebras": 4}
    assert json.loads((out / "classes.json").read_text(encoding="utf-8")) == expected
    found = labels(out)
    assert (found["cats/x"], found["cats/new"], found["ants/new"], found["zebras/new"]) == (b"0", b"0", b"3", b"4")
    assert pack(source, out).was_complete
    pack(source, tmp_path / "fresh")
    assert json.loads((tmp_path / "fresh" / "classes.json").read_text(encoding="utf-8"))["ants"] == 0


def test_labels_of_their_own_and_folders_without_classes_are_refused(source: Path, tmp_path: Path) -> None:
    (source / "cats" / "x.cls").write_text("7")
    with pytest.raises(SourceError, match=r"cats/x\.png: has a label of its own"):
        pack(source, tmp_path / "out")
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "a.png").write_bytes(png(1))
    with pytest.raises(SourceError, match="No sub-folder holds a file"):
        pack(tmp_path / "flat", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_a_lost_table_is_written_again_and_one_that_is_not_ours_is_spared(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(source, out)
    before = contents(out)
    (out / "classes.json").unlink()
    assert pack(source, out).was_complete
    assert contents(out) == before
    pack(source, out, classes=False, overwrite=True)
    assert not (out / "classes.json").exists()
    (out / "classes.json").write_text("mine")
    pack(source, out, classes=False, overwrite=True, shuffle=5)
    assert (out / "classes.json").read_text() == "mine"


def test_nonsense_in_the_manifest_is_an_error(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(source, out)
    text = (out / "manifest.json").read_text(encoding="utf-8")
    (out / "manifest.json").write_text(text.replace('"dogs":1', '"dogs":"one"'), encoding="utf-8")
    with pytest.raises(ShardError, match="not names with numbers"):
        pack(source, out)


@pytest.mark.parametrize("settings", [{"append": True}, {"overwrite": True}])
def test_the_table_survives_dying_at_any_step(tmp_path: Path, settings: dict[str, bool]) -> None:
    source, begun = tmp_path / "source", tmp_path / "begun"
    for number, name in enumerate(("bees", "ants")):
        (source / name).mkdir(parents=True)
        (source / name / "x.png").write_bytes(png(number))
        if name == "bees":
            pack(source, begun)
    shutil.copytree(begun, tmp_path / "undisturbed")
    pack(source, tmp_path / "undisturbed", **settings)
    expected, step, died = contents(tmp_path / "undisturbed"), 1, True
    assert "classes.json" in expected
    while died:
        out = tmp_path / f"out{step}"
        shutil.copytree(begun, out)
        died = run_and_die(step, source, out, classes=True, **settings)
        pack(source, out, **settings)
        assert contents(out) == expected, step
        step += 1
    assert step > 20


def test_an_addition_that_is_given_up_leaves_the_old_table(source: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    pack(source, begun)
    before, step = contents(begun), 12
    (source / "ants").mkdir()
    (source / "ants" / "new.png").write_bytes(png(70))
    tables = set()
    while True:
        out = tmp_path / f"out{step}"
        shutil.copytree(begun, out)
        if not run_and_die(step, source, out, classes=True, append=True):
            break
        tables.add((out / "classes.json").read_text(encoding="utf-8"))
        if Manifest.load(out).examples == 5:
            (source / "ants" / "new.png").rename(tmp_path / "aside.png")
            assert pack(source, out).was_complete
            assert contents(out) == before, step
            (tmp_path / "aside.png").rename(source / "ants" / "new.png")
        step += 1
    assert len(tables) == 2, "some run died after the new table and before the new manifest"
