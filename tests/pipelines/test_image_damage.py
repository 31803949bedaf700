"""Pictures that are broken, too large or lie: refused with a reason, alike by every resizer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pipelines import ExampleError
from pipelines.decode.image.jpeg import read_jpeg_header

from .pictures import RESIZERS, decode, encode, smooth, with_orientation

BROKEN = {
    "text": (b"this is a text file, named .jpg", "not an image"),
    "empty": (b"", "an empty file"),
    "start of a JPEG": (encode(smooth(40, 60), "JPEG")[:20], ""),
    "half a JPEG": (encode(smooth(200, 200), "JPEG")[:2500], "truncated"),
    "half a PNG": (encode(smooth(200, 200), "PNG")[:2500], ""),
    "headers alone": (encode(smooth(40, 60), "JPEG")[:620], ""),
    "zeros": (bytes(10_000), "not an image"),
}


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("kind", BROKEN)
def test_what_cannot_be_decoded_is_refused_with_place_and_reason(kind: str, resizer: Any) -> None:
    data, reason = BROKEN[kind]
    for size in (16, None):
        with pytest.raises(
            ExampleError, match=rf"x\.tar: example 'key' at byte 512 cannot be decoded: .*{reason}"
        ) as caught:
            decode(data, size=size, resizer=resizer)
        assert (caught.value.container, caught.value.key, caught.value.offset) == ("x.tar", "key", 512)


def test_a_header_that_claims_gigapixels_is_refused_before_anything_is_allocated() -> None:
    data = bytearray(encode(smooth(16, 16), "JPEG"))
    frame_at = data.index(b"\xff\xc0")
    data[frame_at + 5 : frame_at + 9] = b"\xff\xff\xff\xff"
    for resizer in RESIZERS:
        with pytest.raises(ExampleError, match=r"pixels"):
            decode(bytes(data), size=16, resizer=resizer)


def test_the_limit_on_pixels_holds_for_every_way_of_decoding() -> None:
    pictures = [encode(smooth(16, 16), name) for name in ("JPEG", "PNG")]
    for data in pictures:
        for resizer in RESIZERS:
            with pytest.raises(ExampleError, match=r"16 × 16 pixels are more than the 255 allowed; .* max_pixels"):
                decode(data, size=16, resizer=resizer, max_pixels=255)
            assert decode(data, size=16, resizer=resizer, max_pixels=256).shape == (16, 16, 3)
            with pytest.raises(ExampleError, match=r"16 × 16 pixels .*are more than the"):
                decode(data, size=None, resizer=resizer, max_pixels=255)
            assert decode(data, size=None, resizer=resizer, max_pixels=512).shape == (16, 16, 3)


def test_the_header_reader_agrees_with_pillow_and_survives_every_cut_and_flip() -> None:
    rng = np.random.default_rng(0)
    data = encode(smooth(37, 61), "JPEG", exif=with_orientation(6), comment=b"hello")
    header = read_jpeg_header(data)
    assert header is not None
    assert (header.height, header.width, header.components, header.orientation) == (37, 61, 3, 6)
    scan = data.index(b"\xff\xda")
    for cut in range(scan):
        assert read_jpeg_header(data[:cut]) is None
    for _ in range(5_000):
        damaged = bytearray(data[: scan + 10])
        for place in rng.integers(0, scan, 3):
            damaged[place] = rng.integers(0, 256)
        read_jpeg_header(bytes(damaged))


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it forgives
def test_damaged_jpegs_get_the_same_verdict_from_every_resizer_and_never_a_traceback() -> None:
    rng = np.random.default_rng(1)
    whole = encode(smooth(70, 90), "JPEG", quality=80, exif=with_orientation(6))
    verdicts = []
    for number in range(250):
        data = bytearray(whole)
        for place in rng.integers(0, len(data) if number % 2 else 700, rng.integers(1, 4)):
            data[place] = rng.integers(0, 256)
        data = data[: rng.integers(1, len(data))] if number % 5 == 0 else data
        verdict = {_is_decoded(bytes(data), resizer) for resizer in RESIZERS}
        assert len(verdict) == 1, f"damaged file {number}: decoded by some resizers only"
        verdicts += verdict
    assert 40 < sum(verdicts) < 230


def _is_decoded(data: bytes, resizer: Any) -> bool:
    try:
        decode(data, size=24, resizer=resizer)
    except ExampleError:
        return False
    return True
