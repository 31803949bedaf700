"""The videos that other tests are made of have the properties that they claim."""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from .numbered_frames import NUM_NUMBERS
from .straight_decoding import decode_straight
from .videos import (
    CONTAINERS,
    Combination,
    combinations,
    frame_number,
    frame_pixels,
    make_video,
    num_open_keys,
    packets_of,
    pick,
    ticks,
)


def test_a_number_is_read_from_a_frame_of_any_size() -> None:
    for number in (0, 1, 2, 59, 682, 1365, NUM_NUMBERS - 1):
        for size in ((32, 32), (33, 47), (96, 64), (1280, 720)):
            assert frame_number(frame_pixels(number, size)) == number
        scaled = Image.fromarray(frame_pixels(number)).resize((32, 32), Image.Resampling.BILINEAR)
        assert frame_number(np.asarray(scaled)) == number


def test_a_number_is_read_from_the_middle_of_a_frame() -> None:
    middle = frame_pixels(77, (96, 64))[:, 16:80]
    assert frame_number(middle, shown=(64 / 96, 1)) == 77


def test_no_number_is_read_from_a_frame_that_is_turned_flipped_or_mixed() -> None:
    for number in range(64):
        pixels = frame_pixels(number)
        mixed = ((pixels.astype(int) + frame_pixels(number + 1)) // 2).astype(np.uint8)
        others = [*(np.rot90(pixels, turns) for turns in (1, 2, 3)), pixels[::-1], pixels[:, ::-1], mixed]
        for other in [*others, np.full((64, 96, 3), 128, np.uint8)]:
            with pytest.raises(ValueError, match="no number can be read"):
                frame_number(other)


def test_every_frame_differs_clearly_from_the_next() -> None:
    for before, after in pairwise(frame_pixels(number).astype(int) for number in range(60)):
        assert np.abs(after - before).mean() > 8


def test_frames_of_variable_rate_come_at_irregular_times() -> None:
    assert ticks(5) == [0, 1, 2, 3, 4]
    assert ticks(12, variable_rate=True) == [0, 1, 2, 4, 5, 10, 11, 14, 15, 16, 24, 25]


def test_some_combinations_have_every_value_and_two_calls_are_the_same() -> None:
    assert pick(8) == pick(8)
    assert len(set(pick(24))) == 24
    assert pick(1000) == sorted(combinations(), key=str)
    for chosen in (pick(8), pick(24), list(combinations())):
        assert {one.codec for one in chosen} == set(CONTAINERS)
        assert {one.gop for one in chosen} == {1, 30, 250}
        assert {one.suffix for one in chosen} == {"mp4", "mkv", "webm", "avi"}
        assert {one.b_frames for one in chosen} == {0, 3}
        assert {one.open_gop for one in chosen} == {one.variable_rate for one in chosen} == {False, True}
    pairs = {(one.codec, one.suffix) for one in pick(24)}
    assert pairs == {(codec, suffix) for codec, suffixes in CONTAINERS.items() for suffix in suffixes}


@pytest.mark.parametrize("combination", pick(10), ids=str)
def test_a_combination_is_what_it_says(combination: Combination, tmp_path: Path) -> None:
    path = combination.make(tmp_path)
    straight = decode_straight(path)
    assert [frame_number(frame) for frame in straight.frames] == list(range(60))
    assert straight.pixels.shape == (60, 64, 96, 3)
    assert straight.errors == []
    assert not any(straight.corrupt)
    keys = [place for place, (_, _, is_key) in enumerate(packets_of(path)) if is_key]
    if not combination.open_gop:
        assert keys == list(range(0, 60, combination.gop))
        assert num_open_keys(path) == 0
    elif combination.codec != "libsvtav1":
        assert len(keys) == 2
    if combination.shows_open_keys:
        assert num_open_keys(path) == 1
    with av.open(str(path)) as container:
        types = {frame.pict_type for frame in container.decode(video=0)}
    if combination.codec in ("libx264", "libx265"):
        assert (av.video.frame.PictureType.B in types) == bool(combination.b_frames)
    if combination.has_true_times:
        times = [float(seconds) * 30 for seconds in straight.seconds if seconds is not None]
        assert np.allclose(times, ticks(60, variable_rate=combination.variable_rate), atol=0.03)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_open_and_closed_gops_differ(codec: str, tmp_path: Path) -> None:
    for open_gop, num_open in ((True, 3), (False, 0)):
        path = make_video(tmp_path / "a.mp4", codec=codec, gop=16, open_gop=open_gop, b_frames=3)
        assert num_open_keys(path) == num_open
        packets = packets_of(path)
        assert [pts for pts, _, _ in packets] != sorted(pts for pts, _, _ in packets if pts is not None)


def test_later_key_frames_of_open_av1_are_no_key_packets(tmp_path: Path) -> None:
    for open_gop, num_keys in ((True, 1), (False, 2)):
        path = make_video(tmp_path / "a.mp4", codec="libsvtav1", open_gop=open_gop)
        assert sum(is_key for _, _, is_key in packets_of(path)) == num_keys


def test_what_an_encoder_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no open GOPs"):
        make_video(tmp_path / "a.mp4", open_gop=True)
    with pytest.raises(ValueError, match="no rotation"):
        make_video(tmp_path / "a.avi", rotation=90)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
def test_a_video_begins_when_it_should(suffix: str, tmp_path: Path) -> None:
    straight = decode_straight(make_video(tmp_path / f"a.{suffix}", start_seconds=5, num_frames=12, b_frames=2))
    assert len(straight) == 12
    assert float(straight.seconds[0] or 0) == pytest.approx(5, abs=0.1)  # a ts begins at its first dts


def test_a_turned_video_is_stored_lying_and_decoded_upright(tmp_path: Path) -> None:
    """The matrix is read from the bytes: ISO/IEC 14496-12, 6.2.2, where right goes to (a, b) and y runs down."""
    right_goes_to = {90: (0, -1), 180: (-1, 0), 270: (0, 1)}
    for rotation, (a, b) in right_goes_to.items():
        path = make_video(tmp_path / f"{rotation}.mp4", rotation=rotation, num_frames=5)
        content = path.read_bytes()
        matrix = struct.unpack_from(">9i", content, content.index(b"tkhd") + 4 + 4 + 20 + 16)
        assert (matrix[0] / 65536, matrix[1] / 65536) == (a, b)
        with av.open(str(path)) as container:
            stored = next(container.decode(video=0))
        assert (stored.width, stored.height) == ((64, 96) if rotation % 180 else (96, 64))
        straight = decode_straight(path)
        assert straight.pixels.shape == (5, 64, 96, 3)
        assert [frame_number(frame) for frame in straight.frames] == list(range(5))
        scaled = decode_straight(path, size=(40, 48))
        assert scaled.pixels.shape == (5, 40, 48, 3)
        assert [frame_number(frame) for frame in scaled.frames] == list(range(5))


def test_pixels_of_another_shape_are_written_into_the_file(tmp_path: Path) -> None:
    for codec in CONTAINERS:
        with av.open(
            str(make_video(tmp_path / "a.mp4", codec=codec, pixel_aspect=Fraction(4, 3), num_frames=3))
        ) as one:
            assert one.streams.video[0].sample_aspect_ratio == Fraction(4, 3)


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"),
    [
        ("mp4", "libx264", "aac"),
        ("mov", "libx264", "pcm_s16le"),
        ("avi", "mpeg4", "pcm_s16le"),
        ("ts", "libx264", "aac"),
        ("webm", "libvpx-vp9", "libopus"),
        ("mkv", "ffv1", "flac"),
    ],
)
def test_sound_is_as_long_as_the_video(suffix: str, codec: str, sound: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / f"a.{suffix}", codec=codec, sound=sound, num_frames=30)
    assert [frame_number(frame) for frame in decode_straight(path).frames] == list(range(30))
    with av.open(str(path)) as container:
        (stream,) = container.streams.audio
        samples = sum(frame.samples for frame in container.decode(stream))
        assert samples / stream.rate == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("codec", list(CONTAINERS))
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
def test_colours_are_written_into_the_file_and_true(codec: str, matrix: str, tmp_path: Path) -> None:
    for full_range in (False, True):
        path = make_video(tmp_path / "a.mp4", codec=codec, matrix=matrix, full_range=full_range, num_frames=3)
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            assert (context.colorspace, context.color_range) == (
                {"bt601": 6, "bt709": 1, "bt2020": 9}[matrix],
                1 + full_range,
            )
        straight = decode_straight(path)
        assert np.abs(straight.pixels[2].astype(int) - frame_pixels(2)).mean() < 10


