"""Iterators described as JSON, and what they deliver as keys and digests: for golden files of earlier versions.

It uses public names of `pipelines` alone, so that an earlier version can be run with it as well.
"""

from __future__ import annotations

import hashlib
import json
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import pipelines
from pipelines import DataIterator, hold_out, mix, open_source

__all__ = ["NEXT_BATCHES", "build", "play"]

NEXT_BATCHES = 3
"""How many batches of the epoch after the saved one are compared."""


def build(spec: dict[str, Any], folder: Path, **changes: Any) -> Any:
    """The iterator that a spec describes.

    {"iterator": name, "source": ..., "settings": {...}}; a mixture has "parts", specs, instead of a source. A source
    is a path below `folder`, a list of them, or {"of": source, "hold_out": fraction, "part": 0 or 1}.
    """
    settings = {**spec["settings"], **changes}
    if spec["iterator"] == "mix":
        return mix([build(part, folder) for part in spec["parts"]], **settings)
    source = opened(spec["source"], folder, "audio" if spec["iterator"] == "AudioIterator" else "image")
    if spec["iterator"] == "DataIterator":
        return DataIterator(source, bytes_and_draws, **settings)
    return getattr(pipelines, spec["iterator"])(source, **settings)


def opened(source: Any, folder: Path, modality: str) -> Any:
    if isinstance(source, dict):
        whole = open_source(opened(source["of"], folder, modality), modality=modality)
        return hold_out(whole, source["hold_out"], seed=source["seed"])[source["part"]]
    return [str(folder / name) for name in source] if isinstance(source, list) else str(folder / source)


def bytes_and_draws(example: Any, rng: np.random.Generator) -> np.ndarray:
    """(3,) int64: size and sum of an example's bytes, and a draw that depends on its place in the run."""
    content = np.frombuffer(example.media, np.uint8)
    return np.array([len(content), content.sum(), rng.integers(1 << 40)])


def play(iterator: Any, *, digests: bool) -> list[list[dict[str, Any]]]:
    """The rest of the epoch in progress, and the first batches of the next, as `entry` describes them."""
    rest = [entry(batch, digests=digests) for batch in iterator]
    return [rest, [entry(batch, digests=digests) for batch in islice(iterator, NEXT_BATCHES)]]


def entry(batch: Any, *, digests: bool) -> dict[str, Any]:
    """A batch's keys; with `digests` the SHA-256 of each example's array, cut to 64 bits, and one of the fields."""
    found: dict[str, Any] = {"keys": list(batch.keys)}
    if digests:
        found["arrays"] = [digest(array) for array in batch.data]
    if batch.lengths is not None:
        found["lengths"] = [int(length) for length in batch.lengths]
    fields = {name: digest(value) for name, value in sorted(batch.fields.items()) if "@" not in name}
    if fields:  # `NAME@start` came after the golden files
        found["fields"] = fields
    return found


def digest(value: Any) -> str:
    """Of an array its dtype, shape and bytes in C order; of anything else its JSON."""
    if isinstance(value, np.ndarray | np.generic):
        array = np.ascontiguousarray(value)
        told = f"{array.dtype.str}{np.shape(value)}".encode() + array.tobytes()
    else:
        told = json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(told).hexdigest()[:16]
