"""Images per second, side by side: this library, its peers, and a bare loop, over the same photographs.

    python benchmarks/images.py [FOLDER] [--size 256] [--batch-size 64] [--workers 2] [--runs 7] [--only NAME …]

The photographs are listed as often as it takes for one epoch to hold at least `--images` of them; a run is one
epoch. Each loader is built once and warmed by one run that is not counted. Then all take turns: run 1 of each, then
run 2 of each, so that a machine that slows down slows all of them. Printed is the median over the runs, and ours as
a ratio to it. Loaders that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.loaders import OURS, Setup
from benchmarks.peers import AS_WRITTEN, WITH_OUR_DECODER
from pipelines import make_shards, open_source
from pipelines.samples import make_sample_data

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Contestant:
    """A loader under measurement: `epoch()` yields the number of pictures in each batch."""

    name: str
    epoch: Callable[[], Iterator[int]]
    speeds: list[float]


def main(argv: list[str] | None = None) -> int:
    """Measure and print the table."""
    options = _parse(argv)
    with tempfile.TemporaryDirectory() as scratch:
        shards = Path(scratch) / "shards"
        photographs = options.folder or _usual_photographs(Path(scratch) / "samples")
        folder = _listed_often(photographs, Path(scratch) / "photographs", options.images)
        make_shards(folder, shards, shard_bytes=32 << 20, resize=options.resize)
        if options.resize:
            folder = _unpacked(shards, Path(scratch) / "small")
        setup = Setup(
            folder=folder,
            shards=shards,
            size=options.size,
            batch_size=options.batch_size,
            workers=options.workers,
        )
        contestants, missing = _line_up(setup, options.only)
        if not contestants:
            names = ", ".join({**OURS, **AS_WRITTEN, **WITH_OUR_DECODER})
            raise SystemExit(f"--only {' '.join(options.only or ())}: nothing to measure. Name some of {names}.")
        num = len(open_source(shards))
        print(f"{num} pictures, {options.size}×{options.size}, batches of {options.batch_size}, "
              f"{options.workers} threads or workers each, {options.runs} interleaved runs, "
              f"{os.cpu_count()} cores")  # fmt: skip
        for contestant in contestants:
            _run(contestant)
            contestant.speeds.clear()
        for _ in range(options.runs):
            for contestant in contestants:
                _run(contestant)
        _print_table(contestants)
        for name, reason in missing.items():
            print(f"left out: {name} ({reason})")
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Images per second, side by side.")
    parser.add_argument("folder", nargs="?", type=Path, help="photographs (default: data/image)")
    parser.add_argument("--size", type=int, default=256, help="height and width of the output in pixels")
    parser.add_argument("--batch-size", type=int, default=64, help="pictures in a batch")
    parser.add_argument("--workers", type=int, default=2, help="threads (ours) or worker processes (theirs)")
    parser.add_argument("--runs", type=int, default=7, help="timed runs of each loader")
    parser.add_argument("--images", type=int, default=3000, help="pictures in a run, at least")
    parser.add_argument("--resize", type=int, help="also shrink the pictures when they are packed, to this side")
    parser.add_argument("--only", nargs="+", help="measure these loaders only")
    return parser.parse_args(argv)


def _line_up(setup: Setup, only: list[str] | None) -> tuple[list[Contestant], dict[str, str]]:
    contestants, missing = [], {}
    for name, build in {**OURS, **AS_WRITTEN, **WITH_OUR_DECODER}.items():
        if only and name not in only:
            continue
        try:
            contestants.append(Contestant(name, build(setup), []))
        except ImportError as error:
            missing[name] = str(error)
    return contestants, missing


def _run(contestant: Contestant) -> None:
    begun = time.perf_counter()
    delivered = sum(contestant.epoch())
    contestant.speeds.append(delivered / (time.perf_counter() - begun))


def _usual_photographs(samples: Path) -> Path:
    """data/image or, where that is empty, sample pictures: they are smoother than photographs."""
    usual = ROOT / "data" / "image"
    if any(path.suffix.lower() in (".jpg", ".jpeg") for path in usual.rglob("*")):
        return usual
    print(
        f"{usual}: no JPEGs in it. Sample pictures are measured instead; name a folder of photographs for real ones."
    )
    make_sample_data(samples, num=200, size=512)
    return samples


def _listed_often(folder: Path, links: Path, images: int) -> Path:
    """A folder of links to the photographs, each as often as it takes to have enough of them."""
    files = sorted(path.resolve() for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not files:
        raise SystemExit(f"{folder}: no JPEGs in it. Name a folder of photographs.")
    for copy in range(-(-images // len(files))):
        (links / str(copy)).mkdir(parents=True)
        for number, path in enumerate(files):
            (links / str(copy) / f"{number:06d}.jpg").symlink_to(path)
    return links


def _unpacked(shards: Path, folder: Path) -> Path:
    """The pictures of shards as files, for the peers that read files."""
    folder.mkdir()
    source = open_source(shards)
    for index in range(len(source)):
        (folder / f"{index:06d}.jpg").write_bytes(source[index].media)
    return folder


def _print_table(contestants: list[Contestant]) -> None:
    ours = statistics.median(contestants[0].speeds)
    print(f"\n{'loader':<34}{'img/s':>8}{'from':>8}{'to':>8}{'ours is':>10}")
    for contestant in contestants:
        median = statistics.median(contestant.speeds)
        low, high = min(contestant.speeds), max(contestant.speeds)
        print(f"{contestant.name:<34}{median:>8.0f}{low:>8.0f}{high:>8.0f}{ours / median:>9.2f}×")


if __name__ == "__main__":
    raise SystemExit(main())
