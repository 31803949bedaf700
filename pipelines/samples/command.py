"""python tools/make_sample_data.py: samples to try everything out on, pictures or sounds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..errors import ShardingError
from .scenes import make_sample_data
from .sounds import make_sample_sounds

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Make the samples, and say so: 0 done, 2 not."""
    options = _parser().parse_args(argv)
    kind, out = options.kind, options.out or f"data/{options.kind}"
    given = {name: getattr(options, name) for name in ("num", "size") if getattr(options, name) is not None}
    try:
        if kind == "image":
            made = make_sample_data(out, seed=options.seed, force=options.force, **given)
            size = given.get("size", 128)
            said = f"{made:,} scenes of {size} × {size} pixels, each with its factors."
        else:
            if "size" in given:
                raise ValueError(f"size is {given['size']}, and a sound has none. Leave it out.")
            made = make_sample_sounds(out, seed=options.seed, force=options.force, **given)
            said = f"{made:,} sounds of 2 to 4 seconds, each with its pitch, loudness and factors."
    except (ShardingError, ValueError) as error:
        print(f"make_sample_data: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("make_sample_data: Interrupted. The same command makes them all.", file=sys.stderr)
        return 130
    print(f"{out}: {said}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make_sample_data",
        description="Make pictures of procedural scenes, or sounds of synthetic instruments, and what made them.",
    )
    add = parser.add_argument
    add("kind", nargs="?", choices=("image", "audio"), default="image", help="what to make (default: image)")
    add("--out", help="folder (default: data/image or data/audio)")
    add("--num", type=int, help="how many (default: 600 pictures, 60 sounds)")
    add("--size", type=int, help="width and height of the pictures in pixels (default: 128)")
    add("--seed", type=int, default=0, help="another seed, other samples (default: 0)")
    add("--force", action="store_true", help="also into a folder that holds other files")
    return parser
