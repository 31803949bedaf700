"""`retry_failed`: what failed and has been repaired comes into new shards, and nothing else changes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines import ImageIterator, make_shards
from pipelines.errors import ShardingError
from pipelines.sharding import PackReport
from pipelines.sharding.cli import main
from pipelines.storage.manifest import Manifest

from .test_make_shards import picture
from .test_make_shards_killed import contents, run_and_die
from .wav_files import packed

FAILED = ("damaged.jpg", "empty.jpg", "text.jpg")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Four pictures, and three files that fail: two by their first bytes, one only when its header is read."""
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes(picture(number))
    (folder / "damaged.jpg").write_bytes(picture(7, "JPEG")[:3] + bytes(len(picture(7, "JPEG")) - 3))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture")
    return folder


def pack(source: Path, **settings: Any) -> PackReport:
    return make_shards(source, source.parent / "out", **{"workers": 0, "shard_examples": 3, **settings})


def failures(out: Path) -> list[str]:
    return [failure["path"] for failure in Manifest.load(out).failures]


def test_what_was_repaired_is_packed_and_nothing_else(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(source)
    before = contents(out)
    assert failures(out) == list(FAILED)
    (source / "damaged.jpg").write_bytes(picture(7, "JPEG"))  # as many bytes as before
    (source / "empty.jpg").write_bytes(picture(8, "JPEG"))
    (source / "new.png").write_bytes(picture(9))
    report = pack(source, retry_failed=True)
    assert "3 files had failed before: 2 no longer, 1 still." in report.notes
    assert (report.examples, report.new_shards, failures(out)) == (6, 1, ["text.jpg"])
    found = packed(out)
    assert found["damaged"]["jpg"] == picture(7, "JPEG")
    assert found["empty"]["jpg"] == picture(8, "JPEG")
    assert "new" not in found
    tars = {name: digest for name, digest in before.items() if ".tar" in name}
    assert tars.items() <= contents(out).items()
    with pytest.raises(ShardingError, match="1 new, 0 gone"):
        pack(source)
    assert pack(source, append=True).examples == 7
    assert pack(source).was_complete


def test_with_append_new_files_come_as_well_although_the_listing_is_as_it_was(source: Path, tmp_path: Path) -> None:
    pack(source)
    (source / "damaged.jpg").write_bytes(picture(7, "JPEG"))
    assert pack(source, append=True).was_complete, "a change that keeps the size is not seen"
    (source / "new.png").write_bytes(picture(9))
    report = pack(source, append=True, retry_failed=True)
    assert (report.examples, failures(tmp_path / "out")) == (6, ["empty.jpg", "text.jpg"])
    (source / "text.jpg").unlink()
    assert failures(tmp_path / "out") == ["empty.jpg", "text.jpg"]
    pack(source, retry_failed=True)
    assert failures(tmp_path / "out") == ["empty.jpg"]


def test_what_still_fails_stays_listed_with_its_reason_of_today(source: Path, tmp_path: Path) -> None:
    pack(source)
    before = contents(tmp_path / "out")
    report = pack(source, retry_failed=True)
    assert (report.new_shards, contents(tmp_path / "out")) == (1, before), "tried, and nothing came of it"
    (source / "empty.jpg").write_text("not empty")
    report = pack(source, retry_failed=True)
    assert failures(tmp_path / "out") == list(FAILED)
    assert [one.reason for one in report.failures][1].startswith("not an image")


def test_files_of_a_folder_that_could_not_be_read_are_retried(source: Path, tmp_path: Path) -> None:
    (source / "closed" / "deep").mkdir(parents=True)
    (source / "closed" / "deep" / "in.png").write_bytes(picture(5))
    (source / "closed-too.png").write_bytes(picture(6))
    hidden = tmp_path / "hidden"
    (source / "closed").rename(hidden)
    (source / "closed.png").symlink_to("nowhere")
    pack(source)
    assert "closed.png" in failures(tmp_path / "out")
    (source / "closed.png").unlink()
    hidden.rename(source / "closed.png")  # a folder of that name, which is no failure any longer
    pack(source, retry_failed=True)
    assert packed(tmp_path / "out")["closed.png/deep/in"]["png"] == picture(5)


def test_it_is_refused_in_one_sentence_where_there_is_nothing_to_retry(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(source), "--out", str(tmp_path / "out"), "--workers", "0", "--shard-examples", "3"]
    assert main([*command, "--retry-failed"]) == 2
    assert "holds no finished set of which failed files could be tried again" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(command) == 0
    assert main([*command, "--decode", "--retry-failed"]) == 2
    assert "other settings (decode was False and is True)" in capsys.readouterr().err
    for name in FAILED:
        (source / name).write_bytes(picture(7, "JPEG"))
    assert main([*command, "--retry-failed"]) == 0
    assert "3 files had failed before: 3 no longer, 0 still." in capsys.readouterr().out
    assert main([*command, "--retry-failed"]) == 2
    assert capsys.readouterr().err.endswith("no file of this set has failed. Leave out --retry-failed.\n")
    with pytest.raises(ValueError, match="retry_failed and overwrite exclude each other"):
        pack(source, retry_failed=True, overwrite=True)


def test_a_retry_that_dies_at_any_step_goes_on_to_the_same_bytes(source: Path, tmp_path: Path) -> None:
    pack(source)
    begun = (tmp_path / "out").rename(tmp_path / "begun")
    for name in FAILED[:2]:
        (source / name).write_bytes(picture(7, "JPEG"))
    shutil.copytree(begun, tmp_path / "out")
    pack(source, retry_failed=True)
    expected, step = contents(tmp_path / "out"), 1
    while True:
        out = tmp_path / f"out{step}"
        shutil.copytree(begun, out)
        if not run_and_die(step, source, out, retry_failed=True):
            break
        assert len(list(ImageIterator(out, size=8, batch_size=1))) in (4, 6)
        make_shards(source, out, workers=0, shard_examples=3, retry_failed=True)
        assert contents(out) == expected, step
        step += 1
    assert step > 20
