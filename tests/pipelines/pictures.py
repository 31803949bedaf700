"""Pictures made by Pillow, decoded by this library and by Pillow alone."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipelines import Example
from pipelines.decode import ImageDecoder
from pipelines.order.randomness import Place

PLACE = Place(0, 0, 0)
RESIZERS = ["exact", "pillow", "simd", "torch"]
FAST = ["pillow", "simd", "torch"]
Pixels = NDArray[np.uint8]


def smooth(height: int, width: int, seed: int = 0) -> Image.Image:
    """Broad colour waves: what a photograph is to a resizer, without its noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [128 + 60 * np.sin(rng.uniform(3, 9) * x + rng.uniform(3, 9) * y + rng.uniform(0, 6)) for _ in range(3)]
    return Image.fromarray(np.clip(np.stack(waves, axis=-1), 0, 255).astype(np.uint8))


def encode(picture: Image.Image, name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, name, **options)
    return file.getvalue()


def with_orientation(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def decode(data: bytes, *, place: Place = PLACE, **settings: Any) -> Pixels:
    """(height, width, channel) of what the decoder makes of a file."""
    decoder, example = ImageDecoder(**settings), Example(0, "key", data, "x.tar", 512)
    slots = decoder.allocate(1)
    if slots is None:
        return decoder.decode(example, place)[0].transpose(1, 2, 0)
    slots[...] = 77
    decoder.decode_into(example, slots[0], place)
    return slots[0].transpose(1, 2, 0)


def by_pillow(data: bytes, size: tuple[int, int], box: tuple[int, int, int, int] | None = None) -> Pixels:
    """The reference: open → EXIF transpose → RGB → bilinear with the box; (height, width, 3)."""
    with Image.open(io.BytesIO(data)) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    height, width = size
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR, box=box))


def psnr(a: Pixels, b: Pixels) -> float:
    error = np.mean((a.astype(float) - b.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-3)))
