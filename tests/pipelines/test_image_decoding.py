"""Decoding against Pillow alone: exact to the bit, or fast and close; crops and flips where they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines import Example
from pipelines.decode import ImageDecoder
from pipelines.decode.geometry import frame
from pipelines.order.randomness import Place

from .pictures import FAST, PLACE, RESIZERS, by_pillow, decode, encode, psnr, smooth, with_orientation

SIZES = [(32, 32), (17, 45), (64, 20)]
SOURCES = [(100, 160), (131, 97), (64, 64), (300, 421), (31, 500)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_exact_is_pillow_to_the_last_bit(
    name: str, fit: Any, source: tuple[int, int], size: tuple[int, int]
) -> None:
    data = encode(smooth(*source), name)
    box = frame(source, size, fit=fit, crop="center", flip=False, words=[0, 0, 0]).box
    assert np.array_equal(decode(data, size=size, fit=fit, resizer="exact"), by_pillow(data, size, box))


@pytest.mark.parametrize("resizer", FAST)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_fast_resizers_are_within_45_db_of_exact(name: str, resizer: Any) -> None:
    options = {"quality": 92} if name != "PNG" else {}
    ratios = []
    for number, source in enumerate([*SOURCES, (512, 640), (257, 263), (90, 1000)]):
        data = encode(smooth(*source, number), name, **options)
        for size in SIZES:
            for fit in ("crop", "pad", "stretch"):
                settings: dict[str, Any] = {"size": size, "fit": fit}
                exact = decode(data, **settings, resizer="exact")
                ratios.append(psnr(decode(data, **settings, resizer=resizer), exact))
    assert np.median(ratios) > 45
    assert min(ratios) > 38


@pytest.mark.parametrize("resizer", FAST)
@pytest.mark.parametrize("shrink", [2, 3, 4, 7, 8, 11, 16])
@pytest.mark.parametrize("odd", [0, 1, 3, 5])
def test_scaled_decoding_does_not_shift_the_picture(resizer: Any, shrink: int, odd: int) -> None:
    """Noise shows a shift of a tenth of a pixel where smooth waves hide it; blurred, so that JPEG keeps it."""
    side = 24
    height, width = side * shrink + odd, side * shrink + 3 * odd + 1
    rng = np.random.default_rng(odd)
    coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8))
    data = encode(coarse.resize((width, height), Image.Resampling.BICUBIC), "JPEG", quality=97, subsampling=0)
    for crop in ("center", "random"):
        place = Place(1, 2, shrink)
        exact = decode(data, size=side, crop=crop, resizer="exact", place=place).astype(float)
        fast = decode(data, size=side, crop=crop, resizer=resizer, place=place).astype(float)
        inner = slice(1, -1)
        gx, gy = np.gradient(exact, axis=1)[inner, inner].ravel(), np.gradient(exact, axis=0)[inner, inner].ravel()
        difference = (fast - exact)[inner, inner].ravel()
        shift, *_ = np.linalg.lstsq(np.stack([gx, gy], axis=1), difference, rcond=None)
        assert np.abs(shift).max() < 0.06, f"shifted by {shift} pixels"
        assert psnr(fast, exact) > 22


def marked(height: int, width: int) -> tuple[Image.Image, list[tuple[float, float]]]:
    """A black picture with three soft bright spots, and where their middles are."""
    centres = [(width * 0.4, height * 0.45), (width * 0.58, height * 0.5), (width * 0.5, height * 0.62)]
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    spread = min(height, width) * 0.012
    spots = sum(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * spread**2)) for x, y in centres)
    return Image.fromarray((255 * np.minimum(spots, 1)).astype(np.uint8)).convert("RGB"), centres


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("orientation", [1, 3, 6, 7])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(("height", "width"), [(220, 330), (401, 203)])
def test_the_transform_takes_each_source_pixel_to_where_it_is_in_the_output(
    height: int, width: int, fit: Any, orientation: int, resizer: Any
) -> None:
    picture, centres = marked(height, width)
    back = {3: 3, 6: 2, 7: 6}
    stored = picture if orientation == 1 else picture.transpose(Image.Transpose(back[orientation]))
    data = encode(stored, "JPEG", quality=98, subsampling=0, exif=with_orientation(orientation))
    for size, crop in (((48, 60), "center"), ((100, 70), "random"), ((260, 250), "random")):
        decoder = ImageDecoder(size=size, fit=fit, crop=crop, flip=True, resizer=resizer)  # type: ignore[arg-type]
        flips = set()
        for position in range(3):
            out = decoder.allocate(1)
            assert out is not None
            details = decoder.decode_into(Example(0, "k", data), out[0], Place(4, 0, position))
            matrix = np.array(details.transform).reshape(2, 3)
            flips.add(matrix[0, 0] < 0)
            for x, y in centres:
                to_x, to_y = matrix @ [x, y, 1]
                assert_spot_at(
                    out[0, 0].astype(float),
                    to_x,
                    to_y,
                    reach=0.05 * min(abs(matrix[0, 0]) * width, matrix[1, 1] * height),
                )
        assert len(flips) == 2 or fit != "crop"


def assert_spot_at(plane: NDArray[np.float64], x: float, y: float, reach: float) -> None:
    """The bright spot around (x, y) has its centre of mass there, within a quarter of a pixel."""
    rows, columns = np.mgrid[0 : plane.shape[0], 0 : plane.shape[1]] + 0.5
    if not (reach + 2 < x < plane.shape[1] - reach - 2 and reach + 2 < y < plane.shape[0] - reach - 2):
        return  # cropped away, or on the edge
    near = (np.abs(columns - x) < reach + 2) & (np.abs(rows - y) < reach + 2)
    weights = np.where(near, np.maximum(plane - 20, 0), 0)
    assert weights.sum() > 0, "there is no spot"
    assert abs((weights * columns).sum() / weights.sum() - x) < 0.25
    assert abs((weights * rows).sum() / weights.sum() - y) < 0.25


def test_padding_is_black_and_the_picture_stands_in_the_middle() -> None:
    data = encode(Image.new("RGB", (80, 40), (200, 100, 50)), "PNG")
    for resizer in RESIZERS:
        out = decode(data, size=(32, 32), fit="pad", resizer=resizer)
        assert np.all(out[:8] == 0)
        assert np.all(out[24:] == 0)
        assert np.all(out[8:24] == [200, 100, 50])


def test_random_crops_reach_every_corner_and_differ_by_place() -> None:
    data = encode(smooth(40, 90), "PNG")
    lefts = []
    for position in range(200):
        decoder, out = ImageDecoder(size=40, crop="random", resizer="pillow"), np.empty((40, 40, 3), np.uint8)
        details = decoder.decode_into(Example(0, "k", data), out.transpose(2, 0, 1), Place(0, 0, position))
        assert details.transform is not None
        lefts.append(-details.transform[2])
    assert min(lefts) == 0
    assert max(lefts) == 50
    assert len(set(lefts)) > 40


def test_half_of_the_pictures_are_flipped_and_a_flip_is_a_mirror() -> None:
    data = encode(smooth(40, 40), "PNG")
    plain = decode(data, size=40)
    outs = [decode(data, size=40, flip=True, place=Place(9, 1, position)) for position in range(300)]
    mirrored = [np.array_equal(out, plain[:, ::-1]) for out in outs]
    assert all(m or np.array_equal(out, plain) for m, out in zip(mirrored, outs, strict=True))
    assert 110 < sum(mirrored) < 190


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("source", [(1, 1), (1, 9), (9, 1), (2, 3), (1, 300), (300, 1), (7, 7)])
@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_tiny_and_thin_pictures_fill_every_size(name: str, fit: Any, source: tuple[int, int], resizer: Any) -> None:
    data = encode(Image.new("RGB", source[::-1], (90, 90, 90)), name)
    for size in ((1, 1), (8, 8), (3, 11), (40, 40)):
        out = decode(data, size=size, fit=fit, resizer=resizer)
        assert out.shape == (*size, 3)
        assert set(np.unique(out)) <= {0, 90} if fit == "pad" else set(np.unique(out)) == {90}
        assert np.any(out == 90)


@pytest.mark.parametrize("resizer", RESIZERS)
def test_small_pictures_are_enlarged(resizer: Any) -> None:
    data = encode(smooth(12, 16), "JPEG", quality=98, subsampling=0)
    assert psnr(decode(data, size=(48, 64), resizer=resizer), by_pillow(data, (48, 64))) > 40


def test_without_a_size_every_picture_keeps_its_own() -> None:
    for name in ("JPEG", "PNG"):
        data = encode(smooth(33, 57), name)
        assert np.array_equal(decode(data, size=None), by_pillow(data, (33, 57)))
        assert decode(data, size=None, grayscale=True).shape == (33, 57, 1)
    flips = [decode(data, size=None, flip=True, place=Place(0, 0, position)) for position in range(20)]
    mirrored = [np.array_equal(out, by_pillow(data, (33, 57))[:, ::-1]) for out in flips]
    assert 0 < sum(mirrored) < 20


def test_the_slot_is_filled_in_place_in_channels_last_memory() -> None:
    decoder = ImageDecoder(size=(8, 6))
    slots = decoder.allocate(4)
    assert slots is not None
    assert slots.shape == (4, 3, 8, 6)
    assert slots.transpose(0, 2, 3, 1).flags.c_contiguous
    slots[...] = 7
    decoder.decode_into(Example(0, "k", encode(smooth(20, 30), "JPEG")), slots[2], PLACE)
    assert np.all(slots[[0, 1, 3]] == 7)
    assert not np.all(slots[2] == 7)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"size": 0}, "size is 0"),
        ({"size": (4, -1)}, r"size is \(4, -1\)"),
        ({"fit": "squash"}, "fit is 'squash'"),
        ({"crop": "left"}, "crop is 'left'"),
        ({"resizer": "fast"}, "resizer is 'fast'"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        ImageDecoder(**settings)
