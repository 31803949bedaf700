"""What benchmarks/packing.py compares with: python benchmarks/packing_peers.py shardwriter|pillow SOURCE OUT.

shardwriter   a loop over the files with `webdataset.ShardWriter`, in this process
pillow        the same loop in two processes, which make each picture upright and smaller and save it as JPEG

Each ends when its tars are on the disk.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

SHARD_BYTES, SHORTER_SIDE, QUALITY, PROCESSES = 256 << 20, 256, 90, 2


def main() -> None:
    """Pack a folder in one of the ways above."""
    name, source, out = sys.argv[1:]
    paths = sorted(path for path in Path(source).iterdir() if path.is_file())
    Path(out).mkdir(parents=True)
    if name == "shardwriter":
        write_shards(paths, out, "all", Path.read_bytes)
        return
    tasks = [(paths[number::PROCESSES], out, str(number), resized) for number in range(PROCESSES)]
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        pool.starmap(write_shards, tasks)


def write_shards(paths: Sequence[Path], out: str, name: str, read: Callable[[Path], bytes]) -> None:
    """One `ShardWriter` over these files; its tars are on the disk afterwards."""
    import webdataset

    pattern = f"{out}/{name}-%06d.tar"
    with webdataset.ShardWriter(pattern, maxsize=SHARD_BYTES, maxcount=1 << 40, verbose=0) as sink:
        for path in paths:
            sink.write({"__key__": path.stem, "jpg": read(path)})
    for tar in Path(out).glob(f"{name}-*.tar"):
        with open(tar, "rb") as file:
            os.fsync(file.fileno())


def resized(path: Path) -> bytes:
    """The picture upright, its shorter side 256 pixels, as JPEG."""
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    scale = SHORTER_SIDE / min(picture.size)
    if scale < 1:
        size = (round(picture.width * scale), round(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    target = io.BytesIO()
    picture.save(target, "JPEG", quality=QUALITY)
    return target.getvalue()


if __name__ == "__main__":
    main()
