"""How long a large annotation file takes to become a store, how much memory, and what annotations cost in packing.

    python benchmarks/annotations.py [--megabytes 500] [--folder FOLDER] [--pictures 2000] [--photographs FOLDER]

Both orders of the sections are written to a file, read in a process of its own with one thread, and removed. Printed
are the seconds, the peak memory of the process, the size of the store and the microseconds for one record.
Then pictures are packed with and without annotations in turn, in this process: drawn ones of 160 kB, or the photographs
of COCO in `--photographs` (a folder with `images` and `annotations`), each under several names. The CPU seconds are the
least of five; the ratio is of pictures per second of CPU.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipelines import make_shards
from pipelines.sharding.annotations.store import AnnotationStore
from pipelines.sharding.annotations.store_building import build_store

NUM_IMAGES = 120_000
ORDERS = ("images", "annotations")
CATEGORIES = [{"id": number, "name": f"kind {number}", "supercategory": "things"} for number in range(1, 81)]


def main() -> None:
    """Measure both orders of the sections, and packing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="where the files are written for the time of the measurement")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--photographs", type=Path, help="folder of COCO (default: drawn pictures)")
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
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        measure_packing(Path(folder), args.photographs, args.pictures)


def measure_packing(folder: Path, photographs: Path | None, num: int) -> None:
    """Pack the same pictures without and with annotations, in turn."""
    (folder / "pictures").mkdir()
    file = folder / "annotations.json"
    content = drawn(folder, num) if photographs is None else repeated(photographs, folder, num)
    file.write_text(json.dumps(content), encoding="ascii")
    least: dict[bool, float] = {}
    for turn in range(10):
        out, with_annotations = folder / f"out{turn}", bool(turn % 2)
        start = time.process_time()
        make_shards(folder / "pictures", out, workers=0, annotations=[file] if with_annotations else ())
        least[with_annotations] = min(least.get(with_annotations, 1e9), time.process_time() - start)
        shutil.rmtree(out)
    print(
        f"packing {num:,} pictures and {file.stat().st_size / 1e6:.1f} MB of annotations: {least[True]:.2f} s of CPU, "
        f"{least[False]:.2f} s without, ratio {least[False] / least[True]:.2f}"
    )


def repeated(photographs: Path, folder: Path, num: int) -> dict[str, Any]:
    """COCO's photographs under `num` names in all, and their annotations."""
    files = sorted((photographs / "annotations").glob("instances*.json"))
    if not files:
        raise SystemExit(f"{photographs}: has no annotations/instances*.json. Name a folder of COCO.")
    parts = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    images = [image for part in parts for image in part["images"]]
    by_image: dict[int, list[Any]] = {}
    for one in (one for part in parts for one in part["annotations"]):
        by_image.setdefault(one["image_id"], []).append(one)
    new: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": parts[0]["categories"]}
    for number in range(num):
        image = images[number % len(images)]
        name = file_name(number)
        shutil.copy(photographs / "images" / image["file_name"], folder / "pictures" / name)
        new["images"].append({**image, "file_name": name, "id": number})
        for one in by_image.get(image["id"], []):
            new["annotations"].append({**one, "image_id": number, "id": len(new["annotations"])})
    return new


def drawn(folder: Path, num: int) -> dict[str, Any]:
    """`num` pictures of noise of 640 × 480 pixels, and 5 kB of annotations for each."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (480, 640, 3), np.uint8))
    for number in range(num):
        picture.save(folder / "pictures" / file_name(number), quality=50)
    entries = [json.loads(text) for text in annotations(5000 * num)]
    images = [{"id": number, "file_name": file_name(number), "width": 640, "height": 480} for number in range(num)]
    return {
        "images": images,
        "annotations": [{**one, "image_id": one["image_id"] % num} for one in entries],
        "categories": CATEGORIES,
    }


def measure(path: Path) -> None:
    """Build the store of one file in this process, and read from it."""
    files, store = [file_name(number) for number in range(NUM_IMAGES)], path.with_suffix(".store")
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