def test_pixel_formats_and_odd_sizes(tmp_path: Path) -> None:
    for codec, pixel_format, size in (
        ("libx264", "yuv420p10le", (96, 64)),
        ("libsvtav1", "yuv420p10le", (96, 64)),
        ("libvpx-vp9", "yuv420p", (97, 65)),
        ("libx264", "yuv444p", (97, 65)),
    ):
        path = make_video(tmp_path / "a.mkv", codec=codec, pixel_format=pixel_format, size=size, num_frames=6)
        with av.open(str(path)) as container:
            assert container.streams.video[0].pix_fmt == pixel_format
        straight = decode_straight(path)
        assert straight.pixels.shape == (6, size[1], size[0], 3)
        assert [frame_number(frame) for frame in straight.frames] == list(range(6))


def test_the_same_call_writes_the_same_bytes(tmp_path: Path) -> None:
    for codec in CONTAINERS:
        first, second = (make_video(tmp_path / f"{n}.mp4", codec=codec, num_frames=20) for n in range(2))
        assert first.read_bytes() == second.read_bytes()


def test_the_witness_skips_a_packet_that_raises_and_says_so(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", gop=1)
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][40]
        assert packet.pos is not None
        place, size = packet.pos, packet.size
    content = bytearray(path.read_bytes())
    content[place : place + size] = b"\xff" * size
    path.write_bytes(content)
    straight = decode_straight(path)
    assert [frame_number(frame) for frame in straight.frames] == [*range(40), *range(41, 60)]
    assert len(straight.errors) == 1
    with pytest.raises(av.FFmpegError):
        decode_straight(path, skip_errors=False)


def test_the_witness_plays_what_is_there_of_a_file_that_ends_early(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", b_frames=3)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    straight = decode_straight(path)
    assert 10 < len(straight) < 50
    assert len(straight.pts) == len(straight.seconds) == len(straight.corrupt) == len(straight)
    assert [frame_number(frame) for frame in straight.frames[:10]] == list(range(10))
