"""NumPy files and zarr arrays: headers, zips, metadata, chunks and the indexes of shards."""

from __future__ import annotations

import json
import shutil
import zipfile
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from pipelines import ArrayIterator, ArraySource
from pipelines.sources.arrays import numpy_array, zarr_array

from ..array_files import LAYOUTS, numbers, write_group, write_zarr
from .damage import Damage
from .play import some_of
from .target import Target

__all__ = ["TARGETS"]

LITTLE = 64 << 20  # of what is decoded together, so that a process of 2 GB shows whether the bound is kept


def look(place: Path, damage: Damage, **settings: Any) -> None:
    """Open, identify and read."""
    ways: list[dict[str, Any]] = [
        {},
        {"window": 3},
        {"axis": 1},
        {"shuffle": True},
        {"window": 2, "shuffle": "files"},
    ]
    with patch.object(numpy_array, "MAX_CHUNK_BYTES", LITTLE), patch.object(zarr_array, "MAX_CHUNK_BYTES", LITTLE):
        iterator = ArrayIterator(place, batch_size=2, threads=1, **damage.one_of(ways), **settings)
        iterator.state_dict()
        some_of(iterator)


def npys(folder: Path) -> list[bytes]:
    made = []
    arrays = [numbers(20), np.asfortranarray(numbers(20)), np.array([[b"a", b"bc"]] * 9)]
    for array in (*arrays, np.zeros((9, 2), [("x", "<f4"), ("y", "i1", (3,))])):
        np.save(folder / "x.npy", array)
        made.append((folder / "x.npy").read_bytes())
    return made


def play_npy(files: list[bytes], damage: Damage, folder: Path) -> None:
    (folder / "x.npy").write_bytes(damage.bytes(damage.one_of(files), head=128, others=files))
    look(folder / "x.npy", damage)


def npz(folder: Path) -> bytes:
    np.savez(folder / "x.npz", a=numbers(20), b=np.arange(20))
    return (folder / "x.npz").read_bytes()


def play_npz(content: bytes, damage: Damage, folder: Path) -> None:
    """The list at the end and the headers between are where a zip says something."""
    places = [0, content.find(b"PK\3\4", 4), content.find(b"PK\1\2"), content.find(b"PK\5\6")]
    place = damage.one_of(places)
    (folder / "x.npz").write_bytes(content[:place] + damage.bytes(content[place:], head=80))
    look(folder / "x.npz", damage, arrays=damage.one_of(("a", "a", "b", None)))


def stored(folder: Path, *, layout: str) -> Path:
    write_zarr(folder / "x.zarr", numbers(20), **LAYOUTS[layout])
    return folder / "x.zarr"


def marks(place: Path) -> list[Path]:
    return sorted(path for path in place.rglob("*") if path.name in ("zarr.json", ".zarray", ".zgroup"))


def play_metadata(made: Path, damage: Damage, folder: Path, **settings: Any) -> None:
    place = Path(shutil.copytree(made, folder / "x.zarr"))
    mark = damage.one_of(marks(place))
    mark.write_bytes(damage.json(json.loads(mark.read_text())))
    look(place, damage, **settings)


def play_chunks(made: Path, damage: Damage, folder: Path) -> None:
    place = Path(shutil.copytree(made, folder / "x.zarr"))
    files = sorted(path for path in place.rglob("*") if path.is_file() and not path.name.startswith((".", "zarr")))
    chunk = damage.one_of(files)
    content = chunk.read_bytes()
    tail = damage.one_of((0, max(0, len(content) - 80)))  # the index of a shard lies at its end
    others = [path.read_bytes() for path in files[:3]]
    chunk.write_bytes(content[:tail] + damage.bytes(content[tail:], head=damage.one_of((40, None)), others=others))
    look(place, damage)


def group(folder: Path) -> Path:
    write_group(folder / "x.zarr", 20)
    return folder / "x.zarr"


def zipped(folder: Path) -> bytes:
    place = stored(folder, layout="gzip")
    with zipfile.ZipFile(folder / "x.zarr.zip", "w") as archive:
        for path in sorted(place.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(place))
    return (folder / "x.zarr.zip").read_bytes()


def play_zip(content: bytes, damage: Damage, folder: Path) -> None:
    place = damage.one_of((0, content.find(b"PK\1\2"), content.find(b"PK\5\6")))
    (folder / "x.zarr.zip").write_bytes(content[:place] + damage.bytes(content[place:], head=400))
    source = ArraySource(folder / "x.zarr.zip")
    source.prefix_hash(1)
    source.read([0, len(source) - 1])
    source.close()


PICKED = ("chunks", "shards", "blosc", "gzip", "checked", "transposed", "version_2", "version_2_fortran")
TARGETS = (
    Target("arrays npy", npys, play_npy),
    Target("arrays npz", npz, play_npz),
    *(Target(f"arrays metadata-{name}", partial(stored, layout=name), play_metadata) for name in PICKED),
    *(Target(f"arrays chunks-{name}", partial(stored, layout=name), play_chunks) for name in PICKED),
    Target("arrays group", group, partial(play_metadata, arrays="image", fields=["label"])),
    Target("arrays zip", zipped, play_zip),
)
