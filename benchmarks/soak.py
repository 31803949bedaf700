"""A long run with random restarts: does memory stay flat, and is anything left over?

    python benchmarks/soak.py [FOLDER] [--minutes 20]

Iterators over shards are made, played for a while and ended in every way there is: to the end, by `close()`, by
`break`, by an exception in the consumer, by dropping the last reference, in worker processes. After each the
threads, open files, child processes and shared-memory segments are counted. Memory is the process's resident set:
the median of the last tenth of the run against that of its second tenth. Exits with 1 where it grew by 2 % or
something was left.
"""

from __future__ import annotations

import argparse
import gc
import random
import statistics
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines import ImageIterator, make_shards
from pipelines.samples.scenes import make_sample_data
from pipelines.torch_bridge import TorchLoader


@dataclass(frozen=True)
class Leftovers:
    """What a process holds besides memory."""

    threads: int
    files: int
    children: int
    segments: int

    @classmethod
    def count(cls) -> Leftovers:
        """Of this process, now (Linux)."""
        gc.collect()
        children = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
        return cls(
            threads=threading.active_count(),
            files=len(list(Path("/proc/self/fd").iterdir())),
            children=len(children),
            segments=len(list(Path("/dev/shm").iterdir())),
        )


def main(argv: list[str] | None = None) -> int:
    """Soak, and print a line a minute and a verdict."""
    parser = argparse.ArgumentParser(description="Play and end iterators at random, and watch what stays.")
    parser.add_argument(
        "folder", nargs="?", type=Path, help="photographs (default: sample scenes made on the spot)"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="how long (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the random restarts")
    options = parser.parse_args(argv)
    warnings.filterwarnings("ignore", message="This DataLoader will create", category=UserWarning)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "scenes"
        if options.folder is None:
            make_sample_data(folder, num=400, size=128)
        shards = Path(scratch) / "shards"
        make_shards(folder, shards, shard_examples=50)
        _play(shards, chance, _to_the_end)  # imports and caches are no leftovers
        _play_with_workers(shards, chance)
        return _soak(shards, chance, options.minutes * 60)


def _soak(shards: Path, chance: random.Random, seconds: float) -> int:
    begun, before = time.monotonic(), Leftovers.count()
    sizes: list[float] = []
    left: set[Leftovers] = set()
    restarts = shown = 0
    while (now := time.monotonic() - begun) < seconds:
        if chance.random() < 0.1:
            _play_with_workers(shards, chance)
        else:
            _play(shards, chance, chance.choice(ENDINGS))
        restarts += 1
        sizes.append(_resident_megabytes())
        after = _settled(before)
        if after != before:
            left.add(after)
        if now // 60 > shown:
            shown = int(now // 60)
            print(f"{shown} min: {restarts} restarts, {sizes[-1]:.0f} MB, {after}", flush=True)
    tenth = max(1, len(sizes) // 10)
    early, late = statistics.median(sizes[tenth : 2 * tenth] or sizes), statistics.median(sizes[-tenth:])
    growth = late / early - 1
    print(f"{restarts} restarts: {early:.1f} MB early, {late:.1f} MB late ({growth:+.2%})")
    print(f"left over: {left or 'nothing'}")
    return 0 if growth < 0.02 and not left else 1


def _settled(before: Leftovers) -> Leftovers:
    """What is held now; a thread or process that is on its way out has two seconds."""
    deadline = time.monotonic() + 2
    while (now := Leftovers.count()) != before and time.monotonic() < deadline:
        time.sleep(0.01)
    return now


def _images(shards: Path, chance: random.Random) -> ImageIterator:
    return ImageIterator(
        shards, size=128, batch_size=32, shuffle=True, crop="random", threads=chance.choice([1, 2, 4])
    )


def _play(shards: Path, chance: random.Random, ending: Callable[[ImageIterator, int], None]) -> None:
    images = _images(shards, chance)
    images.reset(epoch=chance.randrange(100), position=chance.randrange(len(images.source)))
    ending(images, chance.randrange(1, 12))


def _to_the_end(images: ImageIterator, num: int) -> None:
    for _ in images:
        pass
    images.close()


def _close(images: ImageIterator, num: int) -> None:
    list(islice(images, num))
    images.close()


def _break(images: ImageIterator, num: int) -> None:
    for number, _ in enumerate(images):
        if number >= num:
            break


def _exception(images: ImageIterator, num: int) -> None:
    try:
        for number, _ in enumerate(images):
            if number >= num:
                raise KeyError("the consumer's own")
    except KeyError:
        images.close()


def _abandon(images: ImageIterator, num: int) -> None:
    live = iter(images)
    next(live)
    del live, images


ENDINGS = (_to_the_end, _close, _break, _exception, _abandon)


def _play_with_workers(shards: Path, chance: random.Random) -> None:
    images = ImageIterator(shards, size=64, batch_size=16, shuffle=True, threads=1)
    list(islice(TorchLoader(images, num_workers=2), chance.randrange(1, 6)))
    images.close()


def _resident_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    raise SystemExit(main())
