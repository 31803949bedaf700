"""Pictures of every format, their headers above all: by iterators, and by packing."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, features

from pipelines import make_shards

from .damage import Damage, mend_png
from .play import png, see
from .target import Target

__all__ = ["TARGETS"]

FORMATS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "png": ("png", [{}, {"mode": "P"}, {"mode": "I;16"}, {"mode": "LA"}, {"mode": "1"}]),
    "jpeg": ("jpg", [{"quality": 80}, {"mode": "L"}, {"mode": "CMYK"}, {"progressive": True}, {"subsampling": 2}]),
    "webp": ("webp", [{}, {"lossless": True}, {"mode": "RGBA"}]),
    "gif": ("gif", [{"mode": "P"}, {"mode": "P", "save_all": True, "frames": 3}]),
    "bmp": ("bmp", [{}, {"mode": "P"}, {"mode": "1"}]),
    "tiff": ("tif", [{}, {"compression": "tiff_lzw"}, {"mode": "I;16"}, {"compression": "jpeg"}, {"mode": "1"}]),
    "ppm": ("ppm", [{}, {"mode": "L"}]),
    "jpeg2000": ("jp2", [{}, {"mode": "L"}]),
    "avif": ("avif", [{}]),
}


def encoded(name: str, *, mode: str = "RGB", frames: int = 1, **settings: Any) -> bytes:
    values = np.random.default_rng(len(name)).integers(0, 256, (24, 31, 3), dtype=np.uint8)
    values[8:16] = 90
    picture = Image.fromarray(values)
    picture = Image.fromarray(values[..., 0].astype(np.uint16) * 200) if mode == "I;16" else picture.convert(mode)
    if frames > 1:
        settings["append_images"] = [picture.rotate(90 * number, expand=True) for number in range(1, frames)]
    file = io.BytesIO()
    picture.save(file, name, **settings)
    return file.getvalue()


def prepare(folder: Path, *, name: str) -> list[bytes]:
    return [encoded(name, **settings) for settings in FORMATS[name][1]]


def damaged(files: list[bytes], damage: Damage, folder: Path, name: str) -> Path:
    """A folder of a sound picture and a damaged one."""
    mend = mend_png if name == "png" else None
    content = damage.bytes(damage.one_of(files), head=damage.one_of((64, 200, None)), others=files, mend=mend)
    return written(folder, f"a.{FORMATS[name][0]}", content)


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / "source").mkdir()
    (folder / "source" / name).write_bytes(content)
    (folder / "source" / "b.png").write_bytes(png(1))
    return folder / "source"


def play(files: list[bytes], damage: Damage, folder: Path, *, name: str) -> None:
    source = damaged(files, damage, folder, name)
    settings: dict[str, Any] = damage.one_of(
        ({}, {"resizer": "exact"}, {"size": None, "batch_size": 1}, {"on_error": "substitute", "crop": "random"})
    )
    see(source, **settings)


def pack(files: list[bytes], damage: Damage, folder: Path, *, name: str) -> None:
    source = damaged(files, damage, folder, name)
    settings: dict[str, Any] = damage.one_of(({}, {"decode": True}, {"resize": 8}))
    make_shards(source, folder / "out", workers=0, **settings)
    see(folder / "out")


def with_exif(folder: Path) -> list[bytes]:
    """The exif data alone: orientation, a text and a folder of its own."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "text " * 5
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    return [exif.tobytes()]


def play_exif(files: list[bytes], damage: Damage, folder: Path) -> None:
    exif = damage.bytes(files[0])[:60_000]
    name, suffix = damage.one_of((("jpeg", "jpg"), ("png", "png"), ("webp", "webp")))
    see(written(folder, f"a.{suffix}", encoded(name, exif=exif)), batch_size=1)


NAMES = [name for name in FORMATS if name not in ("avif",) or features.check("avif")]
TARGETS = (
    *(Target(f"pictures {name}", partial(prepare, name=name), partial(play, name=name)) for name in NAMES),
    *(Target(f"pictures packing-{name}", partial(prepare, name=name), partial(pack, name=name)) for name in NAMES),
    Target("pictures exif", with_exif, play_exif),
)
