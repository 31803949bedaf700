"""When make_shards refuses, stops or waits: what it says, what it leaves, and how it goes on."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import ShardError, ShardingError, SourceError
from pipelines.modality import Format, Modality, register
from pipelines.sharding import PackReport, make_shards
from pipelines.sharding.folder_place import LOCK_NAME, FolderPlace
from pipelines.sharding.source_reader import PackingStoppedError

ROOT = Path(__file__).resolve().parents[2]


def picture(seed: int, kind: str = "PNG") -> bytes:
    pixels = np.random.Generator(np.random.Philox(seed)).integers(0, 255, (16, 24, 3), np.uint8)
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, kind)
    return target.getvalue()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty images, and three files that are named like some."""
    folder = tmp_path / "source"
    folder.mkdir()
    for index in range(20):
        (folder / f"{index:02d}.png").write_bytes(picture(index))
    (folder / "text.jpg").write_text("this is no picture")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "truncated.jpg").write_bytes(picture(1, "JPEG")[:60])
    return folder


def pack(source: Path, out: Path, **settings: object) -> PackReport:
    return make_shards(source, out, **{"workers": 0, "shard_examples": 6, **settings})  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_other_settings_or_files_are_refused_with_what_differs_and_the_remedy(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(source, out)
    before = contents(out)
    with pytest.raises(ShardingError, match=r"shuffle was 0 and is 1.*--overwrite"):
        pack(source, out, shuffle=1)
    with pytest.raises(ShardingError, match=r"decode was False and is True.*--overwrite"):
        pack(source, out, decode=True, append=True)
    (source / "new.png").write_bytes(picture(50))
    (source / "00.png").unlink()
    with pytest.raises(ShardingError, match=r"1 new, 1 gone.*--append.*--overwrite"):
        pack(source, out)
    assert contents(out) == before


def test_one_file_that_changed_is_said_to_have_changed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(source, out)
    (source / "00.png").write_bytes(picture(0) + b"more")
    with pytest.raises(ShardingError, match=r"has changed since it was packed; none is new or gone\..*--overwrite"):
        pack(source, out)


def test_shards_of_unknown_origin_are_not_touched(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "image-000000.tar").write_bytes(b"somebody's")
    with pytest.raises(ShardingError, match=r"image-000000\.tar but no manifest.*--overwrite"):
        pack(source, out)
    assert contents(out).keys() == {"image-000000.tar"}


def test_a_complete_set_that_lost_a_shard_is_reported(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "out")
    (tmp_path / "out" / "image-000001.tar").unlink()
    with pytest.raises(ShardError, match=r"image-000001\.tar: in the manifest"):
        pack(source, tmp_path / "out")


def test_a_damaged_manifest_is_one_sentence_and_can_be_overwritten(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(source, out)
    before = contents(out)
    (out / "manifest.json").write_text('{"format": "dirvae-sh')
    with pytest.raises(ShardError, match=r"manifest\.json: not a readable manifest"):
        pack(source, out)
    pack(source, out, overwrite=True)
    assert contents(out) == before


def test_strict_refuses_before_packing_or_leaves_the_set_unfinished(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(PackingStoppedError, match="2 files cannot be packed") as caught:
        pack(source, out, strict=True)
    assert [failure.path for failure in caught.value.failures] == ["empty.jpg", "text.jpg"]
    assert not out.exists()
    for name in ("empty.jpg", "text.jpg"):
        (source / name).unlink()
    with pytest.raises(PackingStoppedError, match="1 file cannot be packed") as caught:
        pack(source, out, strict=True)
    assert [failure.path for failure in caught.value.failures] == ["truncated.jpg"]
    assert not (out / "manifest.json").exists()
    made = {path: path.stat().st_ino for path in out.glob("*.tar")}
    report = pack(source, out)
    assert report.new_shards == 0
    assert {path: path.stat().st_ino for path in out.glob("*.tar")} == made
    pack(source, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")
    with pytest.raises(PackingStoppedError, match="1 file cannot be packed"):
        pack(source, out, strict=True)


def test_a_second_run_is_refused_while_the_first_holds_the_folder(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with (
        FolderPlace(out).hold(),
        pytest.raises(ShardingError, match=rf"process {os.getpid()} is packing into it"),
    ):
        pack(source, out)
    assert not (out / LOCK_NAME).exists()
    (out / LOCK_NAME).write_text("12345\n")
    assert pack(source, out).examples == 20
    assert not (out / LOCK_NAME).exists()


def test_a_lock_file_that_its_holder_just_removed_locks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, path = fcntl.flock, tmp_path / LOCK_NAME
    removed = []

    def flock_after_the_holder_left(handle: int, operation: int) -> None:
        if not removed:
            removed.append(path.unlink())
        flock(handle, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock_after_the_holder_left)
        with FolderPlace(tmp_path).hold():
            assert removed
            assert path.read_text() == f"{os.getpid()}\n"
            with pytest.raises(ShardingError), FolderPlace(tmp_path).hold():
                raise AssertionError


def test_a_full_disk_is_reported_finished_shards_stay_and_the_run_goes_on(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (source / "big.png").write_bytes(picture(80) + bytes(60_000))
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)); "
        f"sys.path.insert(0, {str(ROOT)!r}); from pipelines.sharding.cli import main; "
        "sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", limited, str(source), "--out", str(out), "--shard-examples", "6", "--workers"]
    for workers in ("0", "2"):
        done = subprocess.run([*command, workers], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert f"cannot be written ({os.strerror(errno.EFBIG)})" in done.stderr.strip().splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert not (out / "manifest.json").exists()
        assert not list(out.rglob("*.part"))
    pack(source, tmp_path / "fresh")
    finished = {path: path.stat().st_ino for path in out.glob("*.tar")}
    assert finished
    report = pack(source, out)
    assert report.new_shards == report.shards - len(finished)
    assert {path: path.stat().st_ino for path in finished} == finished
    assert contents(out) == contents(tmp_path / "fresh")
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 40_000


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_an_error_of_the_disk_anywhere_is_one_sentence(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", fail) if failing == "fsync" else (Path, "replace", fail)))
        with pytest.raises(ShardingError, match="No space left on device"):
            pack(source, tmp_path / "out")
    pack(source, tmp_path / "out")
    pack(source, tmp_path / "fresh")
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("now", [b"other", picture(3) + b"longer"])
def test_a_file_that_changes_while_it_is_packed_stops_the_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, now: bytes
) -> None:
    from pipelines.sharding import source_place

    def list_and_change(*args: object, **settings: object) -> object:
        contents = list_folder(*args, **settings)  # type: ignore[arg-type]
        (source / "03.png").write_bytes(now)
        return contents

    list_folder = source_place.list_folder
    monkeypatch.setattr(source_place, "list_folder", list_and_change)
    with pytest.raises(PackingStoppedError, match=r"03\.png: no longer the"):
        pack(source, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_an_unfinished_set_of_other_files_or_settings_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    (source / "text.jpg").unlink()
    (source / "empty.jpg").unlink()
    with pytest.raises(PackingStoppedError):
        pack(source, out, strict=True)
    with pytest.raises(ShardingError, match=r"unfinished set begun with other settings \(shard_examples was 6"):
        pack(source, out, shard_examples=5)
    (source / "new.png").write_bytes(picture(90))
    with pytest.raises(ShardingError, match=r"unfinished set begun with other files.*--overwrite"):
        pack(source, out)
    pack(source, out, overwrite=True)
    pack(source, tmp_path / "fresh")
    assert contents(out) == contents(tmp_path / "fresh")


def test_sources_with_nothing_to_pack_are_one_sentence_each(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(SourceError, match="no such folder"):
        pack(tmp_path / "missing", out)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(SourceError, match="no images, recordings or videos in it"):
        pack(folder, out)
    register(Modality(name="scan", noun="scan", formats=(Format("scan", rb"SCAN"),)))
    (folder / "a.scan").write_bytes(b"SCAN")
    with pytest.raises(
        SourceError,
        match="holds scan, no images, recordings or videos; only images, recordings and videos are pack",
    ):
        pack(folder, out)
    with pytest.raises(SourceError, match="a file; name the folder"):
        pack(folder / "a.scan", out)
    (folder / "text.jpg").write_text("no picture")
    with pytest.raises(SourceError, match=r"text\.jpg is not an image"):
        pack(folder, out)
    (folder / "text.jpg").write_bytes(picture(0, "JPEG")[:40])
    with pytest.raises(PackingStoppedError, match="none of its 1 image can"):
        pack(folder, out)
    assert not out.exists() or not list(out.iterdir())


def test_an_out_folder_that_cannot_be_is_one_sentence(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ShardingError, match=r"cannot be made"):
            pack(source, out)
    with pytest.raises(ShardingError, match="is the folder that is read"):
        pack(source, source)


@pytest.mark.parametrize("change", ["another size", "a new one", "gone"])
def test_append_refuses_sidecar_files_that_are_others_now(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(4):
        (folder / f"{index}.png").write_bytes(picture(index))
    (folder / "0.json").write_text('{"label": 1}')
    pack(folder, tmp_path / "out")
    if change == "another size":
        (folder / "0.json").write_text('{"label": 12345}')
    elif change == "a new one":
        (folder / "1.json").write_text('{"label": 2}')
    else:
        (folder / "0.json").unlink()
    (folder / "new.png").write_bytes(picture(9))
    with pytest.raises(ShardingError, match=r"packed already, or a sidecar file of one, has changed.*--overwrite"):
        pack(folder, tmp_path / "out", append=True)


def test_append_tells_of_packed_images_that_are_gone(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(4):
        (folder / f"{index}.png").write_bytes(picture(index))
    pack(folder, tmp_path / "out")
    (folder / "0.png").unlink()
    (folder / "new.png").write_bytes(picture(9))
    report = pack(folder, tmp_path / "out", append=True)
    assert report.examples == 5
    assert any("1 packed image no longer in the folder" in note for note in report.notes)
