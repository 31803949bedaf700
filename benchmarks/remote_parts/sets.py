"""What is read: shards of photographs, or of drawn pictures with noise, and a set of very many small shards."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines import make_shards

__all__ = ["make_set", "make_small_shards"]

JPEGS = (".jpg", ".jpeg")
SHARD_BYTES = 8 << 20


def make_set(folder: Path, links: Path, shards: Path, num_bytes: int) -> None:
    """Shards of about so many bytes: of the JPEGs in `folder`, as often as it takes, or of drawn ones."""
    files = sorted(path.resolve() for path in folder.rglob("*") if path.suffix.lower() in JPEGS)
    links.mkdir(parents=True)
    if not files:
        files = _drawn(links.parent / "drawn", 200)
    total = number = 0
    while total < num_bytes:
        path = files[number % len(files)]
        (links / f"{number:06d}.jpg").symlink_to(path)
        total += path.stat().st_size
        number += 1
    make_shards(links, shards, shard_bytes=SHARD_BYTES, workers=2)


def make_small_shards(pictures: Path, shards: Path, num: int) -> None:
    """So many shards of one or two small pictures."""
    pictures.mkdir(parents=True)
    content = _encoded(np.zeros((16, 16, 3), np.uint8), quality=50)
    for number in range(2 * num):
        (pictures / f"{number:06d}.jpg").write_bytes(content)
    make_shards(pictures, shards, shard_bytes=2 * (512 + 1024) + 1024, workers=0)


def _drawn(folder: Path, num: int) -> list[Path]:
    """Pictures of 640 × 480 pixels with smooth colours and noise, of about 150 KB each."""
    folder.mkdir()
    rng, paths = np.random.default_rng(0), []
    for number in range(num):
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        smooth = np.asarray(small.resize((640, 480), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = (smooth + rng.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)
        paths.append(folder / f"{number:04d}.jpg")
        paths[-1].write_bytes(_encoded(noisy, quality=88))
    return paths


def _encoded(pixels: np.ndarray, *, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()
