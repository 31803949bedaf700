"""The long proof of exact resume: a thousand kills and restores over every way to run an iterator.

    python benchmarks/verify.py [FOLDER] [--kills 1000]

Single sources, windows of shards, groups, mixtures, inside videos; between two kills the threads (1–8), the worker
processes (0–4) or the number of ranks (1–8) change. Then the time to the first batch after a resume, late against
early.
Exits with 1 where anything was lost, repeated or reordered.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines import ImageIterator, VideoIterator, make_shards, mix, open_source
from pipelines.samples.clips import make_sample_clips
from pipelines.samples.scenes import make_sample_data
from pipelines.verify_resume import verify_resume, with_ranks_and_workers
from pipelines.verify_resume.delivery_report import Ledger

THREADS = [{"threads": threads} for threads in range(1, 9)]
WORKERS = [{"num_workers": workers} for workers in range(5)]
RANKS = [{"world_size": ranks, "batch_size": 24 // ranks} for ranks in (1, 2, 3, 4, 6, 8)]


@dataclass(frozen=True)
class Case:
    """A way to run an iterator, and what changes from leg to leg."""

    name: str
    make: Callable[..., Any]
    variations: list[dict[str, Any]]
    ordered: bool = True


def main(argv: list[str] | None = None) -> int:
    """Run every case and print the table."""
    parser = argparse.ArgumentParser(description="Kill and restore iterators in every way, and print the ledger.")
    parser.add_argument(
        "folder", nargs="?", type=Path, help="photographs (default: sample scenes made on the spot)"
    )
    parser.add_argument("--kills", type=int, default=1000, help="over all cases (default: 1000)")
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "scenes"
        if options.folder is None:
            make_sample_data(folder, num=300, size=48)
        shards = Path(scratch) / "shards"
        make_shards(folder, shards, shard_examples=40)
        videos = Path(scratch) / "videos"
        make_sample_clips(videos, num=12, size=32)
        make_shards(videos, Path(scratch) / "video-shards", shard_examples=4)
        cases = [*_cases(folder, shards), *_video_cases(Path(scratch) / "video-shards")]
        exact = _print_cases(cases, options.kills)
        flat = _print_first_batches(shards)
    return 0 if exact and flat else 1


def _cases(folder: Path, shards: Path) -> list[Case]:
    num = min(300, len(open_source(shards)))

    def images(source: Path = shards, limit: int = num, **settings: Any) -> ImageIterator:
        usual = {"size": 16, "batch_size": 24, "shuffle": True, "crop": "random", "flip": True, "limit": limit}
        return ImageIterator(source, **{**usual, **settings})

    def mixture(**settings: Any) -> Any:
        parts = [(0, num // 2), (num // 2, num // 4), (num - 30, 30)]
        iterators = [
            ImageIterator(shards, size=16, shuffle=True, flip=True, seed=start, select=range(start, start + count))
            for start, count in parts
        ]
        return mix(iterators, weights=[5, 3, 2], **{"batch_size": 24, **settings})

    def windows(**settings: Any) -> ImageIterator:
        usual = {"size": 16, "batch_size": 24, "shuffle": True, "shuffle_shards": 2}
        return ImageIterator(shards, **{**usual, **settings})

    single, mixed = with_ranks_and_workers(images), with_ranks_and_workers(mixture)
    groups = with_ranks_and_workers(lambda **settings: images(groups=8, **settings))
    group_ranks = [{"world_size": ranks, "batch_size": 24 // ranks} for ranks in (1, 2, 4, 8)]
    return [
        Case("shards, threads 1–8", single, THREADS),
        Case("shards, workers 0–4", single, WORKERS),
        Case("shards, ranks 1–8", single, RANKS),
        Case("folder, threads 1–8", with_ranks_and_workers(lambda **s: images(folder, **s)), THREADS),
        Case("windows of 2 shards, threads", with_ranks_and_workers(windows), THREADS),
        Case("8 groups, ranks 1–8", groups, group_ranks, ordered=False),
        Case("mixture of 3, threads 1–8", mixed, THREADS),
        Case("mixture of 3, workers 0–4", mixed, WORKERS),
        Case("mixture of 3, ranks 1–8", mixed, RANKS),
    ]


def _video_cases(shards: Path) -> list[Case]:
    def clips(**settings: Any) -> VideoIterator:
        usual = {"size": 16, "batch_size": 24, "clip_frames": 4, "hop": 5, "shuffle": True, "random_offset": True}
        return VideoIterator(shards, **{**usual, **settings})

    return [
        Case("videos, threads 1–8", with_ranks_and_workers(clips), THREADS),
        Case("videos, ranks 1–8", with_ranks_and_workers(clips), RANKS),
        Case(
            "videos in order, workers 0–4", with_ranks_and_workers(lambda **s: clips(shuffle="files", **s)), WORKERS
        ),
    ]


def _print_cases(cases: list[Case], kills: int) -> bool:
    print(f"{'case':<32}{'kills':>7}{'due':>9}{'lost':>7}{'repeated':>10}{'reordered':>11}{'state':>8}{'s':>6}")
    total, exact, killed = Ledger(0, 0, 0, 0), True, 0
    for case in cases:
        begun = time.perf_counter()
        case.make(**case.variations[0])  # imports happen here, once, and not in every leg
        verdict = verify_resume(
            case.make, kills=-(-kills // len(cases)), variations=case.variations, ordered=case.ordered
        )
        ledger, seconds = verdict.ledger, time.perf_counter() - begun
        print(
            f"{case.name:<32}{verdict.kills:>7}{ledger.due:>9,}{ledger.lost:>7}{ledger.repeated:>10}"
            f"{ledger.reordered:>11}{verdict.state_bytes:>8}{seconds:>6.0f}  {verdict.failure or ''}",
            flush=True,
        )
        total, exact, killed = total + ledger, exact and verdict.is_exact, killed + verdict.kills
    print(
        f"{'all':<32}{killed:>7}{total.due:>9,}{total.lost:>7}{total.repeated:>10}{total.reordered:>11}"
        f"  {'exact' if exact else 'NOT exact'}"
    )
    return exact


def _print_first_batches(shards: Path, tries: int = 60) -> bool:
    """Time to the first batch after a resume, in the last tenth of the epoch against the first."""
    source = open_source(shards)
    early, late = [], []
    for attempt in range(tries):
        for position, seconds in (
            (attempt % (len(source) // 10), early),
            (-1 - attempt % (len(source) // 10), late),
        ):
            images = ImageIterator(source, size=48, batch_size=8, shuffle=True, threads=1, tail="pad")
            state = {**images.state_dict(), "position": position % len(source)}
            begun = time.perf_counter()
            images.load_state_dict(state)
            live = iter(images)
            next(live)
            seconds.append(time.perf_counter() - begun)
            images.close()
    first, last = statistics.median(early) * 1e3, statistics.median(late) * 1e3
    print(
        f"to the first batch after a resume: {first:.2f} ms in the first tenth, {last:.2f} ms in the last", end=""
    )
    print(f" ({last / first:.2f} times)")
    return last / first < 1.2


if __name__ == "__main__":
    raise SystemExit(main())
