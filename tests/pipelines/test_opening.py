"""What `open_source` makes of what a user writes, and what it says where there is nothing to read."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import ShardError, ShardSource, SourceError, open_source
from pipelines.sources import shards
from pipelines.storage.index import index_path
from pipelines.storage.tar_index import open_tar

from .shard_files import GOLDEN, keys, put, write_shard, write_shards


def test_every_way_to_name_shards_opens_the_same_examples(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", [3, 2, 4])
    expected = [f"{number:06d}" for number in range(9)]
    paths = sorted(folder.glob("*.tar"))
    for named in (
        folder,
        str(folder),
        f"{folder}/s-{{0000..0002}}.tar",
        f"{folder}/s-000[0-2].tar",
        f"{folder}/*.tar",
        paths,
        [str(path) for path in paths],
        tuple(paths),
    ):
        source = open_source(named)
        assert keys(source) == expected, named
        assert source.shard_counts.tolist() == [3, 2, 4]
    assert keys(open_source(paths[1])) == expected[3:5]
    assert keys(open_source(f"{folder}/s-{{0002,0000}}.tar")) == expected[5:] + expected[:3]
    assert open_source(source) is source


def test_a_folder_of_shards_with_a_manifest_is_opened_without_reading_a_tar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_shards(tmp_path / "image", [3, 2], manifest=True)
    expected = keys(open_source(folder))
    opened: list[Path] = []
    monkeypatch.setattr(shards, "open_tar", lambda tar, store: opened.append(Path(tar)) or open_tar(tar, store))
    source = open_source(tmp_path)
    assert (len(source), opened) == (5, [])
    assert source[4].key == expected[4]
    assert opened == [folder / "s-0001.tar"]


def test_the_golden_shards_of_version_1_are_read() -> None:
    source = open_source(GOLDEN, verify=True)
    assert keys(source) == ["a/zero", "a/one", "two"]
    assert json.loads(source[0].fields["json"]) == {"label": 3}
    assert source[1].media.startswith(b"\x89PNG")


def test_hidden_tars_are_passed_over(tmp_path: Path) -> None:
    write_shards(tmp_path, [2])
    (tmp_path / "._s-0000.tar").write_bytes(b"what macOS leaves on foreign disks")
    assert len(open_source(tmp_path)) == 2


def test_a_path_with_pattern_characters_is_first_of_all_a_path(tmp_path: Path) -> None:
    write_shard(tmp_path / "odd[1]{a,b}.tar", 0, 2)
    assert len(open_source(tmp_path / "odd[1]{a,b}.tar")) == 2


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("absent", "no such file or folder"),
        ("absent.tar", "no such file or folder"),
        ("*.tar", "no file matches"),
        ("s-{0..3}.tar", "no such file"),
        ("a{b.tar", "pattern|no such file"),
        (["s-0.tar"], "no such file"),
        (["text"], "it is a folder, where tars were to be listed"),
        ([], "empty list"),
        ("empty", "no image files"),
        ("text/a.txt", "not a tar"),
        (["text/a.txt"], "not a tar"),
        ("s3:///shards", "names no bucket"),
        ("text", "no image files"),
    ],
    ids=str,
)
def test_where_there_is_nothing_to_read_one_sentence_says_so(
    data: Any, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    put(tmp_path, "text/a.txt", content=b"text")
    with pytest.raises(SourceError, match=reason) as caught:
        open_source(data)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_text_that_is_called_a_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("this is no archive at all, but it is long enough " * 40)
    with pytest.raises(ShardError, match=r"x\.tar"):
        open_source(tmp_path / "x.tar")


def test_a_tar_without_examples_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("README"))
    with pytest.raises(SourceError, match="no examples"):
        open_source(tmp_path / "x.tar")


def test_shards_that_contradict_their_manifest_are_named(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, [3, 2], manifest=True)
    second = folder / "s-0001.tar"
    whole = second.read_bytes()
    second.write_bytes(whole[:-512])
    with pytest.raises(ShardError, match=r"s-0001\.tar.*manifest"):
        open_source(folder)
    second.unlink()
    with pytest.raises(ShardError, match=r"s-0001\.tar: in the manifest, but there is no such file"):
        open_source(folder)
    second.write_bytes(whole)
    np.save(index_path(second), np.load(index_path(second))[:1])
    source = open_source(folder)
    with pytest.raises(ShardError, match=r"s-0001\.tar.*1 examples, 2 were expected"):
        source.read([4])


def test_checksums_are_held_when_that_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "golden"
    folder.mkdir()
    for path in GOLDEN.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    tar = folder / "image-v1.tar"
    content = bytearray(tar.read_bytes())
    content[open_source(folder)[1].offset or 0] ^= 1
    tar.write_bytes(content)
    assert open_source(folder)[1].key == "a/one"
    with pytest.raises(ShardError, match=r"image-v1\.tar: example 1 at byte [\d,]+ fails its checksum"):
        open_source(folder, verify=True).read([1])
    assert open_source(folder, verify=True)[2].key == "two"


def test_shard_source_refuses_an_empty_list_by_name() -> None:
    with pytest.raises(SourceError, match="Name at least one"):
        open_source([])
    assert isinstance(open_source(GOLDEN), ShardSource)


@pytest.mark.parametrize("name", ["photos [v2]", "a*b", "what?", "{x,y}", "[1-2]{3..4}"])
def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path: Path, name: str) -> None:
    folder = write_shards(tmp_path / name / "shards", [3, 2, 4])
    expected = [f"{number:06d}" for number in range(9)]
    for pattern in ("", "/*.tar", "/s-{0000..0002}.tar", "/s-000[0-2].tar"):
        assert keys(open_source(f"{folder}{pattern}")) == expected, pattern
    assert keys(open_source(f"{folder}/s-0001.tar")) == expected[3:5]
    assert keys(open_source(f"{tmp_path}/*/shards/s-0001.tar")) == expected[3:5], "a pattern above finds it, too"


def test_a_tar_whose_name_looks_like_a_pattern_is_that_tar_inside_braces(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "s", [1, 2])
    (folder / "s-0000.tar").rename(folder / "a[1].tar")
    (folder / "s-0001.tar").rename(folder / "a1.tar")
    assert len(open_source(f"{folder}/a[1].tar")) == 1
    assert len(open_source(f"{folder}/{{a[1],a1}}.tar")) == 3
