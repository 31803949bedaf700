"""What the plan of a million files costs, half a million files in one folder, and a tar of a million members.

    python benchmarks/million_files.py [--files 1000000] [--folders 1000] [--batches 200] [--work FOLDER]

The files are pictures of 2 × 2 pixels, made in FOLDER (default: a temporary folder, removed at the end), which needs an
inode for each. Every row is measured in a separate process: seconds, CPU seconds (of user and system), and the peak
of its resident memory, Python and NumPy included. What the disk cache holds is not cleared: run it twice.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines import ImageIterator, open_source
from pipelines.sharding.plan import make_plan
from pipelines.sharding.settings import PackSettings, settings_for
from pipelines.sharding.survey import survey
from pipelines.sharding.tar_header import tar_header
from pipelines.storage.tar import BLOCK

PICTURE = b"P6 2 2 255\n" + bytes(range(12))


def main(argv: list[str] | None = None) -> int:
    """Make the files, measure each row in a child, and print."""
    options = _parse(argv)
    if options.row:
        print(json.dumps(_measured(options)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        work = Path(options.work or folder)
        rows = {
            "plan": _make_tree(work / "tree", options.files, options.folders),
            "one folder": _make_tree(work / "one", options.files // 2, 1),
            "tar": _make_tar(work / "members.tar", options.files),
        }
        print(f"{'':28}{'seconds':>10}{'CPU s':>10}{'peak MB':>10}")
        for row, place in rows.items():
            _print_row(row, place, options, work / "cache")
    return 0


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--folders", type=int, default=1_000)
    parser.add_argument("--batches", type=int, default=200, help="of 256 pictures, that are read after opening")
    parser.add_argument("--work", help="keep the files here, and use the files of an earlier run")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def _make_tree(folder: Path, num: int, num_folders: int) -> Path:
    for number in range(num_folders):
        inside = folder / f"folder-{number:04d}"
        if inside.is_dir():
            continue
        inside.mkdir(parents=True)
        for file in range(number * num // num_folders, (number + 1) * num // num_folders):
            with open(f"{inside}/picture-{file:07d}.ppm", "wb") as target:
                target.write(PICTURE)
    return folder


def _make_tar(path: Path, num: int) -> Path:
    if not path.exists():
        payload = PICTURE + bytes(-len(PICTURE) % BLOCK)
        with path.open("wb") as tar:
            for member in range(num):
                tar.write(tar_header(f"picture-{member:07d}.ppm", len(PICTURE)) + payload)
            tar.write(bytes(2 * BLOCK))
    return path


def _print_row(row: str, place: Path, options: argparse.Namespace, cache: Path) -> None:
    command = [sys.executable, __file__, "--row", row, "--place", str(place), "--batches", str(options.batches)]
    environment = {**os.environ, "DIRVAE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    for step, (seconds, cpu, peak) in json.loads(done.stdout.splitlines()[-1]).items():
        print(f"{f'{row}: {step}':28}{seconds:10.1f}{cpu:10.1f}{peak:10.0f}", flush=True)


def _measured(options: argparse.Namespace) -> dict[str, tuple[float, float, float]]:
    """Each step of a row: seconds, CPU seconds, and the peak of memory by then in MB."""
    steps = _plan(Path(options.place)) if options.row == "plan" else _played(options)
    found = {}
    for name, step in steps:
        began, cpu = time.monotonic(), time.process_time()
        step()
        found[name] = (time.monotonic() - began, time.process_time() - cpu, _peak_megabytes())
    return found


Steps = Iterator[tuple[str, Callable[[], Any]]]


def _plan(folder: Path) -> Steps:
    """Survey, listing, fingerprint, keys, order and stops; then the files of all shards, one shard at a time."""
    found: list[Any] = []
    settings: PackSettings | ValueError = settings_for("image", {})
    assert isinstance(settings, PackSettings)

    def plan() -> None:
        listing = survey(folder, folder.parent / "shards").sets[0].listing
        found.append(make_plan(listing, settings))

    yield "survey and plan", plan
    yield "all shards of it", lambda: sum(len(shard.files) for shard in found[0].shards)


def _played(options: argparse.Namespace) -> Steps:
    place, held = Path(options.place), list[Any]()
    if place.is_dir():
        yield from _plan(place)
    settings: dict[str, Any] = {"size": 8, "batch_size": 256, "shuffle": True, "seed": 0, "threads": 1}
    yield "open", lambda: held.append(open_source(place))
    yield "iterator", lambda: held.append(iter(ImageIterator(held[0], **settings)))
    yield f"{options.batches} batches", lambda: [next(held[1]) for _ in range(options.batches)]
    yield "open again", lambda: open_source(place)


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main())
