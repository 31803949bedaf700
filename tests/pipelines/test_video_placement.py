"""Where frames go: against Pillow over the same box, by marked points, and by circles that have to stay round."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines import Batch, ExampleError, VideoIterator

from .crossed import crossed
from .numbered_frames import Pixels, frame_number
from .video_clips import alone
from .videos import decode_straight, make_video

Plane = NDArray[np.float64]
SIZES = [(32, 32), (17, 45), (64, 20), (100, 120)]
FITS = ("crop", "pad", "stretch")
TURNED = [(0, Fraction(1)), (180, Fraction(64, 51)), (90, Fraction(3, 5)), (270, Fraction(64, 51))]
TURNED += [(0, Fraction(3, 5)), (90, Fraction(1))]
KINDS: dict[str, dict[str, Any]] = {
    "wide": {"size": (320, 240)},
    "tall": {"size": (96, 130)},
    "ten bits": {"size": (160, 100), "pixel_format": "yuv420p10le"},
    "gray": {"size": (160, 100), "pixel_format": "gray", "codec": "ffv1", "suffix": "mkv"},
    "odd": {"size": (197, 135), "codec": "libvpx-vp9", "suffix": "mkv"},
    "444": {"size": (121, 97), "pixel_format": "yuv444p", "suffix": "mkv"},
    "full range": {"size": (160, 100), "full_range": True},
    "turned": {"size": (160, 100), "rotation": 90},
}


def waves(number: int, size: tuple[int, int]) -> Pixels:
    """Without an edge: (height, width, 3)."""
    width, height = size
    y, x = (np.mgrid[0:height, 0:width] + 0.5) / np.array([height, width]).reshape(2, 1, 1)
    phases = (x + number / 16, y + number / 23, x + y + number / 31)
    return np.asarray((128 + 90 * np.sin(2 * np.pi * np.stack(phases, axis=-1))).astype(np.uint8))


def lossless(path: Path, **settings: Any) -> Path:
    """A video whose frames are what is drawn, but for the rounding of colours."""
    base: dict[str, Any] = {"codec": "ffv1", "pixel_format": "yuv444p", "num_frames": 2}
    return make_video(path, **{**base, **settings})


def first_batch(source: Any, **settings: Any) -> Batch:
    """Of clips of two frames."""
    return next(iter(VideoIterator(source, **{"clip_frames": 2, "batch_size": 1, "threads": 1, **settings})))


def matrix_of(batch: Batch, slot: int = 0) -> Plane:
    """(2, 3): from pixels of the upright video as it is stored to those of the output."""
    assert batch.transform is not None
    return np.asarray(batch.transform[slot], float).reshape(2, 3)


def frames_of(batch: Batch, slot: int = 0) -> Plane:
    """(frame, height, width, 3)."""
    return np.asarray(batch.data[slot].transpose(1, 2, 3, 0), float)


def by_pillow(pixels: Pixels, matrix: Plane, size: tuple[int, int]) -> tuple[Plane, tuple[int, int, int, int]]:
    """A frame resized to where its matrix says, and the box (left, top, right, bottom) of the output that it fills."""
    (x_scale, _, left), (_, y_scale, top) = matrix
    right, bottom = left + x_scale * pixels.shape[1], top + y_scale * pixels.shape[0]
    to = (max(0, round(left)), max(0, round(top)), min(size[1], round(right)), min(size[0], round(bottom)))
    box = ((to[0] - left) / x_scale, (to[1] - top) / y_scale, (to[2] - left) / x_scale, (to[3] - top) / y_scale)
    inside = tuple(np.clip(box, 0, [pixels.shape[1], pixels.shape[0]] * 2).tolist())
    picture = Image.fromarray(pixels).resize(
        (to[2] - to[0], to[3] - to[1]), Image.Resampling.BILINEAR, box=(inside[0], inside[1], inside[2], inside[3])
    )
    return np.asarray(picture, float), to


@pytest.mark.parametrize(("kind", "fit"), crossed(KINDS, FITS))
def test_frames_are_those_that_pillow_resizes_over_the_same_box(kind: str, fit: str, tmp_path: Path) -> None:
    settings = {"suffix": "mp4", **KINDS[kind]}
    path = tmp_path / f"a.{settings.pop('suffix')}"
    make_video(path, num_frames=2, picture=waves, options={"crf": "10"}, **settings)
    straight = decode_straight(path)
    for size in SIZES:
        batch = first_batch(tmp_path, size=size, fit=fit)
        for found, whole in zip(frames_of(batch), straight.frames, strict=True):
            expected, (left, top, right, bottom) = by_pillow(whole, matrix_of(batch), size)
            assert np.abs(found[top:bottom, left:right] - expected).mean() < 2
            around = found.copy()
            around[top:bottom, left:right] = 0
            assert not around.any()
            full = (right - left, bottom - top) == (size[1], size[0])
            assert full if fit != "pad" else ((right - left) == size[1] or (bottom - top) == size[0])


def spots(places: list[tuple[float, float]]) -> Callable[[int, tuple[int, int]], Pixels]:
    """Draws soft bright spots on black, their middles at these parts of width and height."""

    def draw(_: int, size: tuple[int, int]) -> Pixels:
        width, height = size
        rows, columns = np.mgrid[0:height, 0:width] + 0.5
        spread = 0.015 * min(size)
        sums = sum(
            np.exp(-((columns - x * width) ** 2 + (rows - y * height) ** 2) / (2 * spread**2)) for x, y in places
        )
        return np.repeat((255 * np.minimum(sums, 1)).astype(np.uint8)[..., None], 3, axis=2)

    return draw


PLACES = [(0.5, 0.5), (0.36, 0.42), (0.62, 0.6)]


@pytest.mark.parametrize(("turned", "fit"), crossed(TURNED, FITS))
def test_the_transform_takes_each_point_to_where_it_is(
    turned: tuple[int, Fraction], fit: str, tmp_path: Path
) -> None:
    rotation, aspect = turned
    size = (330, 220)
    lossless(tmp_path / "a.mp4", codec="libx264", options={"qp": "0"}, size=size, pixel_aspect=aspect,
             rotation=rotation, num_frames=4, picture=spots(PLACES))  # fmt: skip
    flips, num_seen = set[bool](), 0
    for target, crop in (((48, 60), "center"), ((100, 70), "random"), ((260, 250), "random"), (None, "center")):
        clips = VideoIterator(
            tmp_path, clip_frames=1, size=target, fit=fit, crop=crop, flip=True, batch_size=1, seed=5
        )
        for batch in clips:
            matrix, found = matrix_of(batch), frames_of(batch)[0, ..., 0]
            flips.add(bool(matrix[0, 0] < 0))
            reach = 0.05 * min(abs(matrix[0, 0]), matrix[1, 1]) * min(size)
            num_seen += sum(seen_at(found, matrix @ [x * size[0], y * size[1], 1], reach) for x, y in PLACES)
    assert num_seen > 20
    assert flips == {False, True}


def seen_at(plane: Plane, place: Plane, reach: float) -> bool:
    """Whether a bright spot has its centre of mass at (x, y), within half a pixel; False where that is cut off."""
    x, y = place
    height, width = plane.shape
    if not (reach + 2 < x < width - reach - 2 and reach + 2 < y < height - reach - 2):
        return False
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    near = (np.abs(columns - x) < reach + 2) & (np.abs(rows - y) < reach + 2)
    weights = np.where(near, np.maximum(plane - 20, 0), 0)
    assert weights.sum() > 0, "there is no spot"
    assert abs((weights * columns).sum() / weights.sum() - x) < 0.5
    assert abs((weights * rows).sum() / weights.sum() - y) < 0.5
    return True


@pytest.mark.parametrize(
    "settings", [{"crop": "random"}, {"flip": True}, {"crop": "random", "flip": True}], ids=str
)
def test_all_frames_of_a_clip_are_placed_alike_and_clips_differ(settings: dict[str, Any], tmp_path: Path) -> None:
    """The picture stands still, so that frames differ only by where they are placed."""
    lossless(tmp_path / "a.mkv", size=(96, 40), num_frames=60, gop=10, picture=lambda _, size: waves(0, size))
    clips = VideoIterator(tmp_path, clip_frames=5, size=32, batch_size=4, **settings)
    matrices = []
    for batch in clips:
        for slot in range(len(batch)):
            frames = frames_of(batch, slot)
            assert (frames == frames[0]).all()
            matrices.append(tuple(matrix_of(batch, slot).ravel().tolist()))
    assert len(set(matrices)) == (2 if "crop" not in settings else len(set(matrices)))
    assert len(set(matrices)) > 1
    again = VideoIterator(tmp_path, clip_frames=5, size=32, batch_size=4, threads=3, **settings)
    assert [
        tuple(matrix_of(batch, slot).ravel().tolist()) for batch in again for slot in range(len(batch))
    ] == matrices
    again.reset(1)
    assert [
        tuple(matrix_of(batch, slot).ravel().tolist()) for batch in again for slot in range(len(batch))
    ] != matrices


def test_random_crops_reach_every_corner_and_half_of_the_clips_are_mirrored(tmp_path: Path) -> None:
    lossless(tmp_path / "a.mkv", size=(72, 32), num_frames=40, picture=lambda _, size: waves(0, size))
    clips = VideoIterator(tmp_path, clip_frames=1, size=32, batch_size=40, crop="random", flip=True)
    lefts, mirrored = list[float](), 0
    for _ in range(6):
        for batch in clips:
            for slot in range(len(batch)):
                scale, _, moved = matrix_of(batch, slot)[0]
                mirrored += bool(scale < 0)
                lefts.append(-moved if scale > 0 else moved - 32)
    assert (min(lefts), max(lefts)) == (0, 40)
    assert len(set(lefts)) == 41
    assert 90 < mirrored < 150
    plain = frames_of(first_batch(tmp_path, size=32))[0]
    for batch in VideoIterator(tmp_path, clip_frames=1, size=32, batch_size=1, flip=True):
        found = frames_of(batch)[0]
        assert np.array_equal(found, plain[:, ::-1] if matrix_of(batch)[0, 0] < 0 else plain)


def circle(_: int, size: tuple[int, int], *, aspect: Fraction = Fraction(1)) -> Pixels:
    """A disc that is round where pixels have this aspect, in the middle."""
    width, height = size
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    radius = 0.35 * min(width * float(aspect), height)
    inside = np.hypot((columns - width / 2) * float(aspect), rows - height / 2) < radius
    return np.repeat((235 * inside).astype(np.uint8)[..., None], 3, axis=2)


def roundness(plane: Plane) -> float:
    """Width of a bright blob through its height, by its second moments."""
    rows, columns = np.mgrid[0 : plane.shape[0], 0 : plane.shape[1]]
    total = plane.sum()
    x, y = (plane * columns).sum() / total, (plane * rows).sum() / total
    return float(np.sqrt((plane * (columns - x) ** 2).sum() / (plane * (rows - y) ** 2).sum()))


@pytest.mark.parametrize(
    ("aspect", "rotation"),
    crossed([Fraction(64, 51), Fraction(224, 225), Fraction(1, 2), Fraction(12, 11)], [0, 90, 270]),
)
def test_circles_are_round_where_a_size_is_given(aspect: Fraction, rotation: int, tmp_path: Path) -> None:
    """Of a turned video `aspect` is that of its pixels as they are stored, and they lie on their side when shown."""
    shown_aspect = aspect if rotation % 180 == 0 else 1 / aspect
    make_video(
        tmp_path / "a.mp4",
        size=(240, 176),
        num_frames=2,
        pixel_aspect=aspect,
        rotation=rotation,
        picture=lambda number, size: circle(number, size, aspect=shown_aspect),
    )
    for size, fit in (((128, 128), "crop"), ((128, 128), "pad"), ((150, 90), "pad"), ((60, 101), "crop")):
        batch = first_batch(tmp_path, size=size, fit=fit)
        (x_scale, _, _), (_, y_scale, _) = matrix_of(batch)
        assert x_scale / y_scale == pytest.approx(float(shown_aspect), rel=0.02)
        if (size, fit) != ((60, 101), "crop"):  # there the circle is cut off
            assert roundness(frames_of(batch)[0, ..., 0]) == pytest.approx(1, abs=0.02)
        assert "pixel_aspect" not in batch.fields
    own = first_batch(tmp_path, size=None)
    assert own.data.shape[3:] == (176, 240)
    assert own.fields["pixel_aspect"].tolist() == [float(aspect)]
    assert roundness(frames_of(own)[0, ..., 0]) == pytest.approx(1 / float(shown_aspect), rel=0.02)


@pytest.mark.parametrize(
    ("name", "aspect"), [("demo.mp4", Fraction(64, 51)), ("test_non_zero_start.mp4", Fraction(224, 225))]
)
def test_pixels_of_shared_videos_become_square(
    name: str, aspect: Fraction, shared_data: Path, tmp_path: Path
) -> None:
    source = alone(shared_data / "video" / name, tmp_path / "a")
    straight = decode_straight(shared_data / "video" / name).frames[:2]
    own = first_batch(source, size=None)
    assert own.fields["pixel_aspect"].tolist() == [float(aspect)]
    assert np.array_equal(frames_of(own), straight)
    for fit in ("crop", "pad"):
        batch = first_batch(source, size=(96, 112), fit=fit)
        matrix = matrix_of(batch)
        assert matrix[0, 0] / matrix[1, 1] == pytest.approx(float(aspect), rel=0.01)
        expected, (left, top, right, bottom) = by_pillow(straight[0], matrix, (96, 112))
        assert np.abs(frames_of(batch)[0, top:bottom, left:right] - expected).mean() < 3


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_turned_videos_are_upright_at_every_size(rotation: int, tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", size=(96, 64), rotation=rotation, num_frames=5)
    straight = decode_straight(path)
    own = first_batch(tmp_path, size=None, clip_frames=5)
    assert own.data.shape == (1, 3, 5, 64, 96)
    assert np.array_equal(frames_of(own), straight.pixels)
    assert matrix_of(own).tolist() == [[1, 0, 0], [0, 1, 0]]
    scaled = first_batch(tmp_path, size=(40, 48), fit="stretch", clip_frames=5)
    assert np.array_equal(frames_of(scaled), decode_straight(path, size=(40, 48)).pixels)
    cropped = first_batch(tmp_path, size=(48, 40), clip_frames=5)
    shown = 40 / 48 * 64 / 96
    for clip, part in ((own, 1.0), (scaled, 1.0), (cropped, shown)):
        frames = frames_of(clip).astype(np.uint8)
        assert [frame_number(frame, shown=(max(part, 0.6), 1)) for frame in frames] == list(range(5))


def test_turned_shared_video_is_upright(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "video" / "nasa_13013_rotated.mp4"
    straight, source = decode_straight(path), alone(path, tmp_path / "a")
    assert straight.frames[0].shape == (480, 270, 3)
    batch = first_batch(source, size=(120, 68), fit="stretch", clip_frames=17)
    for found, whole in zip(frames_of(batch), straight.frames, strict=True):
        expected, _ = by_pillow(whole, matrix_of(batch), (120, 68))
        assert np.abs(found - expected).mean() < 2


def test_padding_is_black_and_the_frame_stands_in_the_middle(tmp_path: Path) -> None:
    lossless(tmp_path / "a.mkv", size=(80, 40), picture=lambda _, size: np.full((*size[::-1], 3), 200, np.uint8))
    wide = frames_of(first_batch(tmp_path, size=32, fit="pad"))
    assert not wide[:, :8].any()
    assert not wide[:, 24:].any()
    assert (wide[:, 8:24] == 200).all()
    tall = frames_of(first_batch(tmp_path, size=(20, 60), fit="pad"))
    assert not tall[:, :, :10].any()
    assert not tall[:, :, 50:].any()
    assert (tall[:, :, 10:50] == 200).all()


@pytest.mark.parametrize(("source", "fit"), crossed([(2, 2), (2, 300), (300, 2), (8, 6), (33, 47)], FITS))
def test_small_and_thin_videos_fill_every_size(source: tuple[int, int], fit: str, tmp_path: Path) -> None:
    lossless(tmp_path / "a.mkv", size=source, picture=lambda _, size: np.full((*size[::-1], 3), 90, np.uint8))
    for size in ((1, 1), (8, 8), (3, 11), (40, 40)):
        batch = first_batch(tmp_path, size=size, fit=fit)
        assert batch.data.shape == (1, 3, 2, *size)
        assert set(np.unique(batch.data)) <= {0, 90} if fit == "pad" else set(np.unique(batch.data)) == {90}
        assert (batch.data == 90).any()


def test_a_video_too_thin_for_a_crop_is_refused_with_what_to_do(tmp_path: Path) -> None:
    lossless(tmp_path / "a.mkv", size=(16_000, 2), picture=lambda _, size: np.full((*size[::-1], 3), 90, np.uint8))
    with pytest.raises(ExampleError, match=r"16,000 × 2 pixels are too thin .* use fit='pad' or 'stretch'"):
        first_batch(tmp_path)
    assert (first_batch(tmp_path, fit="stretch").data == 90).all()


def test_enlarged_frames_are_those_of_pillow(tmp_path: Path) -> None:
    path = lossless(tmp_path / "a.mkv", size=(40, 30), picture=waves)
    for size, fit in (((120, 160), "stretch"), ((200, 200), "crop"), ((300, 100), "pad")):
        batch = first_batch(tmp_path, size=size, fit=fit)
        expected, (left, top, right, bottom) = by_pillow(decode_straight(path).frames[0], matrix_of(batch), size)
        assert np.abs(frames_of(batch)[0, top:bottom, left:right] - expected).mean() < 1


def test_gray_videos_have_three_equal_channels(tmp_path: Path) -> None:
    lossless(tmp_path / "a.mkv", pixel_format="gray", size=(96, 64))
    for size in (None, 32, (17, 45)):
        data = first_batch(tmp_path, size=size).data
        assert data.shape[1] == 3
        assert (data == data[:, :1]).all()


def digest_of_odd_widths(folder: Path) -> str:
    """Over clips whose frames, stored or scaled, have odd sides, where swscale writes rows beyond their end."""
    digest = hashlib.sha256()
    for size, fits in ((None, ("crop",)), (33, ("crop", "pad")), ((101, 77), ("crop", "pad")), (64, ("pad",))):
        for fit in fits:
            settings: dict[str, Any] = {"size": size, "fit": fit, "crop": "random", "clip_frames": 3}
            for batch in VideoIterator(folder, batch_size=1, threads=2, **settings):
                digest.update(batch.data.tobytes())
    return digest.hexdigest()


def test_odd_widths_give_the_same_bytes_in_two_processes(tmp_path: Path) -> None:
    """In one of them memory that malloc gives is filled first, so that what is read without being written differs."""
    for name, pixel_format in (("a", "yuv444p"), ("b", "yuv444p10le"), ("c", "gray")):
        lossless(tmp_path / f"{name}.mkv", size=(97, 65), pixel_format=pixel_format, num_frames=7)
    make_video(tmp_path / "d.webm", codec="libvpx-vp9", size=(97, 65), num_frames=7)
    environment = {**os.environ, "MALLOC_PERTURB_": "85", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "tests.pipelines.test_video_placement", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-1500:]
    assert done.stdout.strip() == digest_of_odd_widths(tmp_path)


if __name__ == "__main__":
    print(digest_of_odd_widths(Path(sys.argv[1])))
