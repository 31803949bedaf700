"""Every clip of every kind of video is, byte by byte, what a straight decode of the whole file gives there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import ExampleError, SourceError, VideoIterator

from . import video_clips
from .video_clips import check_clips, clips_of, digest_of, in_tar
from .videos import Combination, combinations, decode_straight, frame_number, make_video, num_open_keys, pick

QUICK = pick(24)
REST = [one for one in combinations() if one not in QUICK]
SHARED = [
    "S001C001P001R001A001_rgb.avi",
    "big_buck_bunny_432_433.webm",
    "book.mkv",
    "bottle-detection.mp4",
    "bt709_full_range.mp4",
    "car-detection.mp4",
    "cursed-vfr.mp4",
    "demo.mp4",
    "discard_first_keyframe.mp4",
    "fire2.mp4",
    "h264_10bits.mp4",
    "h265_video.mp4",
    "milk.mkv",
    "nasa_13013.mp4",
    "nasa_13013_rotated.mp4",
    "no_duration.webm",
    "test.avi",
    "test_non_zero_start.mp4",
    "testsrc2_av1_10bit.mp4",
    "testsrc2_odd_height_and_width_vp9.mp4",
    "video_with_failing_audio.mp4",
    "walk.mkv",
    "yes.mkv",
]
FRAMES = {
    "discard_first_keyframe.mp4": 25,  # its header says 30, and 5 are discarded by an edit list
    "S001C001P001R001A001_rgb.avi": 103,  # the time stamps of both AVIs are invented
    "test.avi": 164,
    "no_duration.webm": 74,  # its header says 0
    "test_non_zero_start.mp4": 12,
}


def folder_of(tmp_path: Path, path: Path) -> Path:
    """A folder of this file alone."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / path.name).symlink_to(path)
    return folder


def check_everywhere(path: Path, tmp_path: Path, **settings: Any) -> None:
    frames = decode_straight(path).frames
    sources = (folder_of(tmp_path, path), in_tar(path, tmp_path / "one.tar"))
    for number, source in enumerate(sources):
        for every in (1, 3):
            assert check_clips(source, frames, every=every, shuffle=bool(number), **settings)


