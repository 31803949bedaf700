"""Packing beside tar, webdataset and Pillow: python benchmarks/packing.py PHOTOGRAPHS [--gigabytes 4] [--rounds 3].

kept      photographs, repeated under other names by hard links: make_shards (with index, CRC-32 and SHA-256), `tar cf`
          and a `webdataset.ShardWriter` loop
small     many files of 4 kB: make_shards and the ShardWriter loop
resized   --resize 256: make_shards and a Pillow loop in two processes
foretold  --dry-run beside the run itself: bytes and seconds, for each of these

Every contestant is a program that ends when its tars are on the disk. They take turns, in another order each round; the
sources are read once before. Medians of the wall seconds and CPU seconds, and ratios of the medians in this run.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SMALL_BYTES, IN_ONE_FOLDER = 4096, 10_000
TASKS = ("kept", "small", "resized", "foretold")


@dataclass
class Contestant:
    """A command that packs a folder, and its seconds: of the wall, and of all its processes."""

    name: str
    command: Sequence[str]
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def run(self, scratch: Path) -> None:
        """Pack once, and remove what was made. `OUT` in the command is where it goes."""
        out = scratch / "out"
        shutil.rmtree(out, ignore_errors=True)
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        command = [part.replace("OUT", str(out)) for part in self.command]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # otherwise each program compiles its modules again
        subprocess.run(command, check=True, capture_output=True, env=environment)
        self.seconds.append(time.monotonic() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu_seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        shutil.rmtree(out)
        os.sync()  # the next one begins with a quiet disk


def main() -> None:
    """Measure what was asked for, and print a table of each."""
    parser = argparse.ArgumentParser(description="Packing beside tar, webdataset and Pillow.")
    parser.add_argument(
        "photographs", type=Path, help="folder of photographs, all on the disk of --scratch or copied"
    )
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of photographs to be packed (default: 4)")
    parser.add_argument("--resized-gigabytes", type=float, default=0.4, help="of photographs to be resized")
    parser.add_argument("--files", type=int, default=100_000, help="small files (default: 100000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--only", choices=TASKS, nargs="+", default=TASKS, help="what is measured; foretold needs one of the others"
    )
    parser.add_argument(
        "--scratch", type=Path, help="folder for sources and tars (default: one for temporary files)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        scratch = Path(folder)
        sources: dict[str, tuple[Callable[[], Path], tuple[str, ...]]] = {
            "kept": (lambda: repeated(options.photographs, scratch, "kept", options.gigabytes), ()),
            "small": (lambda: small_files(options.photographs, scratch / "small", options.files), ()),
            "resized": (
                lambda: repeated(options.photographs, scratch, "resized", options.resized_gigabytes),
                ("--resize", "256"),
            ),
        }
        for name, (make, flags) in sources.items():
            if name in options.only:
                source = make()
                contestants = contestants_for(name, source, flags, options.workers)
                compare(name, contestants, options.rounds, scratch)
                if "foretold" in options.only:
                    foretell(source, flags, options.workers, statistics.median(contestants[0].seconds))
                shutil.rmtree(source)


def repeated(photographs: Path, scratch: Path, name: str, gigabytes: float) -> Path:
    """A folder with so many bytes of photographs, the same ones under other names."""
    originals = scratch / f"{name}-originals"
    shutil.copytree(photographs, originals, ignore=shutil.ignore_patterns(".*"))
    paths = sorted(path for path in originals.iterdir() if path.is_file())
    sizes = [path.stat().st_size for path in paths]
    copies = max(1, round(gigabytes * 1e9 / sum(sizes)))
    source = scratch / name
    source.mkdir()
    for copy in range(copies):
        for path in paths:
            os.link(path, source / f"{copy:04d}-{path.name}")
    shutil.rmtree(originals)
    for path in list(source.iterdir())[: len(paths)]:
        path.read_bytes()
    print(f"{name}: {copies * len(paths):,} files, {copies * sum(sizes) / 1e9:.2f} GB")
    return source


def small_files(photographs: Path, source: Path, num: int) -> Path:
    """Files of 4096 bytes each, every one a whole small JPEG followed by zeros."""
    from PIL import Image

    source.mkdir()
    with Image.open(next(path for path in sorted(photographs.iterdir()) if path.suffix == ".jpg")) as photograph:
        photograph.convert("RGB").resize((48, 48)).save(source / "0.jpg", quality=80)
    content = (source / "0.jpg").read_bytes()
    assert len(content) <= SMALL_BYTES, "a picture of 48 × 48 pixels fits"
    for number in range(num):
        (source / f"{number}.jpg").write_bytes(content.ljust(SMALL_BYTES, b"\0"))
    print(f"small: {num:,} files, {num * SMALL_BYTES / 1e9:.2f} GB")
    return source


def contestants_for(name: str, source: Path, flags: Sequence[str], workers: int) -> list[Contestant]:
    """The programs to be compared; the first is ours."""
    launcher, peers = str(ROOT / "tools" / "make_shards.py"), str(ROOT / "benchmarks" / "packing_peers.py")
    ours = [sys.executable, launcher, str(source), "--only", "image", "--out", "OUT", "--workers", str(workers)]
    tar = [
        "sh",
        "-c",
        'mkdir "OUT" && tar --hard-dereference -cf "OUT/all.tar" -C "$0" . && sync "OUT/all.tar"',
        str(source),
    ]
    found = [Contestant("make_shards", [*ours, *flags])]
    if name == "kept":
        found.append(Contestant("tar cf, sync", tar))
    if name == "resized":
        return [*found, Contestant("Pillow, 2 processes", [sys.executable, peers, "pillow", str(source), "OUT"])]
    return [*found, Contestant("ShardWriter", [sys.executable, peers, "shardwriter", str(source), "OUT"])]


def compare(name: str, contestants: Sequence[Contestant], rounds: int, scratch: Path) -> None:
    """Let them take turns, and print medians, and how much faster the first one is than each."""
    for number in range(rounds):
        turn = number % len(contestants)
        for one in (*contestants[turn:], *contestants[:turn]):
            one.run(scratch)
    first = statistics.median(contestants[0].seconds)
    print(f"{name:<10}{'seconds':>22}{'CPU s':>9}{'make_shards is':>18}")
    for one in contestants:
        seconds, cpu = statistics.median(one.seconds), statistics.median(one.cpu_seconds)
        spread = f"({min(one.seconds):.1f}–{max(one.seconds):.1f})"
        print(f"  {one.name:<20}{seconds:>8.1f} {spread:<12}{cpu:>7.1f}{seconds / first:>14.2f} ×", flush=True)


def foretell(source: Path, flags: Sequence[str], workers: int, seconds: float) -> None:
    """Print what --dry-run says beside what was measured."""
    from pipelines.sharding import forecast_shards

    resize = int(flags[1]) if flags else None
    began = time.monotonic()
    (said,) = forecast_shards(source, source.parent / "out", only="image", workers=workers, resize=resize).sets
    took = time.monotonic() - began
    print(
        f"  --dry-run: {said.seconds:.1f} s foretold, {said.seconds / seconds:.2f} of what was measured; "
        f"{said.new_shards} shards, {'' if said.is_exact else 'about '}{said.new_bytes:,} bytes; took {took:.1f} s"
    )


if __name__ == "__main__":
    main()
