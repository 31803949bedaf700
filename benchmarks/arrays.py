"""Rows of zarr arrays per second: this library beside torch's `DataLoader` over the same array.

    python benchmarks/arrays.py [--rows 20000] [--batch-size 64] [--threads 2] [--runs 5] [--layouts plain sharded …]

Made in a temporary folder: (rows, 64, 64) smooth pictures with noise, in chunks of 64 rows. Each loader is built
once and warmed by one run that is not counted; then all take turns. A run is `--seconds` long. Printed is the
median over the runs, its ratio to the `DataLoader`, which reads `array[i]` in worker processes, as its users write
it, and the processor time of all processes for a row (Linux only), which a busy machine disturbs less. Ours are
measured with a cache of a tenth of the array, so that it stands for arrays above the cache, and once with the
default one.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
import zarr
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler
from zarr.codecs import BloscCodec, ZstdCodec

from pipelines.iterators.array import ArrayIterator

CHUNK_ROWS, SIDE = 64, 64
READY_BATCHES = 8
LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {"dtype": "float32", "compressors": ZstdCodec(level=3)},
    "sharded": {"dtype": "float32", "compressors": ZstdCodec(level=3), "shards": (16 * CHUNK_ROWS, SIDE, SIDE)},
    "uint8": {"dtype": "uint8", "compressors": ZstdCodec(level=3)},
    "blosc": {"dtype": "float32", "compressors": BloscCodec(cname="lz4")},
}

Batches = Callable[[], Iterator[int]]


@dataclass
class Contestant:
    """A loader under measurement: `batches()` yields the number of rows in each batch, without end."""

    name: str
    batches: Batches
    speeds: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._live = self.batches()

    def run(self, seconds: float) -> None:
        """Take batches for so long, and note the speed; those that were made while others ran do not count."""
        for _ in range(READY_BATCHES):
            next(self._live)
        begun, spent, rows = time.perf_counter(), processor_seconds(), 0
        while time.perf_counter() - begun < seconds:
            rows += next(self._live)
        self.speeds.append(rows / (time.perf_counter() - begun))
        self.costs.append((processor_seconds() - spent) / rows)


def processor_seconds() -> float:
    """Processor time of this process and its living children."""
    spent = time.process_time()
    for child in multiprocessing.active_children():
        with contextlib.suppress(OSError):
            ticks = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
            spent += sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return spent


class Rows(Dataset[np.ndarray]):
    """`array[i]`, opened where it is read: zarr's event loop does not survive a fork."""

    def __init__(self, path: Path, rows: int) -> None:
        self.path, self.rows, self.array = path, rows, None

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, index: int) -> np.ndarray:
        if self.array is None:
            self.array = zarr.open_array(self.path, mode="r")
        return self.array[index]


def main(argv: list[str] | None = None) -> int:
    """Measure and print a table for each layout."""
    options = _parse(argv)
    print(f"({options.rows}, {SIDE}, {SIDE}) in chunks of {CHUNK_ROWS} rows, batches of {options.batch_size}, "
          f"{options.threads} threads or workers each, {options.runs} interleaved runs of {options.seconds:g} s, "
          f"{os.cpu_count()} cores")  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        for layout in options.layouts:
            path = Path(scratch) / f"{layout}.zarr"
            stored = write_array(path, options.rows, LAYOUTS[layout])
            contestants = _line_up(path, options)
            for contestant in contestants:
                contestant.run(options.seconds)
                contestant.speeds.clear()
                contestant.costs.clear()
            for _ in range(options.runs):
                for contestant in contestants:
                    contestant.run(options.seconds)
            _print_table(f"{layout}: {stored}", contestants)
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rows of zarr arrays per second, side by side.")
    parser.add_argument("--rows", type=int, default=20_000, help="rows of each array")
    parser.add_argument("--batch-size", type=int, default=64, help="rows in a batch")
    parser.add_argument("--threads", type=int, default=2, help="threads (ours) or worker processes (theirs)")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each loader")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a run")
    parser.add_argument("--window", type=int, default=16, help="chunks in a window of the chunk-aware order")
    parser.add_argument("--layouts", nargs="+", default=list(LAYOUTS), choices=list(LAYOUTS), help="which arrays")
    return parser.parse_args(argv)


