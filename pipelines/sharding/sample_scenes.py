"""python tools/make_sample_data.py: a folder of procedural scenes, to try everything out on."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..errors import ShardingError
from .scene_drawing import draw_scene, scene_of

__all__ = ["main", "make_sample_data"]

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

    The same arguments give the same files. Files of an earlier call are replaced, those beyond `num` removed.
    Returns `num`. Raises `ShardingError` for a folder with files it did not make, unless `force` adds to them, or
    that cannot be written; `ValueError` for numbers that make no sense.
    """
    if not 1 <= num <= 1_000_000 or not 8 <= size <= 4096:
        raise ValueError(f"num is {num} and size {size}; they must lie in 1 to 1,000,000 and 8 to 4096 pixels.")
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder, num, force=force)
        for index in range(num):
            scene = scene_of(seed, index)
            stem = folder / f"scene-{index:06d}"
            stem.with_suffix(".json").write_text(json.dumps(scene.describe()) + "\n", encoding="utf-8")
            Image.fromarray(draw_scene(scene, size)).save(stem.with_suffix(".jpg"), quality=QUALITY)
    except OSError as error:
        raise ShardingError(f"{folder}: cannot be written to ({error.strerror}). Name another one.") from error
    return num


def _clear(folder: Path, num: int, *, force: bool) -> None:
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    foreign = [path for path in visible if not OWN_FILE.fullmatch(path.name)]
    if foreign and not force:
        raise ShardingError(
            f"{folder}: holds {foreign[0].name}, which is no sample. Name another folder with --out, or add the "
            "samples to what is there with --force."
        )
    for path in visible:
        if (own := OWN_FILE.fullmatch(path.name)) and int(own[1]) >= num:
            path.unlink()


def main(argv: Sequence[str] | None = None) -> int:
    """Make the samples, and say so: 0 done, 2 not."""
    parser = argparse.ArgumentParser(
        prog="make_sample_data",
        description="Make pictures of procedural scenes, each with the factors it was drawn from as JSON.",
    )
    parser.add_argument("--out", default="data/image", help="folder (default: data/image)")
    parser.add_argument("--num", type=int, default=600, help="how many (default: 600)")
    parser.add_argument("--size", type=int, default=128, help="width and height in pixels (default: 128)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other scenes (default: 0)")
    parser.add_argument("--force", action="store_true", help="also into a folder that holds other files")
    options = parser.parse_args(argv)
    try:
        made = make_sample_data(**vars(options))
    except (ShardingError, ValueError) as error:
        print(f"make_sample_data: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("make_sample_data: Interrupted. The same command makes them all.", file=sys.stderr)
        return 130
    print(f"{options.out}: {made:,} scenes of {options.size} × {options.size} pixels, each with its factors.")
    return 0
