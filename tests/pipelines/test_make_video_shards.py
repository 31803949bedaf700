"""Videos from folder to finished shards: every byte, every frame, every fact, read back by others."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from pipelines import ShardSource, VideoIterator, make_shards
from pipelines.decode.errors import UndecodableError
from pipelines.errors import ShardError, ShardingError
from pipelines.sharding.cli import main
from pipelines.sharding.modalities.video_examples import VideoJob
from pipelines.sharding.packing import Prepared
from pipelines.sharding.source_reader import SourceReader
from pipelines.storage.frame_table import FRAME_DTYPE, HEAD_DTYPE, FrameFlag, FrameTable, TableFlag
from pipelines.storage.index import load_index
from pipelines.storage.manifest import Manifest

from .conftest import Pack, png
from .leftovers import children_of, new_children
from .measured_here import measure_here
from .test_make_shards_killed import assert_a_manifest_means_a_whole_set, contents, run_and_die
from .videos import decode_straight, make_video, pick
from .wav_files import members, noise, packed, wav


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "video"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def measured_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is started for measuring, where that is not what is tested."""
    measure_here(monkeypatch)


def tables(out: Path) -> dict[str, FrameTable]:
    """The frame table of every example by key, through NumPy and the index."""
    found = {}
    keys = [json.loads(line)[0] for line in (out / "manifest.names.jsonl").read_text().splitlines()]
    for name in Manifest.load(out).shards.name:
        frames = np.load(out / f"{name}.frames.npy")
        assert frames.dtype == FRAME_DTYPE
        for row in load_index(out / f"{name}.index.npy"):
            found[keys[len(found)]] = FrameTable.at(frames, int(row["table_offset"]), name)
    return found


def damaged(path: Path) -> Path:
    """A video some of whose frames cannot be decoded."""
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + len(content) // 3
    content[begin : begin + 400] = bytes(400)
    path.write_bytes(bytes(content))
    return path


def test_every_file_comes_back_byte_for_byte_with_its_facts_in_the_index(source: Path, pack: Pack) -> None:
    for number, combination in enumerate(pick(8)):
        make = combination.make(source, size=(96, 64) if number % 2 else (64, 96))
        make.rename(source / f"{number}{make.suffix}")
    make_video(source / "t.ts", num_frames=20)
    make_video(source / "turned.mov", num_frames=7, rotation=90, size=(64, 96))
    (source / "t.json").write_text('{"label": 3}')
    report, out = pack(), source.parents[1] / "out"
    files = [path for path in source.iterdir() if path.suffix != ".json"]
    assert (report.examples, report.failures, report.skipped) == (len(files), (), 0)
    found, rows = packed(out), {}
    for path in files:
        assert found[path.stem][path.suffix[1:]] == path.read_bytes()
    assert found["t"]["json"] == b'{"label": 3}'
    index = load_index(out / "video-000000.tar.index.npy")
    for (key, table), row in zip(tables(out).items(), index, strict=True):
        path = next(path for path in files if path.stem == key)
        straight, rows[key] = decode_straight(path), row
        assert row["frames"] == len(straight) == len(table)
        assert (row["height"], row["width"]) == straight.frames[0].shape[:2] == table.size
        assert (row["channels"], Fraction(*row[["rate_numerator", "rate_denominator"]])) == (3, table.rate)
        if table.flags & TableFlag.OWN_TIMES:
            seconds = table.seconds(np.arange(len(table))).tolist()
            assert seconds == [float(one) for one in straight.seconds if one is not None]
    assert rows["turned"]["rate_numerator"] / rows["turned"]["rate_denominator"] == 30


def test_the_frames_file_is_an_array_whose_digest_is_in_the_manifest(source: Path, pack: Pack) -> None:
    make_video(source / "a.mp4", gop=10, num_frames=25, b_frames=2)
    make_video(source / "b.mkv", gop=5, num_frames=12)
    pack(shuffle=None)
    out = source.parents[1] / "out"
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json",
        "manifest.names.jsonl",
        "video-000000.tar",
        "video-000000.tar.frames.npy",
        "video-000000.tar.index.npy",
    ]
    content = (out / "video-000000.tar.frames.npy").read_bytes()
    assert json.loads((out / "manifest.json").read_text())["frames_hash"] == [
        hashlib.sha256(content).hexdigest()[:32]
    ]
    whole = np.load(io.BytesIO(content))
    heads = HEAD_DTYPE.itemsize // FRAME_DTYPE.itemsize
    assert load_index(out / "video-000000.tar.index.npy")["table_offset"].tolist() == [0, 25 + heads]
    assert len(whole) == 25 + 12 + 2 * heads
    table = tables(out)["a"]
    keys = [place for place, flags in enumerate(table.rows["flags"]) if flags & FrameFlag.KEY]
    assert keys == [0, 10, 20]
    assert table.codec == "h264"


