"""A folder of procedural scenes, to try everything out on."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from PIL import Image

from ..errors import ShardingError
from .sample_files import clear_samples
from .scene_drawing import draw_scene, scene_of
from .scene_record import scene_record

__all__ = ["make_sample_data"]

OWN_FILE = re.compile(r"scene-(\d{6})\.(jpg|json)")
QUALITY = 92


def make_sample_data(
    out: str | os.PathLike[str] = "data/image",
    *,
    num: int = 600,
    size: int = 128,
    seed: int = 0,
    force: bool = False,
) -> int:
    """Write scenes as `scene-000000.jpg` of `size` × `size` pixels, each with its factors beside it as JSON.

    The JSON also has the shape's box and mask, and a caption, as COCO writes them: see `scene_record`. The same
    arguments give the same files. Files of an earlier call are replaced.
    Returns `num`. Raises `ShardingError` for a folder with files it did not make, or samples beyond `num`, unless
    `force` adds to the former and removes the latter, and for one that cannot be written; `ValueError` for numbers that
    make no sense.
    """
    if not 1 <= num <= 1_000_000 or not 8 <= size <= 4096:
        raise ValueError(f"num is {num} and size {size}; they must lie in 1 to 1,000,000 and 8 to 4096 pixels.")
    folder = Path(out)
    try:
        clear_samples(folder, OWN_FILE, num, force=force)
        for index in range(num):
            scene = scene_of(seed, index)
            stem = folder / f"scene-{index:06d}"
            described = {**scene.describe(), **scene_record(scene, index, size, f"{stem.name}.jpg")}
            stem.with_suffix(".json").write_text(json.dumps(described) + "\n", encoding="utf-8")
            Image.fromarray(draw_scene(scene, size)).save(stem.with_suffix(".jpg"), quality=QUALITY)
    except OSError as error:
        raise ShardingError(f"{folder}: cannot be written to ({error.strerror}). Name another one.") from error
    return num
