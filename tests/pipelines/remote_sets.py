"""Small packed sets of every kind, and what iterators make of them wherever they lie."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines import AudioIterator, ImageIterator, VideoIterator, make_shards, mix, open_source
from pipelines.storage.remote.reading import RemoteReading
from pipelines.storage.remote.remote_store import RemoteOptions
from pipelines.storage.remote.retrying import RetryPolicy

from .conftest import png
from .recordings import album, write_folder
from .videos import make_video

__all__ = [
    "KINDS",
    "ORDERS",
    "QUICK",
    "RANGES",
    "READINGS",
    "WHOLE",
    "Played",
    "images",
    "make_sets",
    "play",
    "play_all",
    "sounds",
    "videos",
]

QUICK = RetryPolicy(attempts=2, seconds=5, first_wait=0.01, longest_wait=0.02)
WHOLE = RemoteReading(cache_bytes=1 << 20, options=RemoteOptions(QUICK))
RANGES = RemoteReading(fetch="ranges", options=RemoteOptions(QUICK))
READINGS = {"whole": WHOLE, "ranges": RANGES}

Played = list[tuple[bytes, list[str], str]]
"""Of each batch: its bytes with those of its fields, its keys, and its state."""

ORDERS: dict[str, dict[str, Any]] = {
    "stored": {},
    "shuffle": {"shuffle": True},
    "windows": {"shuffle": True, "shuffle_shards": 2},
    "groups of two ranks": {"shuffle": True, "shuffle_shards": 1, "groups": 2, "world_size": 2, "tail": "pad"},
}


def make_sets(folder: Path) -> Path:
    """A folder of three sets: image (40 pictures, 7 shards), audio (6 recordings) and video (3)."""
    files = {f"p/{number:02d}.png": png(number, 20, 28) for number in range(40)}
    labels = {f"p/{number:02d}.json": json.dumps({"label": number}).encode() for number in range(40)}
    write_folder(folder / "files" / "image", files | labels)
    write_folder(folder / "files" / "audio", album(6, kinds=("s16", "flac")))
    (folder / "files" / "video").mkdir()
    for number in range(3):
        make_video(folder / "files" / "video" / f"{number}.mp4", num_frames=12 + number, size=(48, 32), gop=4)
    for kind, num in (("image", 6), ("audio", 2), ("video", 1)):
        make_shards(folder / "files" / kind, folder / "sets" / kind, workers=0, shard_examples=num, shuffle=None)
    return folder / "sets"


def images(source: Any, **settings: Any) -> ImageIterator:
    base = {"size": 16, "batch_size": 7, "threads": 2, "seed": 3, "fields": ("json",)}
    return ImageIterator(source, **{**base, **settings})


def sounds(source: Any, **settings: Any) -> AudioIterator:
    base = {"window": 2000, "hop": 1500, "short": "pad", "batch_size": 5, "threads": 2, "seed": 3}
    return AudioIterator(source, **{**base, **settings})


def videos(source: Any, **settings: Any) -> VideoIterator:
    base = {"clip_frames": 4, "hop": 3, "size": 24, "batch_size": 3, "threads": 2, "seed": 3}
    return VideoIterator(source, **{**base, **settings})


KINDS: dict[str, Callable[..., Any]] = {"image": images, "audio": sounds, "video": videos}


def play(iterator: Any, batches: int | None = None) -> Played:
    """One epoch, or its next batches."""
    found: Played = []
    loop = iter(iterator)
    for batch in loop:
        fields = json.dumps({name: list(map(repr, values)) for name, values in batch.fields.items()})
        found.append((bytes(batch.data) + fields.encode(), batch.keys, json.dumps(batch.state)))
        if len(found) == batches:
            break
    return found


def play_all(
    kind: str, place: str | Path, order: dict[str, Any], reading: RemoteReading | None = None
) -> list[Played]:
    """Two epochs of every rank; "mixture" is one of pictures in two orders."""
    found = []
    for rank in range(order.get("world_size", 1)):
        mine = {**order, "rank": rank} if "world_size" in order else order
        with contextlib.closing(_opened(kind, place, mine, reading)) as iterator:
            found += [play(iterator), play(iterator)]
    return found


def _opened(kind: str, place: str | Path, order: dict[str, Any], reading: RemoteReading | None) -> Any:
    def source(modality: str) -> Any:
        return open_source(str(place), modality=modality, remote=reading)

    if kind != "mixture":
        return KINDS[kind](source(kind), **order)
    ranks = {name: order[name] for name in ("rank", "world_size", "tail") if name in order}
    own = {name: value for name, value in order.items() if name not in ranks}
    parts = [images(source("image"), batch_size=6, **own), images(source("image"), seed=8)]
    return mix(parts, [2, 1], batch_size=6, threads=2, **ranks)
