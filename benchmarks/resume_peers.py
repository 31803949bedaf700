"""Peers' own resume, for `python -m pipelines.verify_resume --loader benchmarks.resume_peers:NAME`.

Each function builds a loader over the photographs in $IMAGES (the first $LIMIT of them), shuffled, in the way the
peer's documentation shows, with its own saving and restoring. A peer without any gets the workaround that its users
write: count the batches, and skip as many after a restart.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import PillowPixels

BATCH_SIZE = 8
SIZE = 32

for _name in ("grain", "litdata", "torchdata.stateful_dataloader", "webdataset"):  # once, not in every leg
    with contextlib.suppress(ImportError):
        importlib.import_module(_name)


def _files() -> list[str]:
    found = sorted(str(path) for path in Path(os.environ["IMAGES"]).rglob("*.jpg"))
    return found[: int(os.environ.get("LIMIT", "150"))]


def _load(path: str) -> tuple[str, np.ndarray]:
    return Path(path).stem, PillowPixels(SIZE)(Path(path).read_bytes())


class _Photographs:
    """A map-style dataset of (key, pixels)."""

    def __init__(self) -> None:
        self.files = _files()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[str, np.ndarray]:
        return _load(self.files[index])


class _Resumable:
    """A peer's loader behind the names that are verified: iterate, save, restore."""

    def __init__(
        self,
        batches: Callable[[], Iterator[Any]],
        save: Callable[[], dict[str, Any]],
        restore: Callable[[dict[str, Any]], None],
    ) -> None:
        self._batches, self.state_dict, self.load_state_dict = batches, save, restore

    def __iter__(self) -> Iterator[Any]:
        return self._batches()


def stateful_dataloader(threads: int = 1) -> _Resumable:
    """torchdata's `StatefulDataLoader` over the files, worker processes."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    loader = StatefulDataLoader(_Photographs(), batch_size=BATCH_SIZE, shuffle=True, num_workers=threads)

    def save() -> dict[str, Any]:
        return _as_json(loader.state_dict())

    def restore(state: dict[str, Any]) -> None:
        loader.load_state_dict(_from_json(state))

    return _Resumable(lambda: iter(loader), save, restore)


def webdataset_skipping() -> _Resumable:
    """webdataset has no resume: begin again with the same seed and skip what was seen."""
    import webdataset

    folder = Path(tempfile.gettempdir()) / "resume-peers-webdataset"
    if not (folder / "000000.tar").exists():
        folder.mkdir(exist_ok=True)
        with tarfile.open(folder / "000000.tar", "w") as tar:
            for path in _files():
                tar.add(path, arcname=Path(path).name)
    pixels = PillowPixels(SIZE)
    dataset = (
        webdataset.WebDataset(str(folder / "000000.tar"), shardshuffle=False, seed=0)
        .shuffle(100, seed=0)
        .to_tuple("__key__", "jpg")
        .map_tuple(str, pixels)
        .batched(BATCH_SIZE)
    )
    seen = {"batches": 0}

    def batches() -> Iterator[Any]:
        for batch in islice(dataset, seen["batches"], None):
            seen["batches"] += 1
            yield batch

    return _Resumable(batches, lambda: dict(seen), seen.update)


def litdata_streaming(threads: int = 1) -> _Resumable:
    """litData's `StreamingDataLoader` over its own chunks, worker processes."""
    import litdata

    folder = Path(tempfile.gettempdir()) / "resume-peers-litdata"
    if not (folder / "index.json").exists():
        litdata.optimize(_read, _files(), output_dir=str(folder), chunk_bytes="2MB", num_workers=1, verbose=False)
    dataset = litdata.StreamingDataset(str(folder), shuffle=True, seed=0, transform=_pixels_of)
    loader = litdata.StreamingDataLoader(dataset, batch_size=BATCH_SIZE, num_workers=threads)
    return _Resumable(lambda: iter(loader), loader.state_dict, loader.load_state_dict)


def _read(path: str) -> tuple[str, bytes]:
    return Path(path).stem, Path(path).read_bytes()


def _pixels_of(example: tuple[str, bytes]) -> tuple[str, np.ndarray]:
    return example[0], PillowPixels(SIZE)(bytes(example[1]))


def grain_threads(threads: int = 2) -> _Resumable:
    """grain's `MapDataset` over the files, threads."""
    import grain

    dataset = grain.MapDataset.source(_files()).shuffle(seed=0).map(_load).batch(BATCH_SIZE, batch_fn=_collate)
    batches = iter(dataset.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4)))
    return _Resumable(lambda: batches, batches.get_state, batches.set_state)


def _collate(examples: Any) -> tuple[list[str], np.ndarray]:
    return [key for key, _ in examples], np.stack([pixels for _, pixels in examples])


def _as_json(value: Any) -> Any:
    """Tensors, bytes and whole-number keys as JSON can hold them."""
    import torch

    if isinstance(value, torch.Tensor):
        return {"__tensor__": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    if isinstance(value, dict):
        return {"__dict__": [[_as_json(key), _as_json(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return value


def _from_json(value: Any) -> Any:
    import torch

    if isinstance(value, dict) and "__tensor__" in value:
        return torch.tensor(value["__tensor__"], dtype=getattr(torch, value["dtype"]))
    if isinstance(value, dict):
        return {key: _from_json(item) for key, item in value["__dict__"]}
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    return value
