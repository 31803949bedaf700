"""What packing looks at in an image, and what it makes of one, against Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipelines.decode.errors import UndecodableError
from pipelines.sharding.modalities.image import prepare_image

HOSTILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "hostile" / "image"


def encoded(image: Image.Image, kind: str = "JPEG", **settings: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **settings)  # type: ignore[arg-type]
    return target.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(np.uint8)
    )


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sizes_are_those_of_the_upright_picture(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(gradient(40, 30), exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).size
    prepared = prepare_image(content, "jpg")
    assert (prepared.record.width, prepared.record.height) == expected
    assert (prepared.media, prepared.suffix, prepared.record.channels) == (content, "jpg", 3)


@pytest.mark.parametrize(
    ("mode", "kind", "channels"),
    [
        ("L", "JPEG", 1),
        ("1", "PNG", 1),
        ("I;16", "PNG", 1),
        ("P", "GIF", 3),
        ("RGBA", "PNG", 4),
        ("CMYK", "JPEG", 4),
    ],
)
def test_channels_follow_the_mode(mode: str, kind: str, channels: int) -> None:
    content = encoded(Image.new(mode, (8, 6)), kind)
    assert prepare_image(content, "x").record.channels == channels


def test_a_truncated_header_is_refused_and_a_truncated_body_only_when_decoded() -> None:
    content = encoded(gradient(256, 256))
    with pytest.raises(UndecodableError):
        prepare_image(content[:100], "jpg")
    assert prepare_image(content[: len(content) // 2], "jpg").record.width == 256
    with pytest.raises(UndecodableError, match="truncated"):
        prepare_image(content[: len(content) // 2], "jpg", decode=True)
    assert prepare_image(content, "jpg", decode=True).media == content


def test_a_header_that_claims_too_many_pixels_is_refused_unread() -> None:
    def chunk(name: bytes, payload: bytes) -> bytes:
        return struct.pack(">I", len(payload)) + name + payload + struct.pack(">I", zlib.crc32(name + payload))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"")
    with pytest.raises(UndecodableError, match="pixels"):
        prepare_image(content, "png")


def test_reasons_hold_no_addresses() -> None:
    for content in (b"", b"\xff\xd8\xff", b"GIF89a", b"II*\0\xff\xff\xff\xff", b"\x89PNG\r\n\x1a\n"):
        with pytest.raises(UndecodableError) as caught:
            prepare_image(content, "x")
        assert "0x" not in str(caught.value)
        assert str(caught.value)


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 480), (128, 96)), ((300, 900), (96, 288)), ((50, 40), (50, 40))]
)
def test_resize_sets_the_shorter_side_and_never_enlarges(size: tuple[int, int], expected: tuple[int, int]) -> None:
    prepared = prepare_image(encoded(gradient(*size)), "jpg", resize=96)
    with Image.open(io.BytesIO(prepared.media)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", expected)
    assert (prepared.record.width, prepared.record.height) == expected


def test_resized_pictures_are_upright_and_look_like_the_original() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    original = gradient(640, 480)
    prepared = prepare_image(encoded(original, quality=95, exif=exif), "jpg", resize=120, quality=95)
    with Image.open(io.BytesIO(prepared.media)) as image:
        assert not image.getexif()
        found = np.asarray(image, np.float64)
    expected = np.asarray(
        original.transpose(Image.Transpose.ROTATE_270).resize((120, 160), Image.Resampling.LANCZOS)
    )
    assert found.shape == expected.shape
    assert 10 * np.log10(255**2 / np.mean((found - expected) ** 2)) > 35


@pytest.mark.parametrize("mode", ["L", "I;16", "RGBA", "P", "1", "LA"])
def test_any_mode_becomes_an_rgb_jpeg(mode: str) -> None:
    prepared = prepare_image(encoded(Image.new(mode, (30, 20)), "PNG"), "png", resize=10)
    assert prepared.suffix == "jpg"
    with Image.open(io.BytesIO(prepared.media)) as image:
        assert (image.mode, image.size) == ("RGB", (15, 10))


def test_quality_decides_the_size() -> None:
    content = encoded(gradient(200, 200), quality=95)
    low, high = (len(prepare_image(content, "jpg", resize=100, quality=quality).media) for quality in (30, 95))
    assert low * 1.5 < high


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="needs the shared hostile images")
@pytest.mark.parametrize("name", ["decompression_bomb.gif", "png_decompression_dos.png"])
def test_known_bombs_are_refused(name: str) -> None:
    with pytest.raises(UndecodableError):
        prepare_image((HOSTILE / name).read_bytes(), "x")