def test_bytes_do_not_depend_on_workers_or_place(source: Path, tmp_path: Path) -> None:
    others = children_of(os.getpid())
    for number in range(5):
        make_video(source / f"{number}.mp4", num_frames=10 + number)
    damaged(source / "3.mp4")
    make_shards(source, tmp_path / "0", workers=0, shard_examples=2)
    shutil.copytree(source, tmp_path / "elsewhere")
    make_shards(tmp_path / "elsewhere", tmp_path / "2", workers=2, shard_examples=2)
    assert contents(tmp_path / "0") == contents(tmp_path / "2")
    text = b"".join(path.read_bytes() for path in (tmp_path / "0").iterdir())
    assert str(tmp_path).encode() not in text
    assert new_children(others) == []


def test_formats_are_told_by_content_and_what_is_none_is_refused_with_a_reason(source: Path, pack: Pack) -> None:
    shutil.move(make_video(source / "a.mkv", num_frames=5), source / "really_mkv.mp4")
    shutil.move(make_video(source / "b.mp4", num_frames=5), source / "no_suffix")
    shutil.move(make_video(source / "c.mp4", num_frames=5), source / "CLIP.M4V")
    whole = make_video(source / "d.mp4", num_frames=30).read_bytes()
    (source / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (source / "text.mp4").write_text("no video")
    (source / "empty.avi").write_bytes(b"")
    (source / "head.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(20))
    (source / "sound.mkv").write_bytes(_sound_alone(source))
    (source / "old.wmv").write_bytes(b"0&\xb2u\x8ef\xcf\x11\xa6\xd9\0\xaa\0b\xcel" + bytes(100))
    (source / "flash").write_bytes(b"FLV\1\5\0\0\0\t" + bytes(100))
    (source / "cover.jpg").write_bytes(png(1))
    (source / "noise.bin").write_bytes(bytes(1000))
    report = pack()
    out = source.parents[1] / "out"
    assert {key: list(found) for key, found in packed(out).items()} == {
        "CLIP": ["m4v"],
        "d": ["mp4"],
        "no_suffix": ["mp4"],
        "really_mkv": ["mkv"],
    }
    assert {failure.path: failure.reason for failure in report.failures} == {
        "cut.mp4": "damaged: it cannot be opened (invalid data)",
        "empty.avi": "an empty file",
        "flash": "a Flash video, which cannot be read: convert it to mp4",
        "head.mp4": "damaged: it cannot be opened (invalid data)",
        "old.wmv": "a Windows Media file, which cannot be read: convert it to mp4",
        "sound.mkv": "it has no video stream",
        "text.mp4": "not a video: it does not begin like one",
    }
    assert report.skipped == 2


def _sound_alone(folder: Path) -> bytes:
    path = folder / "sound_alone"
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    content = path.read_bytes()
    path.unlink()
    return content


def test_a_video_with_broken_frames_is_packed_and_they_are_listed(source: Path, pack: Pack) -> None:
    damaged(make_video(source / "a.mp4", gop=10, num_frames=60))
    for decode in (False, True):
        report = pack(decode=decode, overwrite=True)
        assert (report.examples, report.failures) == (1, ())
        table = tables(source.parents[1] / "out")["a"]
        assert 40 <= len(table) < 60
        assert 0 < len(table.broken) <= 20
        assert (table.broken["flags"] & FrameFlag.BROKEN).all()
        row = load_index(source.parents[1] / "out" / "video-000000.tar.index.npy")[0]
        assert row["frames"] == len(table)


def test_frames_that_are_too_large_are_refused(source: Path, pack: Pack) -> None:
    make_video(source / "small.mp4", size=(32, 32), num_frames=3)
    make_video(source / "large.mp4", size=(96, 64), num_frames=3)
    report = pack(max_pixels=3000)
    assert [failure.path for failure in report.failures] == ["large.mp4"]
    assert report.failures[0].reason.startswith("96 × 64 pixels are more than the 3,000 allowed")
    assert Manifest.load(source.parents[1] / "out").settings["max_pixels"] == 3000


def test_iterators_find_the_same_clips_in_shards_as_in_the_folder(source: Path, pack: Pack) -> None:
    for number, combination in enumerate(pick(4)):
        path = combination.make(source)
        path.rename(source / f"{number}{path.suffix}")
    pack()
    warnings.simplefilter("ignore", UserWarning)  # of clips of several rates in one batch

    def clips(place: Path) -> dict[str, tuple[bytes, bytes]]:
        videos = VideoIterator(place, clip_frames=7, size=32, batch_size=2)
        return {
            key: (batch.data[row].tobytes(), batch.fields["pts_seconds"][row].tobytes())
            for batch in videos
            for row, key in enumerate(batch.keys)
        }

    assert clips(source) == clips(source.parents[1] / "out")


@pytest.mark.usefixtures("measured_here")
def test_append_adds_frames_files_and_leaves_those_that_are_there(source: Path, pack: Pack) -> None:
    for number in range(3):
        make_video(source / f"{number}.mp4", num_frames=5 + number)
    pack(shard_examples=2)
    out = source.parents[1] / "out"
    before, old = contents(out), Manifest.load(out)
    make_video(source / "new.mp4", num_frames=9)
    assert pack(shard_examples=2, append=True).new_shards == 1
    after, new = contents(out), Manifest.load(out)
    assert {name: after[name] for name in before if ".tar" in name} == {
        name: digest for name, digest in before.items() if ".tar" in name
    }
    assert new.shards.frames_hash[:2] == old.shards.frames_hash
    assert new.shards.frames_hash[2] == after["video-000002.tar.frames.npy"][:32]
    assert pack(shard_examples=2).was_complete
    make_video(source / "new.mp4", num_frames=12)
    make_video(source / "newer.mp4", num_frames=12)
    with pytest.raises(ShardingError, match=r"new\.mp4: has another size"):
        pack(shard_examples=2, append=True)
    assert pack(overwrite=True).shards == 1
    assert not (out / "video-000002.tar.frames.npy").exists()


@pytest.mark.usefixtures("measured_here")
def test_a_set_that_lost_its_frames_file_is_reported_and_a_damaged_one_is_not_read(
    source: Path, pack: Pack
) -> None:
    make_video(source / "a.mp4", num_frames=5)
    pack()
    out = source.parents[1] / "out"
    frames = out / "video-000000.tar.frames.npy"
    good = frames.read_bytes()
    frames.write_bytes(good[:-1] + b"\1")
    with pytest.raises(ShardError, match="is not the frame table that the manifest says"):
        ShardSource([out / "video-000000.tar"], manifest=Manifest.load(out)).locate(0)
    frames.write_bytes(good[:30])
    with pytest.raises(ShardError, match="in the manifest, but it or a file beside it is missing or cut off"):
        pack()
    frames.unlink()
    with pytest.raises(ShardError, match="in the manifest, but it or a file beside it is missing or cut off"):
        pack()
    pack(overwrite=True)
    assert frames.read_bytes() == good


@pytest.mark.heavy
@pytest.mark.usefixtures("measured_here")
@pytest.mark.parametrize("settings", [{}, {"append": True}, {"overwrite": True}])
def test_a_run_that_dies_at_any_step_goes_on_to_the_same_bytes(
    source: Path, tmp_path: Path, settings: dict[str, bool]
) -> None:
    for number in range(4):
        make_video(source / f"{number}.mp4", num_frames=3 + number, size=(32, 32))
    (source / "text.mp4").write_text("no video")
    begun = tmp_path / "begun"
    if settings:
        make_shards(source, begun, workers=0, shard_examples=3)
        make_video(source / "new.mp4", num_frames=11, size=(32, 32))
    shutil.copytree(begun, tmp_path / "whole") if settings else None
    make_shards(source, tmp_path / "whole", workers=0, shard_examples=3, **settings)  # type: ignore[arg-type]
    expected, step, died = contents(tmp_path / "whole"), 1, True
    assert sum(name.endswith(".frames.npy") for name in expected) == sum(n.endswith(".tar") for n in expected) > 1
    while died:
        out = tmp_path / f"out{step}"
        shutil.copytree(begun, out) if settings else None
        died = run_and_die(step, source, out, **settings)
        assert_a_manifest_means_a_whole_set(out)
        whole = {tar: tar.stat().st_ino for tar in out.glob("*.tar")}
        assert all(tar.with_name(f"{tar.name}.frames.npy").exists() for tar in whole)
        make_shards(source, out, workers=0, shard_examples=3, **settings)  # type: ignore[arg-type]
        assert contents(out) == expected, step
        if not settings:
            assert {tar: tar.stat().st_ino for tar in whole} == whole, f"finished shards made again after {step}"
        step += 1
    assert step > 20


@pytest.mark.usefixtures("measured_here")
@pytest.mark.parametrize("digest", [None, "", "0" * 32, 5, "no digest"])
def test_a_journal_without_the_right_digest_costs_its_shard(
    source: Path, tmp_path: Path, digest: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(source / "a.mp4", num_frames=3)
    make_shards(source, tmp_path / "whole", workers=0)
    out = tmp_path / "out"
    with monkeypatch.context() as patching:
        patching.setattr("pipelines.sharding.set_job._Job.finish", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_shards(source, out, workers=0)
    journal = out / ".make_shards" / "finished.jsonl"
    line = json.loads(journal.read_text())
    assert line.pop("frames_hash") == Manifest.load(tmp_path / "whole").shards.frames_hash[0]
    journal.write_text(json.dumps(line if digest is None else {**line, "frames_hash": digest}) + "\n")
    assert make_shards(source, out, workers=0).new_shards == 1
    assert contents(out) == contents(tmp_path / "whole")


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.usefixtures("measured_here")
def test_a_video_that_fails_half_way_leaves_no_table_behind(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        make_video(source / f"{number}.mp4", num_frames=20 + number, gop=5)
    held = tmp_path / "held.mp4"
    shutil.move(source / "1.mp4", held)
    make_shards(source, tmp_path / "without", workers=0, shuffle=None, segment=0.2)
    shutil.move(held, source / "1.mp4")
    examples = VideoJob.examples

    def failing(self: VideoJob, file: SourceReader, *others: Any) -> Iterator[Prepared]:
        """After two of its segments."""
        for number, example in enumerate(examples(self, file, *others)):
            if file.path == "1.mp4" and number == 2:
                raise UndecodableError("damaged")
            yield example

    monkeypatch.setattr(VideoJob, "examples", failing)
    report = make_shards(source, tmp_path / "out", workers=0, shuffle=None, segment=0.2)
    assert [tuple(one) for one in report.failures] == [("1.mp4", "damaged")]
    for name in ("video-000000.tar", "video-000000.tar.index.npy", "video-000000.tar.frames.npy"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


def test_frames_files_without_a_manifest_are_not_touched(source: Path, tmp_path: Path) -> None:
    make_video(source / "a.mp4", num_frames=3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "video-000000.tar.frames.npy").write_bytes(b"somebody's")
    with pytest.raises(ShardingError, match=r"video-000000\.tar\.frames\.npy but no manifest.*--overwrite"):
        make_shards(source, tmp_path / "out", workers=0)


def test_folders_of_all_modalities_become_a_set_each_and_only_videos_have_frames(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_video(source / "a.mp4", num_frames=4)
    for name, content in (("image/a.png", png(1)), ("audio/a.wav", wav(noise("s16", 800, 1), "s16", 1))):
        (source.parent / name).parent.mkdir()
        (source.parent / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "--workers", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" in ")[0] for line in lines[:3]] == [
        "shards/image: 1 image",
        "shards/audio: 1 recording",
        "shards/video: 1 video",
    ]
    assert [line.split()[-1] for line in lines[3:]] == ["shards/image", "shards/audio", "shards/video"]
    assert sorted(path.parent.name for path in Path("shards").rglob("*.frames.npy")) == ["video"]
    for name in ("image", "audio"):
        assert "frames_hash" not in (Path("shards") / name / "manifest.json").read_text()
    assert main(["data", "--only", "video", "--workers", "0", "--out", "one"]) == 0
    assert sorted(path.name for path in Path("one").iterdir()) == ["video"]


@pytest.mark.parametrize("workers", [0, 1])
def test_without_pyav_packing_says_how_to_install_it(
    source: Path, pack: Pack, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    make_video(source / "a.mp4", num_frames=3)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ShardingError, match=r"^Videos need PyAV: pip install av\.$"):
        pack(workers=workers)
    assert not (source.parents[1] / "out").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes are Linux's")
def test_names_may_be_of_any_bytes(source: Path, pack: Pack) -> None:
    content = make_video(source / "a.mp4", num_frames=3).read_bytes()
    names = [b"not\xffutf8.mp4", "写真 ü.mp4".encode(), b"a,b:c,,d.mp4", b"50%d.mp4", b"-x.mp4", b"new\nline.mp4"]
    for name in names:
        (source / os.fsdecode(name)).write_bytes(content)
    assert (pack().examples, pack().failures) == (7, ())


@pytest.mark.slow
@pytest.mark.heavy
def test_all_the_real_videos_come_back(shared_data: Path, tmp_path: Path) -> None:
    videos = shared_data / "video"
    report = make_shards(videos, tmp_path / "out", workers=2)
    files = sorted(path for path in videos.iterdir())
    assert (report.examples, report.failures) == (len(files), ())
    found = {name: content for tar in (tmp_path / "out").glob("*.tar") for name, content in members(tar).items()}
    assert found == {path.name: path.read_bytes() for path in files}
    frames = {key: len(table) for key, table in tables(tmp_path / "out").items()}
    assert frames == {path.stem: len(decode_straight(path, size=(16, 16))) for path in files}
