"""A folder plays what packing takes from it: the same files, once each, with the same fields."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import (
    AudioIterator,
    DataIterator,
    ExampleError,
    FolderSource,
    ImageIterator,
    ShardSource,
    SourceError,
    make_shards,
    open_source,
)
from pipelines.errors import ShardError

from .conftest import png
from .shard_files import write_shards
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
    assert FolderSource(folder).keys() == ["IMG_1", "a_b", "two"]
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


def test_keys_are_the_same_in_both_whatever_the_names(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    names = ["a.b.png", "a_b.png", "a.jpg", "a.png", "__x__.png", "x/__y.png", "tab\t.png", "deep/a.b/c.d.png"]
    for number, name in enumerate(names):
        put(folder, name, png(number))
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(png(9))
    packed = assert_packed_and_played_alike(folder, tmp_path / "out")
    put(folder, "a.gif", "garbage, and it gets its key last")
    played = FolderSource(folder).keys()
    assert [key for key in played if key != "a~3"] == packed
    found = dict(zip(played, range(10), strict=True))
    assert {
        "a_b",
        "a_b~2",
        "a",
        "a~2",
        "a~3",
        "~__x__",
        "x/__y",
        "tab_",
        "deep/a.b/c_d",
        "caf\ufffd",
    } == found.keys()
    with pytest.raises(ExampleError, match=r"'a~3'"):
        list(ImageIterator(folder, size=8, batch_size=1, select=[found["a~3"]]))


REFUSED = {
    "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(20), "a HEIF picture, which cannot be read: convert it to JPEG"),
    "phone.jpg": (b"\0\0\0\x18ftypmif1\0\0\0\0heic", "a HEIF picture, which cannot be read: convert it to JPEG"),
    "new.jxl": (
        b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20),
        "a JPEG XL picture, which cannot be read: convert it to JPEG",
    ),
    "song.m4a": (b"\0\0\0\x20ftypM4A " + bytes(40), "an AAC recording, which cannot be read: convert it to flac"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_both_say_what_a_file_is_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    content, reason = REFUSED[name]
    folder, is_audio = tmp_path / "in", name.endswith("m4a")
    put(folder, name, content)
    good = wav(noise("s16", 4000, 1), "s16", 1, 8000) if is_audio else png(0)
    put(folder, "good.wav" if is_audio else "good.png", good)
    report = make_shards(folder, tmp_path / "out", workers=0)
    assert [tuple(failure) for failure in report.failures] == [(name, reason)]
    data = (
        AudioIterator(folder, window=4000, batch_size=1)
        if is_audio
        else ImageIterator(folder, size=8, batch_size=1)
    )
    with pytest.raises(ExampleError) as caught:
        for _ in data:
            pass
    assert caught.value.reason == reason
    (folder / "phone").mkdir()
    (folder / name).rename(folder / "phone" / name)
    alone = FolderSource(folder / "phone", modality="audio" if is_audio else "image")
    assert len(alone) == 1, "a folder of such files alone says what they are as well"
    with pytest.raises(SourceError, match=reason):
        make_shards(folder / "phone", tmp_path / "alone", workers=0)


ARCHIVES = {
    "a.tar.xz": (b"\xfd7zXZ\0" + bytes(600), "compressed by xz, which cannot be read here. Unpack it with xz -d"),
    "a.tar": (b"BZh9" + bytes(600), "compressed by bzip2"),
    "a.tar.zst": (b"\x28\xb5\x2f\xfd" + bytes(600), "compressed by zstd"),
    "a.tar.gz": (b"PK\3\4" + bytes(600), "a zip archive, which cannot be read here. Unpack it into a folder"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_that_is_no_tar_is_named_for_what_it_is(name: str, tmp_path: Path) -> None:
    content, reason = ARCHIVES[name]
    put(tmp_path, name, content)
    write_shards(tmp_path, [3])
    for data in (tmp_path / name, tmp_path):
        with pytest.raises(ShardError, match=f"{re.escape(name)}: {reason}"):
            list(ImageIterator(data, size=8, batch_size=1))


def test_which_sidecar_is_whose_does_not_depend_on_what_is_packed(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    put(folder, "a.png", png(0))
    put(folder, "a.f0.wav", wav(noise("s16", 400, 1), "s16", 1))
    put(folder, "a.f0.json", "{}")
    put(folder, "b.png", png(1))
    put(folder, "b.f0.png", "garbage")
    put(folder, "b.f0.json", "{}")
    make_shards(folder, tmp_path / "all", workers=0)
    for modality, fields in (("image", {"a": [], "b": ["f0.json"]}), ("audio", {"a_f0": ["json"]})):
        make_shards(folder, tmp_path / modality, only=modality, workers=0)
        for source in (
            open_source(tmp_path / "all" / modality),
            open_source(tmp_path / modality),
            FolderSource(folder, modality=modality),
        ):
            found = {source[index].key: list(source[index].fields) for index in range(len(source))}
            assert {key: found[key] for key in fields} == fields


@pytest.mark.parametrize(
    ("name", "content"),
    [("manifest.json", '{"label": 1}'), ("manifest.json", "[1]"), ("zarr.json", '{"label": 1}')],
)
def test_json_of_a_picture_may_be_called_as_other_json_is(name: str, content: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    put(folder, name.replace("json", "png"), png(0))
    put(folder, name, content)
    assert_packed_and_played_alike(folder, tmp_path / "out")
    fields = next(iter(ImageIterator(folder, size=8, batch_size=1, fields=("json",)))).fields
    assert fields["json"] == [json.loads(content)]


def test_a_manifest_beside_tars_is_one_whatever_it_holds(tmp_path: Path) -> None:
    write_shards(tmp_path, [3])
    (tmp_path / "manifest.json").write_text('{"label": 1}')
    with pytest.raises(ShardError, match="not a readable manifest"):
        open_source(tmp_path)


def test_a_folder_of_a_folder_for_each_modality_is_read_as_it_is_packed(tmp_path: Path) -> None:
    put(tmp_path / "in", "image/a.png", png(0))
    put(tmp_path / "in", "audio/b.wav", wav(noise("s16", 400, 1), "s16", 1))
    put(tmp_path / "in", "audio/cover.png", png(1))
    make_shards(tmp_path / "in", tmp_path / "out", workers=0)
    for modality, keys in (("image", ["a"]), ("audio", ["b"])):
        for place in (tmp_path / "in", tmp_path / "out"):
            source = open_source(place, modality=modality)
            assert [source[index].key for index in range(len(source))] == keys
    with pytest.raises(SourceError, match="holds audio and image, no video files"):
        open_source(tmp_path / "in", modality="video")


def played(source: FolderSource | ShardSource, modality: str) -> dict[str, tuple[Any, ...]]:
    """For each key what is played, with its fields, or why it is refused."""
    found: dict[str, tuple[Any, ...]] = {}
    for index, key in enumerate(source.keys()):
        data: DataIterator = (
            ImageIterator(source, size=64, batch_size=1, threads=1, select=[index])
            if modality == "image"
            else AudioIterator(source, window=4000, batch_size=1, threads=1, select=[index])
        )
        try:
            batches = [(batch.keys, batch.data.tobytes()) for batch in data]
            found[key] = (batches, dict(source.locate(index).fields).keys())
        except ExampleError as error:
            found[key] = (error.reason,)
    return found


@pytest.mark.heavy
@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd EXIF blocks
@pytest.mark.parametrize(
    ("modality", "name"),
    [("image", "hostile/image"), ("audio", "hostile/audio"), ("audio", "audio/speech"), ("audio", "audio/phrases")],
)
def test_what_others_made_is_played_or_refused_alike(
    modality: str, name: str, shared_data: Path, tmp_path: Path
) -> None:
    report = make_shards(shared_data / name, tmp_path / "out", only=modality, workers=0)
    shards, folder = open_source(tmp_path / "out"), FolderSource(shared_data / name, modality=modality)
    assert isinstance(shards, ShardSource)
    packed, unpacked = played(shards, modality), played(folder, modality)
    for key, outcome in packed.items():
        assert unpacked.pop(key) == outcome
    assert sorted(reason for (reason,) in unpacked.values()) == sorted(one.reason for one in report.failures)
