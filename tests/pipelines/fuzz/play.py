"""Little valid pictures, and reading what was damaged as a user would."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines import AudioIterator, DataIterator, ImageIterator, Source

__all__ = ["hear", "png", "read_all", "see", "some_of"]

BATCHES = 12


def png(number: int, height: int = 12, width: int = 16) -> bytes:
    """A little picture that differs from every other."""
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def some_of(iterator: DataIterator) -> None:
    """A few batches, and what the state is then."""
    for _ in itertools.islice(iterator, BATCHES):
        pass
    iterator.state_dict()
    iterator.close()


def see(place: Source | Path, **settings: Any) -> None:
    """A few batches of little pictures."""
    some_of(ImageIterator(place, **{"size": 8, "batch_size": 2, "threads": 1, "resizer": "pillow", **settings}))


def hear(place: Source | Path, **settings: Any) -> None:
    """A few windows of recordings."""
    some_of(AudioIterator(place, **{"window": 600, "batch_size": 2, "threads": 1, **settings}))


def read_all(source: Source) -> None:
    """The bytes and fields of the first examples, and all keys."""
    for index in range(min(len(source), 2 * BATCHES)):
        dict(source[index].fields)
    source.close()
