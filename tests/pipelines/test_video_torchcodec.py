"""torchcodec, told our frame table, gives the same frames at the same times: another seeker, on another FFmpeg."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import open_source
from pipelines.decode.video.measuring import measure_video
from pipelines.storage.frame_table import FrameFlag, FrameTable, TableFlag

from .video_clips import alone, clips_of
from .videos import Combination, make_video, pick

pytestmark = pytest.mark.heavy

try:
    from torchcodec.decoders import VideoDecoder
except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: no FFmpeg that it knows
    pytest.skip(f"torchcodec or its FFmpeg cannot be imported: {error}", allow_module_level=True)

SHARED = (
    "big_buck_bunny_432_433.webm",
    "book.mkv",
    "bottle-detection.mp4",
    "bt709_full_range.mp4",
    "car-detection.mp4",
    "cursed-vfr.mp4",
    "demo.mp4",
    "fire2.mp4",
    "h265_video.mp4",
    "milk.mkv",
    "nasa_13013.mp4",
    "nasa_13013_rotated.mp4",
    "test_non_zero_start.mp4",
    "video_with_failing_audio.mp4",
    "walk.mkv",
    "yes.mkv",
)
OTHER_CHROMA = {
    "h264_10bits.mp4": "swscale interpolates chroma of ten bits, and torchcodec asks it for another filter",
    "testsrc2_av1_10bit.mp4": "likewise",
    "testsrc2_odd_height_and_width_vp9.mp4": "likewise for odd sides",
}
NOT_COMPARED = {
    "S001C001P001R001A001_rgb.avi": "its time stamps do not rise, and torchcodec orders frames by them",
    "test.avi": "likewise",
    "discard_first_keyframe.mp4": "torchcodec counts the five frames that its edit list hides, and fails for the last",
    "no_duration.webm": "torchcodec refuses a table for a file that does not say how long it is",
}
GENERATED: dict[str, dict[str, Any]] = {
    "rotated": {"rotation": 90},
    "upside down": {"rotation": 180},
    "full range": {"matrix": "bt709", "full_range": True},
    "bt2020": {"matrix": "bt2020"},
    "late": {"start_seconds": 3.3, "b_frames": 2},
    "444": {"pixel_format": "yuv444p", "suffix": "mkv"},
    "square pixels not": {"pixel_aspect": Fraction(4, 3)},
}


def mapping_of(table: FrameTable) -> str:
    """A frame table as torchcodec reads it: time stamps and durations in units of the stream, and key frames."""
    times = table.rows["time"].tolist()
    ends = [*times[1:], int(table.head["end"])]
    keys = (table.rows["flags"] & FrameFlag.KEY).astype(bool).tolist()
    frames = [
        {"pts": time, "duration": end - time, "key_frame": int(is_key)}
        for time, end, is_key in zip(times, ends, keys, strict=True)
    ]
    return json.dumps({"frames": frames})


def compare(path: Path, folder: Path, *, num_clips: int = 12) -> tuple[float, float]:
    """Time stamps are equal. Returns the least share of pixels within 2 levels, and the greatest mean difference.

    Of clips of four frames, spread over the video; by torchcodec they are read from the last to the first.
    """
    source = alone(path, folder)
    table = measure_video(open_source(source, modality="video").locate(0).media)
    assert table.flags & TableFlag.OWN_TIMES
    settings: dict[str, Any] = {
        "stream_index": int(table.head["stream"]),  # of `nasa_13013.mp4` torchcodec takes the other one
        "custom_frame_mappings": mapping_of(table),
        "dimension_order": "NHWC",
    }
    decoder = VideoDecoder(str(path), **settings)
    share, mean = 1.0, 0.0
    hop = max(4, len(table) // num_clips)
    for _, first, frames, seconds in reversed(list(clips_of(source, hop=hop))):
        theirs = decoder.get_frames_at(list(range(first, first + len(frames))))
        assert theirs.pts_seconds.tolist() == pytest.approx(seconds[: len(frames)].tolist(), abs=1e-9)
        assert theirs.data.shape == frames.shape
        off = np.abs(theirs.data.numpy().astype(np.int16) - frames)
        share, mean = min(share, float((off <= 2).mean())), max(mean, float(off.mean()))
    return share, mean


def assert_same_frames(path: Path, folder: Path) -> None:
    assert compare(path, folder)[0] >= 0.99


def has_invented_times(one: Combination) -> bool:
    """As the shared avi files."""
    return one.suffix == "avi" and one.codec == "libx264" and one.b_frames > 0


@pytest.mark.parametrize("name", SHARED)
def test_shared_videos_have_the_same_frames_and_times(name: str, shared_data: Path, tmp_path: Path) -> None:
    assert_same_frames(shared_data / "video" / name, tmp_path / "a")


@pytest.mark.parametrize("name", OTHER_CHROMA)
def test_shared_videos_of_other_chroma_have_the_same_times_and_nearly_the_same_frames(
    name: str, shared_data: Path, tmp_path: Path
) -> None:
    """The next frame would be further off."""
    share, mean = compare(shared_data / "video" / name, tmp_path / "a")
    assert 0.7 < share < 0.99
    assert mean < 4


@pytest.mark.parametrize("combination", [one for one in pick(24) if not has_invented_times(one)], ids=str)
def test_generated_videos_have_the_same_frames_and_times(combination: Combination, tmp_path: Path) -> None:
    assert_same_frames(combination.make(tmp_path), tmp_path / "a")


@pytest.mark.parametrize("kind", GENERATED)
def test_videos_of_every_kind_have_the_same_frames_and_times(kind: str, tmp_path: Path) -> None:
    settings = {"suffix": "mp4", **GENERATED[kind]}
    assert_same_frames(make_video(tmp_path / f"a.{settings.pop('suffix')}", **settings), tmp_path / "a")


def test_every_shared_video_is_compared_or_has_a_reason(shared_data: Path) -> None:
    names = {path.name for path in (shared_data / "video").iterdir()}
    assert names == {*SHARED, *OTHER_CHROMA, *NOT_COMPARED}
