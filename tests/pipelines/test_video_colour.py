"""Colours against the formulas of BT.601, BT.709 and BT.2020: matrix and range are those that a file names."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from .crossed import crossed
from .video_clips import alone, clips_of
from .videos import decode_straight, make_video

Plane = NDArray[np.float64]
Chroma = Callable[[Plane, tuple[int, int]], Plane]
LUMA = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}
"""Shares of red and blue in luma. What is left is the share of green."""
KINDS = crossed(LUMA, (False, True))


def planes_of(path: Path, num: int) -> list[tuple[list[Plane], int]]:
    """The planes of the first frames, as the decoder gives them, and how many bits a value has."""
    found = []
    with av.open(str(path)) as container:
        for frame in itertools.islice(container.decode(video=0), num):
            bits = frame.format.components[0].bits
            dtype = np.dtype("<u2" if bits > 8 else "u1")
            rows = [(np.frombuffer(plane, dtype).reshape(plane.height, -1), plane.width) for plane in frame.planes]
            found.append(([values[:, :width].astype(float) for values, width in rows], bits))
    return found


def to_rgb(planes: list[Plane], bits: int, matrix: str, *, full_range: bool, chroma: Chroma) -> Plane:
    """(height, width, 3) in levels of 0 to 255, not rounded: ITU-R BT.601, BT.709 and BT.2020, quantisation reversed.

    `chroma` makes a plane of chroma as large as that of luma.
    """
    unit, top = 2.0 ** (bits - 8), 2.0**bits - 1
    shape = (planes[0].shape[0], planes[0].shape[1])
    blue, red = (chroma(plane, shape) - 128 * unit for plane in planes[1:])
    luma = planes[0] / top if full_range else (planes[0] - 16 * unit) / (219 * unit)
    blue, red = (plane / (top if full_range else 224 * unit) for plane in (blue, red))
    red_share, blue_share = LUMA[matrix]
    r, b = luma + 2 * (1 - red_share) * red, luma + 2 * (1 - blue_share) * blue
    g = (luma - red_share * r - blue_share * b) / (1 - red_share - blue_share)
    return np.asarray(np.clip(255 * np.stack([r, g, b], axis=-1), 0, 255))


def whole(plane: Plane, shape: tuple[int, int]) -> Plane:
    """4:4:4: a value for each pixel."""
    assert plane.shape == shape
    return plane


def nearest(plane: Plane, shape: tuple[int, int]) -> Plane:
    """The value that is stored for a pixel and its neighbours."""
    rows, columns = (np.arange(length) // 2 for length in shape)
    return plane[np.ix_(rows, columns)]


def in_pairs(plane: Plane, shape: tuple[int, int]) -> Plane:
    """Linear down; across one value for two pixels, in their middle, where the stored ones lie on the left pixel."""
    rows, columns = np.arange(shape[0]) / 2 - 0.25, np.arange(shape[1]) // 2 + 0.25
    return linear(linear(plane, rows, 0), columns, 1)


def stretched(plane: Plane, shape: tuple[int, int]) -> Plane:
    """Linear down and across, the plane being as large as the picture: with odd sides a little too large."""
    for axis, length in enumerate(shape):
        plane = linear(plane, (np.arange(length) + 0.5) * plane.shape[axis] / length - 0.5, axis)
    return plane


def linear(plane: Plane, places: Plane, axis: int) -> Plane:
    """Values between those of an axis."""
    places = np.clip(places, 0, plane.shape[axis] - 1)
    below = np.floor(places).astype(int)
    above = np.minimum(below + 1, plane.shape[axis] - 1)
    share = (places - below).reshape(-1, 1) if axis == 0 else places - below
    return np.take(plane, below, axis) * (1 - share) + np.take(plane, above, axis) * share


def delivered(path: Path, folder: Path, num: int, **settings: Any) -> Plane:
    """The first clip of a video: (frame, height, width, 3)."""
    _, start, frames, _ = next(clips_of(alone(path, folder), clip_frames=num, **settings))
    assert (start, len(frames)) == (0, num)
    return frames.astype(float)


def errors(path: Path, folder: Path, matrix: str, *, full_range: bool, chroma: Chroma, num: int = 3) -> Plane:
    """By how many levels each value of the first frames differs from the formula."""
    found = delivered(path, folder, num)
    planes = planes_of(path, num)
    return np.abs(found - [np.round(to_rgb(*one, matrix, full_range=full_range, chroma=chroma)) for one in planes])


def test_bt709_in_full_range_is_right_within_three_levels(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "video" / "bt709_full_range.mp4"
    found = errors(path, tmp_path / "a", "bt709", full_range=True, chroma=nearest)
    assert found.mean() < 1
    assert found.max() <= 3


def test_ten_bits_are_right_within_four_levels(shared_data: Path, tmp_path: Path) -> None:
    """Chroma is not the nearest: swscale scales planes of ten bits, and moves chroma to the middle of two pixels."""
    path = shared_data / "video" / "h264_10bits.mp4"
    found = errors(path, tmp_path / "a", "bt601", full_range=False, chroma=in_pairs)
    assert found.mean() < 1
    assert found.max(axis=(0, 1, 2)).max() <= 4


@pytest.mark.parametrize(("matrix", "full_range"), KINDS)
def test_every_matrix_and_range_is_right_within_three_levels(matrix: str, full_range: bool, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", matrix=matrix, full_range=full_range, num_frames=3)
    found = errors(path, tmp_path / "a", matrix, full_range=full_range, chroma=nearest)
    assert found.mean() < (1 if full_range else 1.5)
    assert found.max() <= 3


@pytest.mark.parametrize(("matrix", "full_range"), KINDS)
def test_without_smaller_chroma_it_is_right_within_one_level(matrix: str, full_range: bool, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"matrix": matrix, "full_range": full_range, "num_frames": 3}
    for pixel_format in ("yuv444p", "yuv444p10le"):
        path = make_video(tmp_path / f"{pixel_format}.mkv", pixel_format=pixel_format, **settings)
        found = errors(path, tmp_path / pixel_format, matrix, full_range=full_range, chroma=whole)
        assert found.mean() < 0.5
        assert found.max() <= 1


@pytest.mark.parametrize(("matrix", "full_range"), KINDS)
def test_every_matrix_and_range_of_ten_bits_is_right_within_four_levels(
    matrix: str, full_range: bool, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"matrix": matrix, "full_range": full_range, "num_frames": 3}
    path = make_video(tmp_path / "a.mp4", pixel_format="yuv420p10le", **settings)
    found = errors(path, tmp_path / "a", matrix, full_range=full_range, chroma=in_pairs)
    assert found.mean() < (1 if full_range else 2)
    assert found.max() <= 4


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9", "libsvtav1"])
def test_full_range_is_known_by_its_mark_where_the_pixel_format_does_not_say_it(codec: str, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", codec=codec, matrix="bt709", full_range=True, num_frames=3)
    found = errors(path, tmp_path / "a", "bt709", full_range=True, chroma=nearest)
    assert found.mean() < 1
    assert found.max() <= 3


def test_odd_sides_are_right_within_one_level(tmp_path: Path) -> None:
    """There swscale interpolates chroma, over a plane that it takes to be just as large as the picture."""
    settings: dict[str, Any] = {"codec": "libvpx-vp9", "size": (97, 65), "matrix": "bt709", "num_frames": 3}
    path = make_video(tmp_path / "a.mkv", **settings)
    found = errors(path, tmp_path / "a", "bt709", full_range=False, chroma=stretched)
    assert found.mean() < 0.1
    assert found.max() <= 1


def test_a_video_that_names_no_matrix_is_bt601_in_limited_range_of_any_size(tmp_path: Path) -> None:
    for size in ((96, 64), (1280, 720)):
        path = make_video(tmp_path / f"{size[0]}.mp4", size=size, num_frames=2)
        found = errors(path, tmp_path / f"{size[0]}", "bt601", full_range=False, chroma=nearest, num=2)
        assert found.mean() < 1.5
        assert found.max() <= 3


@pytest.mark.parametrize(("matrix", "full_range"), KINDS)
def test_scaled_frames_have_the_same_colours(matrix: str, full_range: bool, tmp_path: Path) -> None:
    """Against Pillow, which resizes what the formulas give: edges may differ, the colour of a channel may not."""
    path = make_video(tmp_path / "a.mp4", matrix=matrix, full_range=full_range, size=(256, 192), num_frames=2)
    found = delivered(path, tmp_path / "a", 2, size=(48, 64))
    for frame, planes in zip(found, planes_of(path, 2), strict=True):
        rgb = to_rgb(*planes, matrix, full_range=full_range, chroma=nearest)
        whole_frame = Image.fromarray(rgb.round().astype(np.uint8))
        expected = np.asarray(whole_frame.resize((64, 48), Image.Resampling.BILINEAR)).astype(float)
        assert np.abs((frame - expected).mean(axis=(0, 1))).max() < 0.5
        assert np.abs(frame - expected).mean() < 1


def test_unscaled_frames_are_those_of_plain_pyav(tmp_path: Path) -> None:
    """What anybody has who decodes without us: this comes first, where the formulas would have other rounding."""
    for pixel_format, suffix, size in (
        ("yuv420p", "mp4", (96, 64)),
        ("yuv420p10le", "mp4", (96, 64)),
        ("yuv444p", "mkv", (97, 65)),
        ("gray", "mkv", (96, 64)),
    ):
        codec = "ffv1" if pixel_format == "gray" else "libx264"
        settings: dict[str, Any] = {"codec": codec, "pixel_format": pixel_format, "size": size, "num_frames": 3}
        path = make_video(tmp_path / f"{pixel_format}.{suffix}", **settings)
        with av.open(str(path)) as container:
            plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        found = delivered(path, tmp_path / pixel_format, 3)
        assert np.array_equal(found, plain)
        assert np.array_equal(plain, decode_straight(path).pixels)
