"""Windows per second at random from long recordings, side by side: this library and its peers over the same files.

    python benchmarks/audio.py [--files 16] [--seconds 300] [--window 65536] [--format WAV] [--runs 5] [--only NAME …]

Recordings are made of noise and packed plainly into tars, members as they are. Each loader is warmed by a run that is
not counted, then all take turns. Worker processes live for one run, so that none works while others have their turn;
the first batches, in which they start, are not timed. Printed is the median over the runs, and ours as a ratio to it.

A webdataset pipeline reads tars from end to end, and a recording passes by whole: it takes eight windows of each, and
is less random for it. "decoded" decodes the recording, as users write it; "sought" decodes the windows alone.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines import AudioIterator

RATE = 44_100
SHARDS = 4
CROPS = 8
SETTLING = 6
Run = Callable[[], Iterator[int]]


@dataclass(frozen=True)
class Setup:
    """What every loader is asked to do; each run takes `batches` batches."""

    folder: Path
    tars: Path
    window: int
    batch_size: int
    workers: int
    batches: int


def ours(setup: Setup, source: Path) -> Run:
    """`AudioIterator`, uniformly over all windows."""
    audio = AudioIterator(
        source,
        window=setup.window,
        batch_size=setup.batch_size,
        shuffle=True,
        short="skip",
        threads=setup.workers,
        tail="drop",
    )

    return lambda: counted(audio, setup.batches)


class Windows:
    """A map-style dataset of all windows of the loose files, read by soundfile."""

    def __init__(self, setup: Setup) -> None:
        self.window = setup.window
        self.places = [
            (str(path), start)
            for path in sorted(setup.folder.iterdir())
            for start in range(0, soundfile.info(path).frames - setup.window + 1, setup.window)
        ]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Any:
        import torch

        path, start = self.places[index]
        samples = soundfile.read(path, self.window, start, dtype="float32", always_2d=True)[0]
        return torch.from_numpy(np.ascontiguousarray(samples.T))


def torch_dataloader(setup: Setup) -> Run:
    """torch's `DataLoader` over loose files, worker processes."""
    from torch.utils.data import DataLoader

    loader = DataLoader(
        Windows(setup),  # type: ignore[arg-type]
        batch_size=setup.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=setup.workers,
    )
    return lambda: counted(loader, setup.batches)


class Crops:
    """Random windows of a recording's bytes, which is decoded whole, or sought in."""

    def __init__(self, window: int, *, seek: bool) -> None:
        self.window, self.seek = window, seek
        self.generator = np.random.default_rng(0)

    def __call__(self, samples: Any) -> Iterator[tuple[np.ndarray]]:
        for (content,) in samples:
            file = soundfile.SoundFile(io.BytesIO(content))
            whole = None if self.seek else file.read(dtype="float32", always_2d=True)
            for start in self.generator.integers(0, file.frames - self.window + 1, CROPS).tolist():
                if whole is None:
                    file.seek(start)
                    yield (file.read(self.window, dtype="float32", always_2d=True).T.copy(),)
                else:
                    yield (whole[start : start + self.window].T.copy(),)


