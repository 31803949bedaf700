"""python tools/make_sample_data.py: samples to try everything out on, of each modality that has some."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from ..errors import ShardingError
from ..modality import Modality, find_modality, modalities
from ..terminal import escape_unencodable, print_or_end

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Make the samples, and report it: 0 done, 2 not, 141 if not read."""
    escape_unencodable()
    options = _parser().parse_args(argv)
    modality = find_modality(options.modality)
    out = options.out or f"data/{modality.name}"
    given = {name: getattr(options, name) for name in ("num", "size") if getattr(options, name) is not None}
    try:
        if "size" in given and not _has_size(modality):
            raise ValueError(f"size is {given['size']}, and {modality.with_article} has none. Leave it out.")
        make: Callable[..., int] = modality.part("make_samples")
        made = make(out, seed=options.seed, force=options.force, **given)
    except (ShardingError, ValueError) as error:
        print(f"make_sample_data: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("make_sample_data: Interrupted. The same command makes them all.", file=sys.stderr)
        return 130
    size = given.get("size", _default(modality, "size"))
    shape = f" of {size} × {size} pixels" if _has_size(modality) else ""
    kind = modality.noun if made == 1 else modality.plural
    return print_or_end(f"{out}: {made:,} {kind}{shape}, each with its factors beside it.")


def _parser() -> argparse.ArgumentParser:
    found = [modality for modality in modalities() if modality.make_samples is not None]
    names = [modality.name for modality in found]
    nums = ", ".join(f"{_default(modality, 'num')} {modality.plural}" for modality in found)
    sizes = ", ".join(
        f"{_default(modality, 'size')} for {modality.plural}" for modality in found if _has_size(modality)
    )
    parser = argparse.ArgumentParser(
        prog="make_sample_data",
        description="Make pictures of procedural scenes, sounds of six synthetic instruments or short clips of "
        "moving shapes, and beside each what it is made from.",
    )
    add = parser.add_argument
    add("modality", nargs="?", choices=names, default=names[0], help=f"what to make (default: {names[0]})")
    add("--out", help="folder (default: data/ and the modality)")
    add("--num", type=int, help=f"how many (default: {nums})")
    add("--size", type=int, help=f"width and height in pixels (default: {sizes})")
    add("--seed", type=int, default=0, help="another seed, other samples (default: 0)")
    add(
        "--force",
        action="store_true",
        help="also into a folder with other files, or more samples: those are removed",
    )
    return parser


def _has_size(modality: Modality) -> bool:
    return "size" in modality.sample_defaults


def _default(modality: Modality, name: str) -> object:
    return modality.sample_defaults.get(name)
