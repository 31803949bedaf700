"""Rows of a table that are packed beside the files they name, for every modality."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import AudioIterator, labels, make_shards
from pipelines.errors import ShardError, ShardingError, SourceError
from pipelines.sharding.cli import main

from .conftest import png
from .wav_files import noise, packed, wav


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "sub/c.png", "d.png")):
        (folder / name).write_bytes(png(number))
    return folder


def rows(out: Path) -> dict[str, object]:
    return {key: json.loads(members["json"]) for key, members in packed(out).items() if "json" in members}


def test_the_row_of_a_csv_lies_beside_its_file(pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text('file_name,species,grams,code\na.png,"cat, tabby",4.5,007\nc.png,dog,,12\nb,bird,1,013\n')
    report = make_shards(pictures, tmp_path / "out", labels=table, workers=0)
    assert rows(tmp_path / "out") == {
        "a": {"file_name": "a.png", "species": "cat, tabby", "grams": 4.5, "code": "007"},
        "b": {"file_name": "b", "species": "bird", "grams": 1.0, "code": "013"},
        "sub/c": {"file_name": "c.png", "species": "dog", "grams": None, "code": "12"},
    }
    assert report.notes == ("1 file has no row in the table.",)


def test_the_row_of_a_json_lines_file_lies_beside_a_recording_and_its_segments(tmp_path: Path) -> None:
    folder, table = tmp_path / "sounds", tmp_path / "table.jsonl"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.wav").write_bytes(wav(noise("s16", 3000, 1, 1), "s16", 1, 1000))
    (folder / "a.json").write_text('{"take": 3}')
    table.write_text('{"path": "a.wav", "speaker": "Zoë"}\n{"path": "b.wav", "speaker": null, "tags": ["x"]}\n')
    make_shards(folder, tmp_path / "out", labels=table, label_key="path", segment=2.0, workers=0)
    assert rows(tmp_path / "out") == {
        "a-00000": {"path": "a.wav", "speaker": "Zoë", "take": 3},
        "a-00001": {"path": "a.wav", "speaker": "Zoë", "take": 3},
        "b-00000": {"path": "b.wav", "speaker": None, "tags": ["x"]},
        "b-00001": {"path": "b.wav", "speaker": None, "tags": ["x"]},
    }
    batch = next(iter(AudioIterator(tmp_path / "out", window=500, batch_size=2, fields=("json",))))
    said = {key[0]: row["speaker"] for key, row in zip(batch.keys, batch.fields["json"], strict=True)}
    assert said.items() <= {"a": "Zoë", "b": None}.items()


def test_a_table_without_the_key_column_is_refused_and_nothing_is_lost(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, out = tmp_path / "table.csv", tmp_path / "out"
    make_shards(pictures, out, workers=0)
    before = sorted((path.name, path.stat().st_mtime_ns) for path in out.iterdir())
    table.write_text("name,species\na.png,cat\n")
    code = main([str(pictures), "--out", str(tmp_path / "new"), "--labels", str(table), "--workers", "0"])
    said = capsys.readouterr().err
    assert code == 2
    assert said.count("\n") == 1
    assert "file_name" in said
    assert "--label-key" in said
    assert "species" in said
    assert sorted((path.name, path.stat().st_mtime_ns) for path in out.iterdir()) == before
    code = main(
        [
            str(pictures),
            "--out",
            str(tmp_path / "new"),
            "--labels",
            str(table),
            "--label-key",
            "name",
            "--workers",
            "0",
        ]
    )
    assert code == 0
    assert rows(tmp_path / "new") == {"a": {"name": "a.png", "species": "cat"}}


def test_faults_of_a_table_are_counted_and_strict_makes_them_errors(pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("file_name,species\na.png,cat\na.png,dog\ngone.png,ant\nb.png,bee,too,much\n")
    with pytest.raises(ShardingError) as caught:
        make_shards(pictures, tmp_path / "out", labels=table, workers=0, strict=True)
    report = make_shards(pictures, tmp_path / "out", labels=table, workers=0)
    for words in ("gone.png", "names a file that an earlier row names", "another number of columns"):
        assert words in str(caught.value)
        assert any(words in note for note in report.notes)
    assert rows(tmp_path / "out") == {"a": {"file_name": "a.png", "species": "cat"}}
    assert report.examples == 4


def test_a_table_that_is_missing_is_named(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.csv: cannot be read"):
        make_shards(pictures, tmp_path / "out", labels=tmp_path / "none.csv", workers=0)


def test_annotations_are_for_pictures(tmp_path: Path) -> None:
    folder, file = tmp_path / "sounds", tmp_path / "coco.json"
    folder.mkdir()
    (folder / "a.wav").write_bytes(wav(noise("s16", 3000, 1, 1), "s16", 1, 1000))
    file.write_text("{}")
    with pytest.raises(SourceError, match="annotations is a setting for images"):
        make_shards(folder, tmp_path / "out", annotations=file, workers=0)


def test_sub_folders_are_labels_with_counts(pictures: Path, tmp_path: Path) -> None:
    (pictures / "tiny").mkdir()
    (pictures / "tiny" / "e.png").write_bytes(png(9))
    make_shards(pictures, tmp_path / "out", classes=True, workers=0)
    table = labels(tmp_path / "out")
    assert (table.names, table.counts) == (("sub", "tiny"), (1, 1))
    (pictures / "tiny" / "f.png").write_bytes(png(10))
    make_shards(pictures, tmp_path / "out", classes=True, append=True, workers=0)
    assert labels(tmp_path / "out").counts == (1, 2)
    (tmp_path / "out" / "labels.json").write_text(
        '{"format": "dirvae-labels", "version": 1, "labels": [{"class": 5}]}'
    )
    assert labels(tmp_path / "out").counts == (1, 2), "the manifest has them"
    (tmp_path / "out" / "manifest.json").unlink()
    with pytest.raises(ShardError, match="not a readable table of labels"):
        labels(tmp_path / "out")
