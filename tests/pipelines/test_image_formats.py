"""Every format, mode and orientation comes out as the same upright RGB that Pillow makes of it."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipelines import ExampleError
from pipelines.decode.geometry import frame

from .pictures import RESIZERS, by_pillow, decode, encode, psnr, smooth, with_orientation


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_orientation_comes_out_upright(name: str, orientation: int, resizer: Any) -> None:
    upright = smooth(48, 72)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpositions that undo each orientation
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(back[orientation]))
    options: dict[str, Any] = {"quality": 98} if name in ("JPEG", "WEBP") else {}
    if name == "TIFF":
        options["tiffinfo"] = {0x0112: orientation}
    else:
        options["exif"] = with_orientation(orientation)
    data = encode(stored, name, **options)
    assert psnr(by_pillow(data, (48, 72)), np.asarray(upright)) > 35, "the reference itself is upright"
    assert psnr(decode(data, size=(48, 72), resizer=resizer), by_pillow(data, (48, 72))) > 45
    assert psnr(decode(data, size=(12, 18), resizer=resizer), by_pillow(data, (12, 18))) > 38
    assert np.array_equal(decode(data, size=None), by_pillow(data, (48, 72)))


@pytest.mark.filterwarnings("ignore")  # Pillow warns of what it forgives
@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize(
    "kind", ["xmp", "two blocks", "after the frame", "long", "two values", "outside", "truncated", "none"]
)
def test_odd_ways_of_saying_the_orientation_are_read_as_pillow_reads_them(kind: str, resizer: Any) -> None:
    plain = encode(smooth(40, 64), "JPEG", quality=95)
    exif = with_orientation(6)
    tiff = exif[6:]
    entry = tiff.index(b"\x12\x01" if tiff[:2] == b"II" else b"\x01\x12")
    order: Any = "little" if tiff[:2] == b"II" else "big"

    def changed(offset: int, value: int, size: int) -> bytes:
        place = 6 + entry + offset
        return exif[:place] + value.to_bytes(size, order) + exif[place + size :]

    def segment(body: bytes) -> bytes:
        return b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body

    xmp = b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="6"/>'
    inserted = {
        "xmp": segment(xmp),
        "two blocks": segment(exif) + segment(with_orientation(3)),
        "long": segment(
            exif[: 6 + entry + 2] + (4).to_bytes(2, order) + (1).to_bytes(4, order) + (6).to_bytes(4, order)
        ),
        "two values": segment(changed(4, 2, 4)),
        "outside": segment(changed(8, 9, 2)),
        "truncated": segment(exif[: 6 + entry + 6]),
        "none": segment(changed(0, 0x0111, 2)),
        "after the frame": b"",
    }[kind]
    data = plain[:2] + inserted + plain[2:]
    if kind == "after the frame":
        scan = plain.index(b"\xff\xda")
        data = plain[:scan] + segment(exif) + plain[scan:]
    with Image.open(io.BytesIO(data)) as opened:
        reference = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert psnr(decode(data, size=reference.shape[:2], resizer=resizer), reference) > 45


def cmyk() -> Image.Image:
    return smooth(40, 60).convert("CMYK")


def palette(**options: Any) -> bytes:
    return encode(smooth(40, 60).quantize(32), "PNG", **options)


MODES = {
    "gray JPEG": lambda: encode(smooth(40, 60).convert("L"), "JPEG", quality=95),
    "gray PNG": lambda: encode(smooth(40, 60).convert("L"), "PNG"),
    "CMYK JPEG": lambda: encode(cmyk(), "JPEG", quality=95),
    "CMYK TIFF": lambda: encode(cmyk(), "TIFF"),
    "YCCK JPEG": lambda: encode(cmyk(), "JPEG", quality=95, adobe_transform=2),
    "RGB JPEG without YCbCr": lambda: encode(smooth(40, 60), "JPEG", quality=95, keep_rgb=True),
    "progressive": lambda: encode(smooth(40, 60), "JPEG", quality=95, progressive=True),
    "no subsampling": lambda: encode(smooth(40, 60), "JPEG", quality=95, subsampling=0),
    "restart markers": lambda: encode(smooth(40, 60), "JPEG", quality=95, restart_marker_rows=1),
    "palette": palette,
    "palette with one transparent colour": lambda: palette(transparency=3),
    "palette with many": lambda: palette(transparency=bytes(range(0, 256, 8))),
    "palette GIF": lambda: encode(smooth(40, 60).quantize(32), "GIF"),
    "alpha": lambda: encode(_with_alpha("RGBA"), "PNG"),
    "alpha WebP": lambda: encode(_with_alpha("RGBA"), "WEBP", lossless=True, exact=True),
    "gray with alpha": lambda: encode(_with_alpha("LA"), "PNG"),
    "one bit": lambda: encode(smooth(40, 60).convert("1"), "PNG"),
    "one bit TIFF": lambda: encode(smooth(40, 60).convert("1"), "TIFF", compression="group4"),
    "BMP": lambda: encode(smooth(40, 60), "BMP"),
    "PPM": lambda: encode(smooth(40, 60), "PPM"),
    "transparent RGB": lambda: encode(smooth(40, 60), "PNG", transparency=(1, 2, 3)),
    "transparent gray": lambda: encode(smooth(40, 60).convert("L"), "PNG", transparency=7),
    "JPEG 2000": lambda: encode(smooth(40, 60), "JPEG2000"),
}


def _with_alpha(mode: str) -> Image.Image:
    picture = smooth(40, 60).convert(mode)
    picture.putalpha(Image.fromarray(np.tile(np.arange(60, dtype=np.uint8) * 4, (40, 1))))
    return picture


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # Pillow's, in the reference
@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_comes_out_as_the_rgb_that_pillow_makes_of_it(mode: str, resizer: Any) -> None:
    data = MODES[mode]()
    if mode == "alpha":  # dropped, not blended: the colours below transparent pixels are what was stored
        assert np.array_equal(
            decode(data, size=(40, 60), resizer=resizer), np.asarray(_with_alpha("RGBA"))[:, :, :3]
        )
    whole = decode(data, size=(40, 60), resizer=resizer)
    assert psnr(whole, by_pillow(data, (40, 60))) > 45
    box = frame((40, 60), (16, 16), fit="crop", crop="center", flip=False, words=[0, 0, 0]).box
    small = decode(data, size=16, resizer=resizer)
    limit = 26 if "one bit" in mode else 38
    assert psnr(small, by_pillow(data, (16, 16), box)) > limit


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("name", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_and_not_clipped(name: str, resizer: Any) -> None:
    values = np.linspace(0, 65_535, 40 * 60).round().astype(np.uint16).reshape(40, 60)
    data = encode(Image.fromarray(values), name)
    expected = np.round(values / 65_535 * 255)
    found = decode(data, size=(40, 60), resizer=resizer)
    assert np.abs(found - expected[:, :, None]).max() <= 1
    assert np.abs(decode(data, size=(40, 60), resizer=resizer, grayscale=True) - expected[:, :, None]).max() <= 1


def test_sixteen_bit_colour_is_scaled() -> None:
    """A 16-bit RGB PNG, written out by hand: Pillow cannot make one."""
    values = np.linspace(0, 65_535, 8 * 8 * 3).round().astype(">u2").reshape(8, 24)
    rows = b"".join(b"\0" + row.tobytes() for row in values)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert np.abs(decode(data, size=8) - values.reshape(8, 8, 3).astype(float) / 257).max() <= 1


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_grayscale_is_pillows_luma_in_one_channel(name: str, resizer: Any) -> None:
    data = encode(smooth(41, 63), name, **({"quality": 95} if name == "JPEG" else {}))
    with Image.open(io.BytesIO(data)) as opened:
        gray = opened.convert("L")
    whole = decode(data, size=(41, 63), resizer=resizer, grayscale=True)
    assert whole.shape == (41, 63, 1)
    assert psnr(whole[:, :, 0], np.asarray(gray)) > 45
    small = decode(data, size=(20, 31), fit="stretch", resizer=resizer, grayscale=True)
    box = frame((41, 63), (20, 31), fit="stretch", crop="center", flip=False, words=[0, 0, 0]).box
    assert psnr(small[:, :, 0], np.asarray(gray.resize((31, 20), Image.Resampling.BILINEAR, box=box))) > 42


def tiff(values: Any, bits: int, packed: bytes, sample_format: int = 1) -> bytes:
    """A gray TIFF of one strip, by the specification (TIFF 6.0)."""
    height, width = values.shape
    entries = [(256, width), (257, height), (258, bits), (259, 1), (262, 1), (273, 8), (277, 1), (278, height)]
    entries += [(279, len(packed)), (339, sample_format)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in entries)
    pad = b"\0" * (len(packed) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(packed + pad)) + packed + pad + directory + bytes(4)


def test_twelve_bits_are_scaled_over_twelve_bits() -> None:
    ramp = np.arange(0, 4096, 13)[None, : 4096 // 13 // 2 * 2]
    bits = "".join(f"{value:012b}" for value in ramp.ravel())
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big")
    exact = np.round(ramp * (255 / 4095)).astype(np.uint8)
    assert np.array_equal(decode(tiff(ramp, 12, packed), size=None)[..., 0], exact)


@pytest.mark.parametrize(("dtype", "sample_format"), [("<u2", 1), ("<i2", 2)])
def test_sixteen_bits_are_scaled_over_the_range_of_their_type(dtype: str, sample_format: int) -> None:
    limits = np.iinfo(dtype)
    ramp = np.linspace(limits.min, limits.max, 300).round().astype(dtype)[None]
    exact = np.round((ramp.astype(float) - limits.min) * (255 / 65535)).astype(np.uint8)
    assert np.array_equal(decode(tiff(ramp, 16, ramp.tobytes(), sample_format), size=None)[..., 0], exact)


@pytest.mark.parametrize("dtype", ["<u4", "<i4"])
def test_thirty_two_bits_are_refused_as_floats_are(dtype: str) -> None:
    wide = np.array([[0, 1 << 16, 1 << 24]], dtype)
    with pytest.raises(ExampleError, match=r"no agreed range|not an image"):
        decode(tiff(wide, 32, wide.tobytes(), 1 if dtype == "<u4" else 2), size=None)


def test_a_picture_that_is_a_program_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("gs", "gswin64c"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho ran > {tmp_path}/ran\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n(hello) = showpage\n%%EOF\n"
    with pytest.raises(ExampleError, match="not an image: it does not begin like one"):
        decode(script, size=None)
    assert not (tmp_path / "ran").exists()
    with Image.open(io.BytesIO(script)) as opened:
        assert opened.format == "EPS", "the witness would open it"
