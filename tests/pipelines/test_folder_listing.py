"""A folder plays what packing takes from it: the same files, once each, with the same fields."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import ExampleError, FolderSource, ImageIterator, SourceError, make_shards, open_source

from .conftest import png
from .wav_files import noise, wav


def put(folder: Path, name: str, content: bytes | str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def assert_packed_and_played_alike(folder: Path, out: Path, modality: str = "image") -> list[str]:
    """The keys, which are the same."""
    shutil.rmtree(out, ignore_errors=True)
    make_shards(folder, out, only=modality, workers=0, shuffle=None)
    packed, played = open_source(out), FolderSource(folder, modality=modality)
    assert [packed[i].key for i in range(len(packed))] == played.keys()
    for index in range(len(played)):
        assert packed[index].media == played[index].media
        assert dict(packed[index].fields) == dict(played[index].fields)
        located = played.locate(index)
        assert {name: part.content() for name, part in located.fields.items()} == dict(played[index].fields)
    return played.keys()


@pytest.mark.parametrize("num", [3, 9])
def test_folders_that_link_to_each_other_play_each_file_once(tmp_path: Path, num: int) -> None:
    for here in range(num):
        put(tmp_path / "in", f"d{here}/a.png", png(here))
        for other in range(num):
            if here != other:
                (tmp_path / f"in/d{here}/to{other}").symlink_to(tmp_path / f"in/d{other}")
    keys = assert_packed_and_played_alike(tmp_path / "in", tmp_path / "out")
    assert keys == [f"d{number}/a" for number in range(num)]


def test_a_folder_that_is_reached_twice_plays_by_its_own_path(tmp_path: Path) -> None:
    put(tmp_path / "in", "a/x.png", png(0))
    (tmp_path / "in" / "0_first").symlink_to(tmp_path / "in" / "a")
    put(tmp_path / "elsewhere", "y.png", png(1))
    for name in ("second", "first"):
        (tmp_path / "in" / name).symlink_to(tmp_path / "elsewhere")
    assert assert_packed_and_played_alike(tmp_path / "in", tmp_path / "out") == ["a/x", "first/y"]


def test_formats_are_detected_from_the_content_in_both(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    put(folder, "right.png", png(0))
    put(folder, "unnamed", png(1))
    put(folder, "other.dat", png(2))
    put(folder, "named_like_sound.wav", png(3))
    put(folder, "sound_named_like.jpg", wav(noise("s16", 400, 1), "s16", 1))
    put(folder, "film.png", b"\0\0\0\x18ftypisom" + bytes(20))
    put(folder, "notes.md", "text")
    keys = assert_packed_and_played_alike(folder, tmp_path / "out")
    assert keys == ["named_like_sound", "other", "right", "unnamed"]
    assert assert_packed_and_played_alike(folder, tmp_path / "out", "audio") == ["sound_named_like"]
    assert FolderSource(folder, modality="video").keys() == ["film"]


def test_sidecar_files_are_the_same_fields_in_both(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    put(folder, "IMG_1.JPG", png(0))
    put(folder, "IMG_1.TXT", "a caption")
    put(folder, "IMG_1.JSON", '{"label": 3}')
    put(folder, "IMG_1.boxes.npy", "boxes")
    put(folder, "IMG_1.JPG.txt", "of nobody")
    put(folder, "two.txt", "first")
    put(folder, "two.TXT", "second")
    put(folder, "two.png", png(1))
    put(folder, "a.b.png", png(2))
    put(folder, "a.json", "{}")
    assert FolderSource(folder).keys() == ["IMG_1", "a.b", "two"]
    (folder / "a.b.png").rename(folder / "c.png")
    assert_packed_and_played_alike(folder, tmp_path / "out")
    fields = next(iter(ImageIterator(folder, size=8, batch_size=3, fields=("json", "txt")))).fields
    assert fields["json"] == [{"label": 3}, None, None]
    assert fields["txt"] == ["a caption", None, "second"]


def test_a_file_of_no_known_format_is_a_failure_of_packing_and_an_example_that_cannot_be_decoded(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "in"
    put(folder, "a.png", png(0))
    put(folder, "garbage.png", "no picture")
    put(folder, "empty.jpg", "")
    report = make_shards(folder, tmp_path / "out", workers=0)
    assert [failure.path for failure in report.failures] == ["empty.jpg", "garbage.png"]
    source = FolderSource(folder)
    assert source.keys() == ["a", "empty", "garbage"]
    for broken in (1, 2):
        with pytest.raises(ExampleError, match=source.keys()[broken]):
            list(ImageIterator(folder, size=8, batch_size=1, select=[broken]))


def test_the_hash_of_an_ordinary_folder_is_over_paths_and_sizes_sorted_by_path(tmp_path: Path) -> None:
    """States hold it, so it must not change."""
    names = ["b/2.jpg", "a.PNG", "b/10.jpeg", "b.webp", "ü.gif"]
    digest = hashlib.sha256()
    for name in names:
        put(tmp_path, name, png(len(name)))
    put(tmp_path, "a.json", "{}")
    put(tmp_path, "README.md", "text")
    for name in sorted(names):
        digest.update(f"{name}\0{(tmp_path / name).stat().st_size}\0".encode())
    assert FolderSource(tmp_path).data_hash == digest.hexdigest()[:32]


def test_a_folder_of_other_media_says_what_it_holds(tmp_path: Path) -> None:
    put(tmp_path, "named_like.jpg", wav(noise("s16", 400, 1), "s16", 1))
    with pytest.raises(SourceError, match=r'no image files in it, but audio files. Open it with modality="audio"'):
        FolderSource(tmp_path)
    put(tmp_path / "empty", "notes.md", "text")
    with pytest.raises(SourceError, match=r"no image files in it. Put some there"):
        FolderSource(tmp_path / "empty")
    with pytest.raises(ValueError, match="modality is 'smell'; it must be one of 'image', 'audio', 'video'"):
        FolderSource(tmp_path, modality="smell")


def test_a_folder_within_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.png", png(0))
    put(tmp_path, "locked/b.png", png(0))
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"locked: a folder that cannot be read \(Permission denied\)"):
        FolderSource(tmp_path)


def test_a_pipe_in_the_folder_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    put(tmp_path, "a.png", png(0))
    assert FolderSource(tmp_path).keys() == ["a"]


def test_a_mixed_folder_gives_each_iterator_its_own_files(tmp_path: Path) -> None:
    put(tmp_path, "a.png", png(0))
    put(tmp_path, "a.wav", wav(noise("s16", 400, 1), "s16", 1))
    put(tmp_path, "a.json", '{"both": 1}')
    for modality in ("image", "audio"):
        source = FolderSource(tmp_path, modality=modality)
        assert (source.keys(), dict(source[0].fields)) == (["a"], {"json": b'{"both": 1}'})
    assert np.array_equal(FolderSource(tmp_path).shard_counts, [1])
