"""What is said of a plain JPEG is what Pillow says of it; of any other nothing is said."""

from __future__ import annotations

import io
import random
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.decode.errors import UndecodableError
from pipelines.decode.image.pillow import open_image, orientation_of
from pipelines.decode.image.plain_jpeg import read_plain_jpeg

PLAIN: dict[str, dict[str, Any]] = {
    "usual": {},
    "small tables": {"quality": 5},
    "optimised": {"optimize": True},
    "comment": {"comment": b"a remark"},
    "profile": {"icc_profile": bytes(3000)},
    "dots per inch": {"dpi": (300, 300)},
    "restarts": {"restart_marker_blocks": 2},
    "no subsampling": {"subsampling": 0},
}
EXIF = Image.Exif()
EXIF[0x0112] = 6
OTHERS: dict[str, dict[str, Any]] = {
    "progressive": {"progressive": True},
    "EXIF": {"exif": EXIF},
    "XMP": {"xmp": b"<x:xmpmeta tiff:Orientation='6'/>"},
}


def jpeg(mode: str = "RGB", size: tuple[int, int] = (37, 21), **settings: Any) -> bytes:
    target = io.BytesIO()
    pixels = np.random.Generator(np.random.Philox(1)).integers(0, 255, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(target, "JPEG", **settings)
    return target.getvalue()


@pytest.mark.parametrize("settings", PLAIN.values(), ids=list(PLAIN))
@pytest.mark.parametrize(("mode", "components"), [("RGB", 3), ("L", 1)])
def test_plain_ones_are_read(settings: dict[str, Any], mode: str, components: int) -> None:
    assert read_plain_jpeg(jpeg(mode, **settings)) == (37, 21, components)


@pytest.mark.parametrize("settings", OTHERS.values(), ids=list(OTHERS))
def test_of_others_nothing_is_said(settings: dict[str, Any]) -> None:
    assert read_plain_jpeg(jpeg(**settings)) is None
    assert read_plain_jpeg(jpeg("CMYK")) is None


@pytest.mark.parametrize("cut", [0, 2, 3, 4, 20, 100, 300, 600])
def test_of_what_ends_in_its_header_nothing_is_said(cut: int) -> None:
    assert read_plain_jpeg(jpeg()[:cut]) is None


def test_whatever_the_header_says_pillow_says_the_same_where_anything_is_said() -> None:
    draws, said = random.Random(5), 0
    files = [jpeg(mode, **settings) for settings in (*PLAIN.values(), *OTHERS.values()) for mode in ("RGB", "L")]
    for _ in range(2500):
        content = bytearray(draws.choice(files))
        header = content.index(b"\xff\xda") + 14
        for _ in range(draws.choice((1, 1, 2, 5))):
            place = draws.randrange(header)
            content[place] = draws.choice((0, 1, 2, 3, 8, 16, 0xC0, 0xC1, 0xE1, 0xEE, 0xFF, draws.randrange(256)))
        if draws.random() < 0.2:
            del content[draws.randrange(len(content)) :]
        found = read_plain_jpeg(bytes(content))
        if found is None:
            continue
        said += 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                picture = open_image(bytes(content), 1 << 40)
            except UndecodableError as error:
                raise AssertionError(f"Pillow refuses it: {error}; {bytes(content[:header])!r}") from error
        assert (*picture.size, {"RGB": 3, "L": 1}[picture.mode]) == found
        assert (picture.format, orientation_of(picture), "progressive" in picture.info) == ("JPEG", 1, False)
        assert "transparency" not in picture.info
    assert said > 400
