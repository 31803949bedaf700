"""The peers that `images.py` compares, each as its users write it: by Pillow, and with our decoder plugged in.

A loader is a function of the set-up that returns `epoch`, which yields the number of pictures in each batch of one
shuffled pass. A peer that is not installed raises `ImportError`.
"""

from __future__ import annotations

import io
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.loaders import Epoch, Setup
from pipelines import Example
from pipelines.decode import ImageDecoder
from pipelines.order.randomness import Place

Pixels = Callable[[bytes], np.ndarray]
"""Encoded bytes to (3, height, width) uint8."""


class PillowPixels:
    """A centre crop by Pillow: what people write."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, data: bytes) -> np.ndarray:
        picture = Image.open(io.BytesIO(data)).convert("RGB")
        edge = min(picture.size)
        left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
        box = (left, top, left + edge, top + edge)
        resized = picture.resize((self.size, self.size), Image.Resampling.BILINEAR, box=box)
        return np.array(resized).transpose(2, 0, 1)


class OurPixels:
    """The same crop by our decoder, so that only the loaders differ."""

    def __init__(self, size: int) -> None:
        self.decoder = ImageDecoder(size=size)

    def __call__(self, data: bytes) -> np.ndarray:
        slots = self.decoder.allocate(1)
        assert slots is not None
        self.decoder.decode_into(Example(0, "", bytes(data)), slots[0], Place(0, 0, 0))
        return slots[0]


class FileDataset:
    """A map-style dataset over files."""

    def __init__(self, setup: Setup, pixels: Pixels) -> None:
        self.files = sorted(path for path in setup.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        import torch

        return torch.from_numpy(self.pixels(self.files[index].read_bytes()))


def torch_dataloader(setup: Setup, make_pixels: Callable[[int], Pixels]) -> Epoch:
    """torch's `DataLoader` over the files, worker processes."""
    from torch.utils.data import DataLoader

    loader = DataLoader(
        FileDataset(setup, make_pixels(setup.size)),  # type: ignore[arg-type]
        batch_size=setup.batch_size,
        shuffle=True,
        num_workers=setup.workers,
        persistent_workers=True,
    )
    return lambda: (len(batch) for batch in loader)


def webdataset_loader(setup: Setup, make_pixels: Callable[[int], Pixels]) -> Epoch:
    """webdataset's `WebDataset` and `WebLoader` over the same shards, worker processes."""
    import webdataset

    urls = [str(path) for path in sorted(setup.shards.glob("*.tar"))]
    pixels = make_pixels(setup.size)
    dataset = (
        webdataset.WebDataset(urls, shardshuffle=100, empty_check=False)
        .shuffle(1000)
        .to_tuple("jpg;jpeg")
        .map_tuple(pixels)
        .batched(setup.batch_size)
    )
    loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=setup.workers, persistent_workers=True)
    return lambda: (len(pictures) for (pictures,) in loader)


def grain_loader(setup: Setup, make_pixels: Callable[[int], Pixels]) -> Epoch:
    """grain's `MapDataset` over the files, threads."""
    import grain

    dataset = FileDataset(setup, make_pixels(setup.size))
    epochs = iter(range(1 << 30))

    def epoch() -> Iterator[int]:
        examples = (
            grain.MapDataset.source(dataset.files)
            .shuffle(seed=next(epochs))
            .map(lambda path: dataset.pixels(path.read_bytes()))
            .batch(setup.batch_size)
        )
        options = grain.ReadOptions(num_threads=setup.workers, prefetch_buffer_size=4 * setup.workers)
        for batch in examples.to_iter_dataset(options):
            yield len(batch)

    return epoch


def litdata_loader(setup: Setup, make_pixels: Callable[[int], Pixels]) -> Epoch:
    """litData's `StreamingDataset` over its own chunks, worker processes."""
    import litdata

    out = tempfile.mkdtemp(prefix="litdata-")
    files = [str(path) for path in FileDataset(setup, make_pixels(setup.size)).files]
    start_method = multiprocessing.get_start_method()
    litdata.optimize(
        _read_bytes, files, output_dir=out, chunk_bytes="16MB", num_workers=setup.workers, verbose=False
    )
    multiprocessing.set_start_method(start_method, force=True)  # it changes the whole program's to spawn
    pixels = make_pixels(setup.size)
    dataset = litdata.StreamingDataset(out, shuffle=True, transform=pixels)
    loader = litdata.StreamingDataLoader(dataset, batch_size=setup.batch_size, num_workers=setup.workers)
    return lambda: (len(batch) for batch in loader)


def _read_bytes(path: str) -> bytes:
    return Path(path).read_bytes()


def spdl_loader(setup: Setup, make_pixels: Callable[[int], Pixels]) -> Epoch:
    """spdl's pipeline over the files, threads."""
    from spdl.pipeline import PipelineBuilder

    dataset = FileDataset(setup, make_pixels(setup.size))
    generator = np.random.default_rng(0)

    def epoch() -> Iterator[int]:
        order = generator.permutation(len(dataset)).tolist()
        builder = (
            PipelineBuilder()
            .add_source([dataset.files[index] for index in order])
            .pipe(lambda path: dataset.pixels(path.read_bytes()), concurrency=setup.workers)
            .aggregate(setup.batch_size)
            .pipe(np.stack)
            .add_sink(3)
        )
        pipeline = builder.build(num_threads=setup.workers)
        with pipeline.auto_stop():
            for batch in pipeline:
                yield len(batch)

    return epoch


_BUILDERS: dict[str, Callable[[Setup, Callable[[int], Pixels]], Epoch]] = {
    "torch DataLoader, files": torch_dataloader,
    "webdataset": webdataset_loader,
    "grain": grain_loader,
    "litData": litdata_loader,
    "spdl": spdl_loader,
}

AS_WRITTEN: dict[str, Callable[[Setup], Epoch]] = {
    f"{name}, Pillow": partial(build, make_pixels=PillowPixels) for name, build in _BUILDERS.items()
}
WITH_OUR_DECODER: dict[str, Callable[[Setup], Epoch]] = {
    f"{name}, our decoder": partial(build, make_pixels=OurPixels) for name, build in _BUILDERS.items()
}
