"""Pictures that are plain and pictures that are unusual in some way, each by a name, and how Pillow sees them."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipelines import ExampleError
from pipelines.decode.image import codecs
from pipelines.decode.scratch import Scratch

from .containers import (
    insert_chunk,
    png_chunk,
    png_of_rows,
    png_of_stream,
    see_through,
    stream_of_png,
    webp_canvas,
    webp_chunk,
    webp_file,
    webp_of_one_moving_frame,
)
from .pictures import Pixels, decode, encode, smooth, with_orientation

needs_codecs = pytest.mark.skipif(importlib.util.find_spec("imagecodecs") is None, reason="no imagecodecs here")
HEIGHT, WIDTH = 40, 60


def text_info(**texts: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    return info


def png(mode: str = "RGB", **options: Any) -> bytes:
    picture = see_through(HEIGHT, WIDTH) if mode.endswith("A") else smooth(HEIGHT, WIDTH)
    return encode(picture.convert(mode), "PNG", **options)


def webp(**options: Any) -> bytes:
    return encode(smooth(HEIGHT, WIDTH), "WEBP", **options)


def vp8(data: bytes) -> bytes:
    """The chunk of pixels of a simple WebP."""
    return data[12:]


PLAIN: dict[str, Callable[[], bytes]] = {
    "gray PNG": lambda: png("L"),
    "PNG": png,
    "PNG with alpha": lambda: png("RGBA"),
    "PNG, not compressed": lambda: png(compress_level=0),
    "PNG with remarks": lambda: png(pnginfo=text_info(Software="a program", Title="waves"), dpi=(72, 72)),
    "PNG with a profile": lambda: png(icc_profile=b"no profile at all" * 9),
    "PNG with a gamma": lambda: insert_chunk(png(), png_chunk(b"gAMA", (10_000).to_bytes(4, "big"))),
    "PNG with a palette to suggest": lambda: insert_chunk(png(), png_chunk(b"PLTE", bytes(range(9)))),
    "PNG with a private chunk": lambda: insert_chunk(png(), png_chunk(b"prVt", b"?" * 50)),
    "PNG with the time at its end": lambda: insert_chunk(
        insert_chunk(png(), png_chunk(b"tIME", b"\x07\xe8" + bytes([1, 2, 3, 4, 5])), after_pixels=True),
        png_chunk(b"tEXt", b"date:create\x002024-01-02T03:04:05"),
        after_pixels=True,
    ),
    "PNG in many chunks": lambda: png_of_stream(stream_of_png(png()), png(), [0, 1, 7, 7, 90, 400]),
    "WebP": lambda: webp(quality=80),
    "lossless WebP": lambda: webp(lossless=True),
    "WebP with alpha": lambda: encode(see_through(HEIGHT, WIDTH), "WEBP", quality=80),
    "lossless WebP with alpha": lambda: encode(see_through(HEIGHT, WIDTH), "WEBP", lossless=True, exact=True),
    "WebP with a profile": lambda: webp(icc_profile=b"a profile"),
    "WebP that says it is upright": lambda: webp(exif=with_orientation(1)),
    "WebP that says so as a JPEG would": lambda: webp_file(
        webp_canvas(0x08, WIDTH, HEIGHT), vp8(webp()), webp_chunk(b"EXIF", with_orientation(1))
    ),
    "WebP with XMP of something else": lambda: webp(xmp=b"<x:xmpmeta/>"),
}
UNUSUAL: dict[str, Callable[[], bytes]] = {
    "gray with alpha": lambda: png("LA"),
    "palette": lambda: encode(smooth(HEIGHT, WIDTH).convert("P"), "PNG"),
    "one bit": lambda: encode(smooth(HEIGHT, WIDTH).convert("1"), "PNG"),
    "16 bits": lambda: encode(Image.fromarray(np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27), "PNG"),
    "16 bit colour": lambda: png_of_rows(8, 2, 16, bytes(range(8)) * 6 * 8),
    "four bit gray": lambda: png_of_rows(8, 0, 4, bytes(range(8)) * 4),
    "interlaced": lambda: png_of_rows(1, 2, 8, b"abc", interlaced=True),
    "transparent colour": lambda: png(transparency=(1, 2, 3)),
    "animated PNG": lambda: png(save_all=True, append_images=[smooth(HEIGHT, WIDTH, 1)]),
    "animated PNG of one frame": lambda: insert_chunk(png(), png_chunk(b"acTL", bytes([0, 0, 0, 1, 0, 0, 0, 0]))),
    "PNG with a box": lambda: png(pnginfo=text_info(bbox="nonsense")),
    "turned PNG": lambda: png(exif=with_orientation(6)),
    "PNG turned after its pixels": lambda: insert_chunk(
        png(), png_chunk(b"eXIf", with_orientation(6)[6:]), after_pixels=True
    ),
    "PNG turned by a text": lambda: png(
        pnginfo=text_info(**{"Raw profile type exif": "\nexif\n88\n" + with_orientation(6).hex()})
    ),
    "PNG turned by a text after its pixels": lambda: insert_chunk(
        png(),
        png_chunk(b"tEXt", b"Raw profile type exif\0\nexif\n88\n" + with_orientation(6).hex().encode()),
        after_pixels=True,
    ),
    "PNG turned by XMP": lambda: insert_chunk(
        png(), png_chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation="6"/>')
    ),
    "PNG with two headers": lambda: insert_chunk(png(), png()[8:33]),
    "turned WebP": lambda: webp(exif=with_orientation(6)),
    "WebP turned by bare EXIF": lambda: webp_file(
        webp_canvas(0x08, WIDTH, HEIGHT), vp8(webp()), webp_chunk(b"EXIF", with_orientation(6)[6:])
    ),
    "WebP with EXIF that no flag announces": lambda: webp_file(
        webp_canvas(0, WIDTH, HEIGHT), vp8(webp()), webp_chunk(b"EXIF", with_orientation(6))
    ),
    "WebP with two EXIF blocks": lambda: webp_file(
        webp_canvas(0x08, WIDTH, HEIGHT),
        vp8(webp()),
        webp_chunk(b"EXIF", with_orientation(6)),
        webp_chunk(b"EXIF", with_orientation(1)),
    ),
    "WebP turned by XMP": lambda: webp(xmp=b'<x tiff:Orientation="6"/>'),
    "WebP with broken EXIF": lambda: webp(exif=with_orientation(6)[:20]),
    "animated WebP": lambda: webp(save_all=True, append_images=[smooth(HEIGHT, WIDTH, 1)]),
    "animated WebP of one frame": webp_of_one_moving_frame,
    "JPEG": lambda: encode(smooth(HEIGHT, WIDTH), "JPEG"),
}


def stored_pixels(data: bytes) -> Pixels:
    """Pillow's pixels, (height, width, channel)."""
    with Image.open(io.BytesIO(data)) as opened:
        pixels = np.asarray(opened)
    return pixels.reshape(*pixels.shape[:2], -1)


def decode_plain(data: bytes, scratch: Scratch) -> Pixels | None:
    """What imagecodecs makes of a file; None where Pillow is to be asked."""
    plain = codecs.find_plain(data)
    return None if plain is None else codecs.decode_plain(plain, scratch)


def verdict(data: bytes, resizer: Any, size: Any = 24) -> Pixels | str:
    """The pixels, or the reason for which there are none."""
    try:
        return decode(data, size=size, resizer=resizer)
    except ExampleError as error:
        return error.reason
