"""Which frames a clip has, by their times: compared with a search by hand, in fractions, over plain PyAV's stamps."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines import SourceError, VideoIterator

from . import videos
from .crossed import crossed
from .video_clips import alone, clips_of
from .videos import decode_straight, make_video

RATES = (12, 30, 60, 29.97, Fraction(30_000, 1001), Fraction(1, 2))
VARIABLE = [("mp4", "libx264", 3), ("mkv", "libx264", 2), ("webm", "libvpx-vp9", 0)]
FRAMES = 40


def stamps_of(path: Path) -> tuple[list[Fraction], Fraction]:
    """When each frame is shown in seconds, and when the last one ends."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        base = Fraction(stream.time_base.numerator, stream.time_base.denominator)
        found = [(frame.pts, frame.duration) for frame in container.decode(stream)]
    stamps = [pts * base for pts, _ in found]
    return stamps, stamps[-1] + found[-1][1] * base


def picked_by_hand(path: Path, fps: float | Fraction) -> list[int]:
    """For each output time the last frame that is shown by then; as many as the video is long, halves rounded up."""
    rate = Fraction(str(fps))
    stamps, end = stamps_of(path)
    picks = []
    for tick in range(math.floor((end - stamps[0]) * rate + Fraction(1, 2))):
        time = stamps[0] + tick / rate
        picks.append(max(number for number, stamp in enumerate(stamps) if stamp <= time))
    return picks


def starts_by_hand(num: int, window: int, hop: int, *, skip: bool = False) -> list[int]:
    """Where clips begin: until one reaches the end, or as long as all of one is there."""
    if skip:
        return [start for start in range(0, num, hop) if start + window <= num]
    for count in itertools.count(1):
        if (count - 1) * hop + max(window, hop) >= num:
            return [number * hop for number in range(count)]
    raise AssertionError


def assert_picks(
    source: Any,
    path: Path,
    frames: NDArray[np.uint8],
    fps: float | Fraction,
    *,
    window: int = 5,
    hop: int | None = None,
    **more: Any,
) -> None:
    """The clips of the only video of a source, in order, against what is found by hand."""
    skip = more.get("short") == "skip"
    picks, stamps = picked_by_hand(path, fps), stamps_of(path)[0]
    starts = starts_by_hand(len(picks), window, window if hop is None else hop, skip=skip)
    clips = list(clips_of(source, clip_frames=window, fps=fps, hop=hop, **more))
    assert len(clips) == len(starts)
    for start, (_, first, found, seconds) in zip(starts, clips, strict=True):
        expected = picks[start : start + window]
        assert first == expected[0], "the key names the first frame"
        assert len(found) == len(expected)
        assert seconds[: len(expected)].tolist() == [float(stamps[ordinal]) for ordinal in expected]
        assert np.isnan(seconds[len(expected) :]).all()
        assert np.array_equal(found, frames[expected])


@pytest.mark.parametrize(("suffix", "codec", "b_frames"), VARIABLE)
def test_a_rate_picks_of_variable_rate_the_last_frame_shown_by_each_time(
    suffix: str, codec: str, b_frames: int, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"codec": codec, "b_frames": b_frames, "variable_rate": True, "gop": 15}
    path = make_video(tmp_path / f"a.{suffix}", num_frames=FRAMES, **settings)
    source, frames = alone(path, tmp_path / "a"), decode_straight(path).pixels
    for fps in RATES:
        assert_picks(source, path, frames, fps)
    assert_picks(source, path, frames, 30, hop=3)
    assert_picks(source, path, frames, 30, hop=8)
    assert_picks(source, path, frames, 12, hop=3, short="skip")
    assert_picks(source, path, frames, 60, hop=11)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("fire2.mp4", (30,)),
        ("no_duration.webm", (60,)),
        pytest.param("fire2.mp4", (12, 60), marks=pytest.mark.heavy),
        pytest.param("no_duration.webm", (12, 30), marks=pytest.mark.heavy),
        pytest.param("cursed-vfr.mp4", (12, 30, 60), marks=pytest.mark.heavy),
    ],
)
def test_the_same_holds_for_shared_videos(
    name: str, rates: tuple[int, ...], shared_data: Path, tmp_path: Path
) -> None:
    path = shared_data / "video" / name
    source, frames = alone(path, tmp_path / "a"), decode_straight(path, size=(36, 64)).pixels
    for fps in rates:
        assert_picks(source, path, frames, fps, window=170, size=(36, 64), fit="stretch")


