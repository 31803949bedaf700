"""How long a large annotation file takes to become a store, and how much memory: both orders of its sections.

    python benchmarks/annotations.py [--megabytes 500] [--folder FOLDER]

Each order is written to a file, read in a process of its own with one thread, and removed. Printed are the seconds,
the peak memory of the process, the size of the store and the microseconds for one record.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines.sharding.annotations.store import AnnotationStore
from pipelines.sharding.annotations.store_building import build_store

NUM_IMAGES = 120_000
ORDERS = ("images", "annotations")
CATEGORIES = [{"id": number, "name": f"kind {number}", "supercategory": "things"} for number in range(1, 81)]


def main() -> None:
    """Measure both orders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="where the files are written for the time of the measurement")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure)
        return
    for first in ORDERS:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            path = Path(folder) / f"{first}_first.json"
            num = write_file(path, args.megabytes * 10**6, first)
            print(f"{path.name}: {path.stat().st_size / 1e6:,.0f} MB, {num:,} annotations", flush=True)
            subprocess.run([sys.executable, __file__, "--measure", str(path)], check=True)


def measure(path: Path) -> None:
    """Build the store of one file in this process, and read from it."""
    files, store = [file_name(number) for number in range(NUM_IMAGES)], path.with_suffix(".sqlite")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter(), time.process_time()
    report = build_store(store, annotations=[path], table=None, key="file_name", files=files)
    seconds, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not report.problems, report.problems
    print(
        f"  {seconds:.1f} s ({cpu:.1f} s of CPU), peak {peak / 1024:,.0f} MiB, {before / 1024:,.0f} MiB of it before"
    )
    reader, wanted = AnnotationStore(store), random.Random(0).sample(files, 2000)
    begin = time.perf_counter()
    found = sum(len((reader.record(name) or {})["annotations"]) for name in wanted)
    each = (time.perf_counter() - begin) / len(wanted) * 1e6
    print(f"  the store has {store.stat().st_size / 1e6:,.0f} MB; {each:.0f} µs for a record of {found / 2000:.1f}")


def write_file(path: Path, size: int, first: str) -> int:
    """An annotation file of about `size` bytes; how many annotations it has."""
    num = 0
    with open(path, "w", encoding="ascii") as file:
        file.write('{"info": {}')
        for section in (first, *(other for other in ORDERS if other != first)):
            entries = images() if section == "images" else annotations(size)
            file.write(f', "{section}": [')
            for place, text in enumerate(entries):
                file.write(f", {text}" if place else text)
                num += section == "annotations"
            file.write("]")
        file.write(f', "categories": {json.dumps(CATEGORIES)}}}')
    return num


def images() -> Iterator[str]:
    """The entries of the pictures, as texts."""
    for number in range(NUM_IMAGES):
        entry = {"id": number, "file_name": file_name(number), "width": 640, "height": 480, "license": 1}
        yield json.dumps(
            {**entry, "coco_url": f"http://example.org/{number}", "date_captured": "2013-11-14 17:02:52"}
        )


def annotations(size: int) -> Iterator[str]:
    """Annotations with polygons, together of about `size` bytes, as texts; the pictures are in no order."""
    rng, written, number = random.Random(0), 0, 0
    while written < size:
        ring = [round(rng.uniform(0, 480), 2) for _ in range(2 * rng.randint(5, 70))]
        box = [min(ring[::2]), min(ring[1::2])]
        box += [max(ring[::2]) - box[0], max(ring[1::2]) - box[1]]
        entry = {"id": number, "image_id": rng.randrange(NUM_IMAGES), "category_id": rng.randint(1, 80)}
        text = json.dumps({**entry, "segmentation": [ring], "bbox": box, "area": 1234.5, "iscrowd": 0})
        yield text
        written, number = written + len(text) + 2, number + 1


def file_name(number: int) -> str:
    """The name of a picture."""
    return f"{number:012d}.jpg"


if __name__ == "__main__":
    main()