def write_array(path: Path, rows: int, settings: dict[str, Any]) -> str:
    """Make the array; returns what it takes on the disk."""
    shape = (rows, SIDE, SIDE)
    array = zarr.create_array(path, shape=shape, chunks=(CHUNK_ROWS, SIDE, SIDE), **settings)
    chance = np.random.default_rng(0)
    waves = np.sin(np.linspace(0, 6, SIDE)[:, None] * chance.uniform(0.2, 2, (CHUNK_ROWS, 1, 1)))
    for begin in range(0, rows, 16 * CHUNK_ROWS):
        count = min(16 * CHUNK_ROWS, rows - begin)
        smooth = np.resize(waves * chance.uniform(0.5, 2), (count, SIDE, SIDE)) @ np.full((SIDE, SIDE), 1 / SIDE)
        noisy = smooth + 0.02 * chance.standard_normal((count, SIDE, SIDE))
        scaled = np.clip(noisy * 60 + 128, 0, 255) if settings["dtype"] == "uint8" else noisy
        array[begin : begin + count] = scaled.astype(settings["dtype"])
    stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return f"{array.nbytes / 1e6:.0f} MB, {stored / 1e6:.0f} MB stored"


def _line_up(path: Path, options: argparse.Namespace) -> list[Contestant]:
    tenth = zarr.open_array(path, mode="r").nbytes // 10
    chunks = {"shuffle": True, "shuffle_shards": options.window}
    return [
        Contestant("torch DataLoader, at random", _peer(path, options, at_random=True)),
        Contestant("torch DataLoader, in order", _peer(path, options, at_random=False)),
        Contestant("ours, at random, small cache", _ours(path, options, shuffle=True, cache_bytes=tenth)),
        Contestant("ours, at random", _ours(path, options, shuffle=True)),
        Contestant(f"ours, windows of {options.window} chunks", _ours(path, options, cache_bytes=tenth, **chunks)),
        Contestant("ours, in order", _ours(path, options, cache_bytes=tenth)),
    ]


def _ours(path: Path, options: argparse.Namespace, **settings: Any) -> Batches:
    def batches() -> Iterator[int]:
        rows = ArrayIterator(path, batch_size=options.batch_size, threads=options.threads, **settings)
        while True:
            yield from map(len, rows)

    return batches


def _peer(path: Path, options: argparse.Namespace, *, at_random: bool) -> Batches:
    def batches() -> Iterator[int]:
        rows = Rows(path, options.rows)
        sampler = (
            RandomSampler(rows, generator=torch.Generator().manual_seed(0))
            if at_random
            else SequentialSampler(rows)
        )
        workers = {"num_workers": options.threads, "persistent_workers": True}
        loader = DataLoader(rows, batch_size=options.batch_size, sampler=sampler, **workers)
        while True:
            yield from map(len, loader)

    return batches


def _print_table(title: str, contestants: list[Contestant]) -> None:
    peer = statistics.median(contestants[0].speeds)
    print(f"\n{title}\n{'loader':<36}{'rows/s':>9}{'from':>9}{'to':>9}{'ratio':>9}{'CPU µs/row':>13}")
    for contestant in contestants:
        median, cost = statistics.median(contestant.speeds), statistics.median(contestant.costs) * 1e6
        low, high = min(contestant.speeds), max(contestant.speeds)
        print(f"{contestant.name:<36}{median:>9.0f}{low:>9.0f}{high:>9.0f}{median / peer:>8.2f}×{cost:>13.0f}")


if __name__ == "__main__":
    raise SystemExit(main())
