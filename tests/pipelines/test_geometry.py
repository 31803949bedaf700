"""Framing against what the words mean: inside the picture, in its middle, of the right shape, uniform."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from pipelines.decode.geometry import Fit, Framing, Size, frame, parse_size

SOURCES = [(1, 1), (1, 50), (50, 1), (7, 9), (480, 640), (640, 427), (333, 1001), (2048, 2047), (100, 100)]
TARGETS = [(1, 1), (8, 8), (64, 64), (31, 77), (224, 224), (256, 128), (1000, 1000)]
CASES = list(itertools.product(SOURCES, TARGETS))


def framed(source: Size, target: Size, fit: Fit = "crop", *, random: int | None = None) -> Framing:
    words = [0, 0, 0] if random is None else np.random.default_rng(random).integers(0, 1 << 63, 3).tolist()
    return frame(source, target, fit=fit, crop="center" if random is None else "random", flip=False, words=words)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("random", [None, 1, 2])
def test_boxes_and_places_lie_inside_and_hold_at_least_a_pixel(fit: Fit, random: int | None) -> None:
    for (height, width), (out_height, out_width) in CASES:
        framing = framed((height, width), (out_height, out_width), fit, random=random)
        left, top, right, bottom = framing.box
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        left, top, right, bottom = framing.target_box
        assert 0 <= left < right <= out_width
        assert 0 <= top < bottom <= out_height


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_scaled_decode_loses_nothing_that_the_output_could_show(fit: Fit) -> None:
    for source, target in CASES:
        framing = framed(source, target, fit)
        assert framing.scale in (1, 2, 4, 8)
        assert all(edge % framing.scale == 0 for edge in framing.box)
        if framing.scale > 1:
            left, top, right, bottom = framing.box
            to_left, to_top, to_right, to_bottom = framing.target_box
            assert (right - left) // framing.scale >= to_right - to_left
            assert (bottom - top) // framing.scale >= to_bottom - to_top


def test_a_centre_crop_lies_in_the_middle_and_touches_two_sides() -> None:
    """Within one pixel of the scaled picture, which is the grain of a crop."""
    for (height, width), target in CASES:
        framing = framed((height, width), target)
        left, top, right, bottom = framing.box
        assert abs(left - (width - right)) <= 2 * framing.scale
        assert abs(top - (height - bottom)) <= 2 * framing.scale
        assert right - left > width - framing.scale or bottom - top > height - framing.scale


def test_the_crop_has_the_shape_of_the_target_to_a_pixel() -> None:
    for source, (out_height, out_width) in CASES:
        framing = framed(source, (out_height, out_width))
        left, top, right, bottom = framing.box
        ratio = min(source[1] / out_width, source[0] / out_height)
        if ratio * min(out_height, out_width) >= 1:  # else one pixel is the least there is
            assert abs((right - left) - out_width * ratio) <= framing.scale
            assert abs((bottom - top) - out_height * ratio) <= framing.scale


def test_padding_keeps_the_shape_and_stands_in_the_middle() -> None:
    for (height, width), (out_height, out_width) in CASES:
        left, top, right, bottom = framed((height, width), (out_height, out_width), "pad").target_box
        ratio = min(out_width / width, out_height / height)
        assert abs((right - left) - max(1, width * ratio)) <= 0.5
        assert abs((bottom - top) - max(1, height * ratio)) <= 0.5
        assert abs(left - (out_width - right)) <= 1
        assert abs(top - (out_height - bottom)) <= 1


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_what_is_not_cropped_shows_the_whole_picture_to_a_pixel_of_the_scale(fit: Fit) -> None:
    for (height, width), target in CASES:
        framing = framed((height, width), target, fit, random=3)
        left, top, right, bottom = framing.box
        assert left < framing.scale > width - right
        assert top < framing.scale > height - bottom


def test_random_crops_are_uniform_over_every_place_they_may_take() -> None:
    rng = np.random.default_rng(0)
    lefts = []
    for words in rng.integers(0, 1 << 64, (20_000, 3), dtype=np.uint64):
        framing = frame((40, 60), (40, 40), fit="crop", crop="random", flip=False, words=words.tolist())
        assert framing.box[1::2] == (0, 40)
        lefts.append(framing.box[0])
    counts = np.bincount(lefts, minlength=21)
    assert len(counts) == 21
    assert stats.chisquare(counts).pvalue > 1e-4


def test_sizes_are_one_number_or_height_and_width() -> None:
    assert parse_size(7) == (7, 7)
    assert parse_size((3, 4)) == (3, 4)