@pytest.mark.parametrize("suffix", ["mkv", "webm", "mp4"])
def test_rounded_stamps_of_a_steady_rate_neither_repeat_nor_drop_frames(suffix: str, tmp_path: Path) -> None:
    """Milliseconds 0, 33, 67, 100 … by hand would give the frame at 33 ms twice, and never the one at 67 ms."""
    path = make_video(tmp_path / f"a.{suffix}", codec="libvpx-vp9", num_frames=FRAMES)
    if suffix != "mp4":
        assert picked_by_hand(path, 30) != list(range(FRAMES)), "otherwise this tests nothing"
    source, frames = alone(path, tmp_path / "a"), decode_straight(path).pixels
    for fps, expected in (
        (30, list(range(FRAMES))),
        (60, sorted([*range(FRAMES), *range(FRAMES)])),
        (15, list(range(0, FRAMES, 2))),
        (10, list(range(0, FRAMES, 3))[: FRAMES // 3]),
    ):
        (clip,) = clips_of(source, clip_frames=len(expected), fps=fps, hop=1000)
        assert np.array_equal(clip[2], frames[expected])


def test_a_frame_that_was_dropped_is_waited_for_where_a_unit_of_time_is_a_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Avi: stamps 0 … 9, 11, 12 … lie no further than a unit from a steady rate, and are not rounded."""
    monkeypatch.setattr(videos, "TICKS", (*[1] * 9, 2, *[1] * 30))
    path = make_video(tmp_path / "a.avi", codec="libvpx-vp9", variable_rate=True, num_frames=24)
    assert picked_by_hand(path, 30) == [*range(10), 9, *range(10, 24)]
    assert_picks(alone(path, tmp_path / "a"), path, decode_straight(path).pixels, 30)


@pytest.mark.parametrize(("suffix", "start_seconds"), crossed(["mp4", "mkv", "ts", "mov"], [4.2, 0]))
def test_times_are_the_stamps_of_the_file_to_the_last_bit(
    suffix: str, start_seconds: float, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"start_seconds": start_seconds, "variable_rate": True, "b_frames": 2}
    path = make_video(tmp_path / f"a.{suffix}", num_frames=13, **settings)
    straight = decode_straight(path)
    expected = [pts * float(straight.time_base) for pts in straight.pts if pts is not None]
    exact = [float(seconds) for seconds in straight.seconds if seconds is not None]
    assert exact == pytest.approx(expected)
    assert exact[0] == pytest.approx(start_seconds, abs=0.1)
    for every in (1, 2):
        clips = list(clips_of(alone(path, tmp_path / str(every)), clip_frames=4, hop=4 * every, every=every))
        found = np.concatenate([seconds for _, _, _, seconds in clips])
        chosen = exact[::every]
        assert found[: len(chosen)].tolist() == chosen
        assert len(found) == -(-len(chosen) // 4) * 4
        assert np.isnan(found[len(chosen) :]).all()


def test_times_of_a_shared_video_that_begins_late_are_exact(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "video" / "test_non_zero_start.mp4"
    stamps, _ = stamps_of(path)
    assert stamps[0] == Fraction(127_995, 15_360)
    (clip,) = clips_of(alone(path, tmp_path / "a"), clip_frames=15, hop=15)
    assert clip[3][:12].tolist() == [float(stamp) for stamp in stamps]
    assert np.isnan(clip[3][12:]).all()


def test_stamps_that_do_not_rise_are_replaced_by_the_rate(shared_data: Path, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.avi", codec="libx264", b_frames=3, num_frames=12)
    for video, num, rate in ((path, 12, 30), (shared_data / "video" / "test.avi", 164, 25)):
        stamps = decode_straight(video).pts
        assert None in stamps or stamps != sorted(stamps), "otherwise this tests nothing"  # type: ignore[type-var]
        source = alone(video, tmp_path / video.stem)
        settings: dict[str, Any] = {"clip_frames": num, "hop": num, "size": 16}
        (clip,) = clips_of(source, **settings)
        assert clip[3].tolist() == [number / rate for number in range(num)]
        (clip,) = clips_of(source, **settings, fps=rate)
        assert clip[3].tolist() == [number / rate for number in range(num)]


@pytest.mark.parametrize(
    ("clip_frames", "every", "hop"),
    [(4, 1, None), (4, 1, 1), (4, 1, 7), (3, 3, None), (3, 5, 2), (1, 1, 1), (13, 1, 5)],
)
def test_clips_of_every_nth_frame_begin_at_multiples_of_the_hop(
    clip_frames: int, every: int, hop: int | None, tmp_path: Path
) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=13, gop=5)
    source, frames = alone(path, tmp_path / "a"), decode_straight(path).pixels
    window = (clip_frames - 1) * every + 1
    for short in ("pad", "skip"):
        settings: dict[str, Any] = {"clip_frames": clip_frames, "every": every, "hop": hop, "short": short}
        starts = starts_by_hand(13, window, clip_frames * every if hop is None else hop, skip=short == "skip")
        clips = list(clips_of(source, **settings))
        assert [start for _, start, _, _ in clips] == starts
        for start, (_, _, found, _) in zip(starts, clips, strict=True):
            assert np.array_equal(found, frames[start : start + window : every])
            assert short == "pad" or len(found) == clip_frames


def test_what_runs_over_the_end_is_padded_and_told_or_skipped(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name, num in (("long", 10), ("short", 3)):
        make_video(tmp_path / "a" / f"{name}.mp4", num_frames=num)
    settings: dict[str, Any] = {"clip_frames": 4, "batch_size": 4, "size": 32}
    (padded,) = VideoIterator(tmp_path / "a", **settings)
    assert padded.keys == ["long@0", "long@4", "long@8", "short@0"]
    assert padded.lengths is not None
    assert padded.lengths.tolist() == [4, 4, 2, 3]
    assert padded.data.shape == (4, 3, 4, 32, 32)
    assert not padded.data[2, :, 2:].any()
    assert padded.data[2, :, :2].any(axis=(0, 2, 3)).all()
    (skipped,) = VideoIterator(tmp_path / "a", short="skip", **settings)
    assert skipped.keys == ["long@0", "long@4"]
    assert skipped.lengths is None
    assert np.array_equal(skipped.data, padded.data[:2])
    with pytest.raises(
        SourceError, match=r"as long as a clip of 11 frames. Use a smaller clip_frames, or short=\"pad\""
    ):
        VideoIterator(tmp_path / "a", short="skip", clip_frames=11)


def test_keys_are_numbers_of_frames_at_every_rate(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", num_frames=30)
    for settings, starts in (
        ({}, [0, 4, 8, 12, 16, 20, 24, 28]),
        ({"every": 3}, [0, 12, 24]),
        ({"fps": 10}, [0, 12, 24]),
        ({"fps": 60, "hop": 13}, [0, 6, 13, 19, 26]),
        ({"fps": 12, "hop": 1, "short": "skip"}, [0, 2, 5, 7, 10, 12, 15, 17, 20]),
    ):
        batches = list(
            VideoIterator(_once(path, tmp_path / "a"), clip_frames=4, size=16, **settings)  # type: ignore[arg-type]
        )
        assert [key for batch in batches for key in batch.keys] == [f"a@{start}" for start in starts]


def _once(path: Path, folder: Path) -> Path:
    return folder if folder.exists() else alone(path, folder)


@pytest.mark.parametrize(
    "settings", [{}, {"fps": 60}, pytest.param({"every": 2}, marks=pytest.mark.heavy)], ids=str
)
def test_random_offsets_cover_all_starts_evenly_and_no_state_comes_twice(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """Each clip from its share of the starts, and over many epochs all starts alike."""
    path = make_video(tmp_path / "a.mkv", codec="ffv1", size=(32, 32), num_frames=46, pixel_format="gray")
    every, scale = settings.get("every", 1), settings.get("fps", 30) // 30
    num_starts = 46 * scale - 3 * every

    def make(threads: int = 2) -> VideoIterator:
        base: dict[str, Any] = {"clip_frames": 4, "hop": 10 * scale, "size": 32, "batch_size": 3, "seed": 3}
        return VideoIterator(_once(path, tmp_path / "a"), **base, **settings, random_offset=True, threads=threads)

    clips, states, counts, num_epochs = make(), set[str](), Counter[int](), 70
    sets = [starts_of(clips, states) for _ in range(num_epochs)]
    num_clips = len(clips.source)
    shares = [number * num_starts // num_clips for number in range(num_clips + 1)]
    for starts in sets:
        counts.update(starts)
        if scale == 1:
            assert all(
                low <= start < high for start, low, high in zip(starts, shares[:-1], shares[1:], strict=True)
            )
    assert len({tuple(starts) for starts in sets}) > num_epochs - 3
    last = 46 - 3 * every - 1 if scale == 1 else (num_starts - 1) // scale
    assert sorted(counts) == list(range(last + 1)), "every frame at which a clip can begin"
    weights = np.bincount(np.arange(num_starts) // scale, minlength=last + 1)
    expected = weights * num_epochs * num_clips / num_starts
    found = np.array([counts[start] for start in range(last + 1)])
    assert ((found - expected) ** 2 / expected).sum() < last + 4 * (2 * last) ** 0.5  # chi-square
    assert len(states) == num_epochs * -(-num_clips // 3)
    again, other = make(), make(threads=4)
    assert [batch.keys for batch in again] == [batch.keys for batch in other]


def starts_of(clips: VideoIterator, states: set[str]) -> list[int]:
    """Of one epoch; its states are added to those that were."""
    starts = []
    for batch in clips:
        starts += [int(key.rpartition("@")[2]) for key in batch.keys]
        assert str(batch.state) not in states
        states.add(str(batch.state))
    return starts


@pytest.mark.parametrize("settings", [{}, {"fps": 24}, {"every": 3}, {"short": "skip"}], ids=str)
def test_clips_at_random_offsets_are_frames_of_the_whole(settings: dict[str, Any], tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", b_frames=3, open_gop=True, gop=15, variable_rate=True)
    frames, stamps = decode_straight(path).pixels, [float(stamp) for stamp in stamps_of(path)[0]]
    source, num = alone(path, tmp_path / "a"), 0
    for _, first, found, seconds in clips_of(source, random_offset=True, shuffle=True, hop=5, **settings):
        ordinals = [stamps.index(time) for time in seconds[: len(found)]]
        assert ordinals[0] == first
        assert np.array_equal(found, frames[ordinals])
        assert len(found) == 4
        num += 1
    assert num > 10


NONSENSE: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"fps": 10, "every": 2}, ValueError, "fps is 10 and every is 2: give one of them"),
    ({"fps": 0}, ValueError, "fps is 0; it must be a number of frames per second above 0, such as 12 or 29.97"),
    ({"fps": -1}, ValueError, "fps is -1; it must be"),
    ({"fps": float("nan")}, ValueError, "fps is nan; it must be"),
    ({"fps": float("inf")}, ValueError, "fps is inf; it must be"),
    ({"fps": True}, ValueError, "fps is True; it must be"),
    ({"fps": "30"}, ValueError, "fps is '30'; it must be"),
    ({"fps": Fraction(1, 1 << 40)}, ValueError, "its terms must be below 2,147,483,648. Round it"),
    ({"clip_frames": 0}, ValueError, "clip_frames is 0; it must be at least 1"),
    ({"clip_frames": 2.5}, TypeError, "clip_frames is 2.5; it must be a whole number"),
    ({"clip_frames": True}, TypeError, "clip_frames is True; it must be a whole number"),
    ({"clip_frames": 1 << 21}, ValueError, "clip_frames is 2097152; it must be at most 1,048,576"),
    ({"clip_frames": 1 << 20}, ValueError, "Choose fewer frames, or a smaller size"),
    ({"hop": 0}, ValueError, "hop is 0; it must be at least 1"),
    ({"hop": 1.5}, TypeError, "hop is 1.5; it must be a whole number"),
    ({"fps": 10, "hop": 0}, ValueError, "hop is 0; it must be at least 1"),
    ({"every": 0}, ValueError, "every is 0; it must be at least 1"),
    ({"every": True}, TypeError, "every is True; it must be a whole number"),
    ({"short": "cut"}, ValueError, "short is 'cut'; it must be 'pad' or 'skip'"),
    ({"random_offset": 1}, TypeError, "random_offset is 1; it must be True or False"),
    (
        {"size": None, "batch_size": 2},
        ValueError,
        "size=None keeps each video's size, so batch_size must be 1, not 2",
    ),
    ({"size": 0}, ValueError, "size is 0; height and width must be at least 1 pixel"),
    ({"size": (1, 2, 3)}, TypeError, r"size is \(1, 2, 3\); it must be one whole number, or two"),
    ({"fit": "cover"}, ValueError, "fit is 'cover'; it must be one of 'crop', 'pad', 'stretch'"),
    ({"crop": "left"}, ValueError, "crop is 'left'; it must be one of 'center', 'random'"),
    ({"flip": 1}, TypeError, "flip is 1; it must be True or False"),
    ({"max_pixels": 0}, ValueError, "max_pixels is 0; it must be at least 1"),
    ({"clip_frame": 3}, TypeError, "no setting 'clip_frame'. Did you mean clip_frames?"),
]


@pytest.mark.parametrize(("settings", "error", "told"), NONSENSE, ids=[str(one[0]) for one in NONSENSE])
def test_settings_that_mean_nothing_are_refused_by_name(
    settings: dict[str, Any], error: type[Exception], told: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told):
        VideoIterator(tmp_path / "is not looked at", **settings)


def test_rates_may_be_numbers_of_any_kind(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", num_frames=30, variable_rate=True)
    as_fraction = {
        30: Fraction(30),
        29.97: Fraction(2997, 100),
        30_000 / 1001: Fraction(30_000, 1001),
        1 / 3: Fraction(1, 3),
        np.int64(12): Fraction(12),
        np.float32(29.97): Fraction(2997, 100),
        np.float64(23.976): Fraction(23_976, 1000),
        Fraction(24_000, 1001): Fraction(24_000, 1001),
    }
    for given, expected in as_fraction.items():
        one, other = (VideoIterator(tmp_path, fps=fps, size=16) for fps in (given, expected))  # type: ignore[arg-type]
        assert one.state_dict() == other.state_dict()
        assert f"fps={expected}" in repr(one)


@pytest.mark.parametrize("fps", [Fraction(1, 1000), 1, 3])
def test_a_video_that_is_shorter_than_a_frame_at_the_rate_has_one_frame(
    fps: Fraction | int, tmp_path: Path
) -> None:
    make_video(tmp_path / "short.mp4", num_frames=3)
    (batch,) = VideoIterator(tmp_path, clip_frames=2, size=None, batch_size=1, fps=fps)
    assert (batch.keys, batch.lengths.tolist()) == (["short@0"], [1])
    assert np.array_equal(batch.data[0, :, 0].transpose(1, 2, 0), decode_straight(tmp_path / "short.mp4").pixels[0])


def test_a_last_frame_that_is_said_to_last_for_days_does_not(tmp_path: Path) -> None:
    content = bytearray(make_video(tmp_path / "a.mp4", num_frames=1).read_bytes())
    place = content.index(b"stts") + 16  # behind the number of entries and of samples: how long each is shown
    content[place : place + 4] = (0x7FFFFFFF).to_bytes(4, "big")
    (tmp_path / "a.mp4").write_bytes(content)
    assert len(VideoIterator(tmp_path, clip_frames=4, size=16, batch_size=1, fps=10)) == 1
