"""How much of the time a training on pictures waits for its data, which are decoded in threads meanwhile."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dirvae.training import Trainer
from gpu_parts.machine import BATCH_SIZE, IS_CUDA, in_memory, quiet, settings
from gpu_parts.pictures import make_model
from gpu_parts.resuming import SIDE, Noise, draw
from gpu_parts.stopwatch import Stopwatch
from pipelines import DataIterator, ImageIterator, ShardWriter

THREADS = min(os.cpu_count() or 1, 16) if IS_CUDA else 2
PRESET, JPEG_SIDE = ("base", 128) if IS_CUDA else ("tiny", 32)
NUM_EXAMPLES, NUM_PICTURES = (8192, 256) if IS_CUDA else (64, 8)
SOURCES = {"noise": SIDE, "JPEG": JPEG_SIDE}
"""Sides of the pictures by what they are: random numbers drawn in threads, or JPEGs in a shard."""


def fed(source: str) -> dict[str, Any]:
    """Examples per second in bf16, the share of the time that was waited for data, and synchronisations."""
    with tempfile.TemporaryDirectory() as scratch:
        if source == "JPEG":
            write_shard(Path(scratch))
        return in_memory(lambda batch_size: _measured(source, Path(scratch), batch_size), BATCH_SIZE)


def write_shard(folder: Path) -> None:
    """A shard of JPEGs: smooth colours and a little noise, each of them several times."""
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(NUM_PICTURES):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        smooth = np.asarray(small.resize((JPEG_SIDE, JPEG_SIDE), Image.Resampling.BICUBIC)).astype(np.int16)
        noisy = (smooth + rng.integers(-8, 9, smooth.shape)).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=90)
        encoded.append(file.getvalue())
    with ShardWriter(folder, "image") as writer:
        for number in range(NUM_EXAMPLES):
            writer.write(f"{number:06}", encoded[number % NUM_PICTURES], "jpg", width=JPEG_SIDE, height=JPEG_SIDE)


def _measured(source: str, folder: Path, batch_size: int) -> dict[str, Any]:
    options: dict[str, Any] = {"batch_size": batch_size, "shuffle": True, "threads": THREADS}
    if source == "JPEG":
        batches: DataIterator = ImageIterator(folder, size=JPEG_SIDE, **options)
    else:
        batches = DataIterator(Noise(NUM_EXAMPLES * 16), draw, **options)
    model = make_model(PRESET, SOURCES[source])
    trainer = Trainer(model, batches, config=settings(precision="bf16"))
    watch = Stopwatch(trainer._feed.take_wait_seconds)
    try:
        with quiet():
            trainer.fit(should_stop=watch)
    finally:
        watch.close()
    found = watch.found(batch_size)
    return {"source": source, "preset": PRESET, "size": SOURCES[source], "threads": THREADS, **found}