def webdataset_loader(setup: Setup, *, seek: bool) -> Run:
    """webdataset's pipeline over the tars, worker processes, eight windows of each recording that passes by."""
    import webdataset

    urls = [str(path) for path in sorted(setup.tars.glob("*.tar"))]
    dataset = (
        webdataset.WebDataset(urls, resampled=True, empty_check=False, shardshuffle=False)
        .to_tuple("wav;flac;ogg;mp3")
        .compose(Crops(setup.window, seek=seek))
        .shuffle(64)
        .batched(setup.batch_size)
    )
    loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=setup.workers)
    return lambda: counted(loader, max(2, setup.batches // 25))


def counted(loader: Any, batches: int) -> Iterator[int]:
    """The windows in each of the batches of a run, epoch after epoch of the loader."""
    left = SETTLING + batches
    while left:
        for batch in islice(loader, left):
            left -= 1
            yield len(batch[0] if isinstance(batch, list | tuple) else batch)


LOADERS: dict[str, Callable[[Setup], Run]] = {
    "ours, tars": lambda setup: ours(setup, setup.tars),
    "ours, loose files": lambda setup: ours(setup, setup.folder),
    "torch DataLoader + soundfile, loose files": torch_dataloader,
    "webdataset + soundfile, tars, decoded": lambda setup: webdataset_loader(setup, seek=False),
    "webdataset + soundfile, tars, sought": lambda setup: webdataset_loader(setup, seek=True),
}


def make_files(setup: Setup, files: int, seconds: int, kind: str) -> None:
    """Recordings in a folder, and the same in tars."""
    generator = np.random.default_rng(0)
    noise = (0.1 * generator.standard_normal(RATE * seconds)).astype(np.float32)
    for number in range(files):
        path = setup.folder / f"{number:04d}.{kind.lower()}"
        with soundfile.SoundFile(path, "w", RATE, 1, format=kind) as file:
            for piece in np.array_split(np.roll(noise, 997 * number), seconds):
                file.write(piece)
    for shard in range(SHARDS):
        with tarfile.open(setup.tars / f"{shard}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for path in sorted(setup.folder.iterdir())[shard::SHARDS]:
                tar.add(path, path.name)


def timed(run: Run) -> float:
    """Windows per second of one run, after its first batches."""
    batches = run()
    for _ in islice(batches, SETTLING):
        pass
    begun = time.perf_counter()
    return sum(batches) / (time.perf_counter() - begun)


def main(argv: list[str] | None = None) -> int:
    """Measure and print the table."""
    options = _parser().parse_args(argv)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ.setdefault("DIRVAE_CACHE", f"{scratch}/cache")
        folder, tars = Path(scratch) / "files", Path(scratch) / "tars"
        setup = Setup(folder, tars, options.window, options.batch_size, options.workers, options.batches)
        folder.mkdir()
        tars.mkdir()
        make_files(setup, options.files, options.seconds, options.format)
        runs, speeds = {}, dict[str, list[float]]()
        for name, build in LOADERS.items():
            if not options.only or name in options.only:
                runs[name], speeds[name] = build(setup), []
                timed(runs[name])
        for _ in range(options.runs):
            for name, run in runs.items():
                speeds[name].append(timed(run))
        print(
            f"{options.files} recordings ({options.format}) of {options.seconds} s, windows of {options.window:,} "
            f"frames, batches of {options.batch_size}, {options.workers} threads or workers each, "
            f"{options.runs} interleaved runs, {os.cpu_count()} cores"
        )
        _print_table(speeds)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Random windows of recordings a second, side by side.")
    parser.add_argument("--files", type=int, default=16, help="recordings")
    parser.add_argument("--seconds", type=int, default=300, help="length of each")
    parser.add_argument("--format", default="WAV", help="WAV (16 bit), FLAC, OGG or MP3")
    parser.add_argument("--window", type=int, default=65_536, help="frames in a window")
    parser.add_argument("--batch-size", type=int, default=16, help="windows in a batch")
    parser.add_argument("--batches", type=int, default=200, help="batches in a run (of webdataset fewer)")
    parser.add_argument("--workers", type=int, default=2, help="threads (ours) or worker processes (theirs)")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each loader")
    parser.add_argument("--only", nargs="+", help="measure these loaders only")
    return parser


def _print_table(speeds: dict[str, list[float]]) -> None:
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    first = next(iter(medians.values()))
    print(f"\n{'loader':<44}{'windows/s':>10}{'from':>8}{'to':>8}{'ours is':>10}")
    for name, median in medians.items():
        low, high = min(speeds[name]), max(speeds[name])
        print(f"{name:<44}{median:>10.0f}{low:>8.0f}{high:>8.0f}{first / median:>9.2f}×")


if __name__ == "__main__":
    raise SystemExit(main())
