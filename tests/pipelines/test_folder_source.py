"""A plain folder as a source: which files, in which order, under which keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines import FolderSource, SourceError

from .shard_files import JPEG, keys, put

WAV = b"RIFF\0\0\0\0WAVEfmt " + bytes(20)
MP4 = b"\0\0\0\x18ftypisom" + bytes(20)


def test_a_folder_gives_its_files_sorted_by_path_with_paths_as_keys(tmp_path: Path) -> None:
    put(tmp_path, "b.jpg", "a/z.png", "a/a.webp", "B.JPG", "ü/写真.jpeg", "two.dots.jpg", "c d.gif")
    source = FolderSource(tmp_path)
    names = sorted(["b.jpg", "a/z.png", "a/a.webp", "B.JPG", "ü/写真.jpeg", "two.dots.jpg", "c d.gif"])
    assert keys(source) == [name.rsplit(".", 1)[0].replace("two.dots", "two_dots") for name in names]
    assert source.keys() == keys(source)
    assert [source[index].media for index in range(len(names))] == [JPEG + name.encode() for name in names]
    assert source[2].container == str(tmp_path / names[2])
    assert source[2].offset is None


def test_hidden_files_other_files_and_empty_folders_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", ".hidden.jpg", ".folder/b.jpg")
    put(tmp_path, "notes.md", content=b"text")
    put(tmp_path, "sound.wav", content=WAV)
    put(tmp_path, "film.mp4", content=MP4)
    (tmp_path / "empty").mkdir()
    assert keys(FolderSource(tmp_path)) == ["a"]


def test_files_without_a_suffix_are_told_by_what_they_begin_with(tmp_path: Path) -> None:
    put(tmp_path, "camera/IMG0001", "x/IMG0002")
    put(tmp_path, "README", content=b"text")
    assert keys(FolderSource(tmp_path)) == ["camera/IMG0001", "x/IMG0002"]


def test_the_modality_says_which_files_are_meant(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    put(tmp_path, "b.wav", content=WAV)
    put(tmp_path, "c.mp4", content=MP4)
    found = {modality: keys(FolderSource(tmp_path, modality=modality)) for modality in ("image", "audio", "video")}
    assert found == {"image": ["a"], "audio": ["b"], "video": ["c"]}


def test_symbolic_links_are_followed_and_cycles_end(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", "a.jpg", "deep/down/b.jpg")
    put(tmp_path / "elsewhere", "c.jpg")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "d.jpg").symlink_to(folder / "a.jpg")
    (folder / "deep/down/up").symlink_to(folder)
    (folder / "itself.jpg").symlink_to("itself.jpg")
    (folder / "nowhere.jpg").symlink_to("absent.jpg")
    found = keys(FolderSource(folder))
    assert {"a", "d", "deep/down/b", "linked/c"} <= set(found)
    assert len(found) <= 8
    assert "itself" not in found
    assert "nowhere" not in found


def test_names_that_are_no_utf_8_are_read_all_the_same(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    try:
        put(tmp_path, name)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    source = FolderSource(tmp_path)
    assert source[0].media == JPEG + b"caf\xe9.jpg"
    assert source.data_hash


def test_sidecar_files_are_fields_of_the_picture_with_their_stem(tmp_path: Path) -> None:
    put(tmp_path, "x/a.jpg", "b.jpg")
    (tmp_path / "x/a.json").write_text('{"n": 1}')
    (tmp_path / "x/a.txt").write_text("caption")
    (tmp_path / "other.txt").write_text("of nobody")
    source = FolderSource(tmp_path)
    assert dict(source[source.find("x/a")].fields) == {"json": b'{"n": 1}', "txt": b"caption"}
    assert dict(source[source.find("b")].fields) == {}
    assert len(source) == 2


def test_the_hash_of_a_folder_follows_names_and_sizes_and_nothing_else(tmp_path: Path) -> None:
    a, b = put(tmp_path / "a", "x.jpg", "y.jpg"), put(tmp_path / "b", "y.jpg", "x.jpg")
    assert FolderSource(a).data_hash == FolderSource(b).data_hash
    os.utime(b / "x.jpg", (0, 0))
    assert FolderSource(a).data_hash == FolderSource(b).data_hash
    put(b, "z.jpg")
    assert FolderSource(a).data_hash != FolderSource(b).data_hash
    assert len(FolderSource(a).data_hash) == 32


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    source = FolderSource(put(tmp_path, "a.jpg", "b.jpg"))
    (tmp_path / "b.jpg").unlink()
    assert source[0].key == "a"
    with pytest.raises(SourceError, match=r"b\.jpg: cannot be read"):
        source.read([0, 1])


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    put(tmp_path, "a.jpg")
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match="Permission denied"):
        FolderSource(tmp_path)