@pytest.mark.parametrize("combination", QUICK, ids=str)
def test_clips_at_every_start_are_those_of_a_straight_decode(combination: Combination, tmp_path: Path) -> None:
    path = combination.make(tmp_path)
    assert not combination.shows_open_keys or num_open_keys(path) > 0
    check_everywhere(path, tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("combination", REST, ids=str)
def test_so_they_are_for_every_codec_and_container(combination: Combination, tmp_path: Path) -> None:
    path = combination.make(tmp_path)
    assert not combination.shows_open_keys or num_open_keys(path) > 0
    check_everywhere(path, tmp_path)


@pytest.mark.parametrize("name", [name for name in SHARED if name in FRAMES and not name.startswith("S001")])
def test_so_they_are_for_files_whose_headers_or_times_lie(name: str, tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "video" / name
    hop = 11 if name.startswith("no_duration") else 3
    folder = folder_of(tmp_path, path)
    assert check_clips(folder, decode_straight(path).frames, hop=hop)
    clips = VideoIterator(folder, clip_frames=1, size=None)
    assert len(clips.source) == FRAMES[name]
    clips.close()


@pytest.mark.heavy
@pytest.mark.parametrize("name", SHARED)
def test_so_they_are_for_every_file_that_others_made(name: str, tmp_path: Path, shared_data: Path) -> None:
    path = shared_data / "video" / name
    frames = decode_straight(path).frames
    assert len(frames) == FRAMES.get(name, len(frames))
    hop = 1 if frames[0].nbytes < 1 << 20 else 5  # at every start where a clip is not megabytes
    check_everywhere(path, tmp_path, hop=hop)


@pytest.mark.heavy
def test_two_processes_give_the_same_bytes(tmp_path: Path, shared_data: Path) -> None:
    names = ["test.avi", "demo.mp4", "h264_10bits.mp4", "testsrc2_odd_height_and_width_vp9.mp4", "milk.mkv"]
    paths = []
    for name in names:
        (tmp_path / name).write_bytes((shared_data / "video" / name).read_bytes())
        paths.append(tmp_path / name)
    assert _digests_of_a_child(paths) == [digest_of(path) for path in paths]


def test_two_processes_give_the_same_bytes_for_odd_sizes(tmp_path: Path) -> None:
    paths = [
        make_video(tmp_path / "a.mp4", num_frames=12, size=(97, 65), pixel_format="yuv444p"),
        make_video(tmp_path / "b.webm", codec="libvpx-vp9", num_frames=12, size=(75, 43)),
    ]
    assert _digests_of_a_child(paths) == [digest_of(path) for path in paths]


def _digests_of_a_child(paths: Sequence[Path]) -> list[str]:
    program = [sys.executable, "-m", video_clips.__name__, *map(str, paths)]
    root = Path(video_clips.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=root, env=environment)
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def long_gop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of one key frame each, with B frames."""
    folder = tmp_path_factory.mktemp("long")
    for name in "ab":
        make_video(folder / f"{name}.mp4", num_frames=200, size=(64, 48), gop=250, b_frames=2)
    return folder


def test_frames_that_no_other_needs_are_skipped_before_a_clip(long_gop: Path) -> None:
    clips = VideoIterator(
        long_gop, clip_frames=8, hop=8, size=32, batch_size=1, prefetch_bytes=1, shuffle=True, threads=1
    )
    naive = 0
    for batch in clips:
        naive += int(batch.keys[0].rpartition("@")[2]) + 8
    counts = clips.frame_counts
    assert counts.delivered == 2 * 200
    assert counts.decoded < 0.75 * naive
    assert counts.skipped > 0.25 * naive
    clips.close()


def test_clips_of_one_file_are_decoded_together_and_delivered_in_their_order(long_gop: Path) -> None:
    def played(**settings: Any) -> tuple[list[str], bytes, int]:
        base: dict[str, Any] = {"clip_frames": 8, "size": 32, "batch_size": 5, "shuffle": True, "seed": 3}
        clips = VideoIterator(long_gop, **{**base, **settings})
        batches = list(clips)
        clips.close()
        keys = [key for batch in batches for key in batch.keys]
        return keys, b"".join(batch.data.tobytes() for batch in batches), clips.frame_counts.decoded

    keys, pixels, decoded = played()
    alone_keys, alone_pixels, alone_decoded = played(threads=1, prefetch_bytes=1)
    assert (keys, pixels) == (alone_keys, alone_pixels)
    assert decoded < 0.6 * alone_decoded


def test_in_order_a_video_is_decoded_once(long_gop: Path) -> None:
    clips = VideoIterator(long_gop, clip_frames=8, size=32, batch_size=4)
    assert sum(len(batch) for batch in clips) == 50
    counts = clips.frame_counts
    assert (counts.delivered, counts.decoded, counts.seeks, counts.opened) == (400, 400, 0, 2)
    clips.close()


def test_clips_that_overlap_share_what_is_decoded(long_gop: Path) -> None:
    clips = VideoIterator(long_gop, clip_frames=8, hop=2, size=32, batch_size=4)
    for _ in clips:
        pass
    counts = clips.frame_counts
    assert counts.delivered > 3.5 * counts.decoded
    clips.close()


def test_short_distances_between_keys_are_sought(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", num_frames=160, size=(64, 48), gop=16, b_frames=0)
    clips = VideoIterator(tmp_path, clip_frames=4, hop=20, size=32, batch_size=1, shuffle=True, threads=1)
    for _ in clips:
        pass
    assert clips.frame_counts.decoded <= 8 * (4 + 15)
    clips.close()


def test_frame_numbers_survive_scaling(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", num_frames=40, gop=12, b_frames=2)
    clips = VideoIterator(tmp_path, clip_frames=5, every=2, size=(64, 96), batch_size=3, shuffle=True, short="skip")
    for batch in clips:
        assert batch.data.shape == (len(batch), 3, 5, 64, 96)
        assert batch.data.dtype == np.uint8
        for slot, key in enumerate(batch.keys):
            start = int(key.rpartition("@")[2])
            frames = batch.data[slot].transpose(1, 2, 3, 0)
            assert [frame_number(frame) for frame in frames] == list(range(start, start + 10, 2))
    clips.close()


def test_a_member_of_a_tar_is_read_at_its_place_without_a_copy(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", num_frames=20)
    located = VideoIterator(in_tar(path, tmp_path / "one.tar"), size=32).source.source.locate(0)  # type: ignore[attr-defined]
    assert located.media.file is not None
    content = Path(located.media.file.path).read_bytes()[located.media.file.offset :]
    assert content[: located.media.size] == path.read_bytes()


def test_the_table_of_a_folder_is_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_video(tmp_path / "a.mp4", num_frames=20)
    list(clips_of(tmp_path))
    monkeypatch.setattr("pipelines.decode.video.video_reader.measure_apart", None)
    assert len(list(clips_of(tmp_path))) == 17


def test_what_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no video files"):
        VideoIterator(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"not a video at all, only named like one")
    clips = VideoIterator(tmp_path, size=32)
    with pytest.raises(ExampleError, match=r"a\.mp4.*not a video"):
        next(iter(clips))
    clips.close()


def test_videos_shorter_than_a_clip_are_named(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", num_frames=5)
    with pytest.raises(SourceError, match=r'no video in it is as long as a clip of 16 frames.*short="pad"'):
        VideoIterator(tmp_path, short="skip")
