"""The loaders that `images.py` compares, each as its users write it.

A loader is a function of the set-up that returns `epoch`, which yields the number of pictures in each batch of one
shuffled pass. A peer that is not installed raises `ImportError`.
"""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines import ImageIterator, open_source
from pipelines.decode import ImageDecoder
from pipelines.randomness import Place

Epoch = Callable[[], Iterator[int]]


@dataclass(frozen=True)
class Setup:
    """What every loader is asked to do."""

    folder: Path
    shards: Path
    size: int
    batch_size: int
    workers: int


def pillow_pixels(data: bytes | Path, size: int) -> np.ndarray:
    """A centre crop of a picture as (size, size, 3) uint8, by Pillow: what people write."""
    picture = Image.open(io.BytesIO(data) if isinstance(data, bytes) else data).convert("RGB")
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    box = (left, top, left + edge, top + edge)
    return np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR, box=box))


def ours(setup: Setup) -> Epoch:
    """`ImageIterator` over shards, torch's resizer where torch is installed."""
    return _ours(setup, resizer="auto")


def ours_without_torch(setup: Setup) -> Epoch:
    """`ImageIterator` over shards, Pillow's resizer."""
    return _ours(setup, resizer="pillow")


def _ours(setup: Setup, *, resizer: str) -> Epoch:
    images = ImageIterator(
        setup.shards,
        size=setup.size,
        batch_size=setup.batch_size,
        shuffle=True,
        threads=setup.workers,
        resizer=resizer,  # type: ignore[arg-type]
    )
    return lambda: (len(batch) for batch in images)


def bare_loop(setup: Setup) -> Epoch:
    """As little as can be done: threads that read and decode in a fixed order, each into its slot of a batch."""
    source = open_source(setup.shards)
    decoder = ImageDecoder(size=setup.size)

    def decode(tasks: queue.SimpleQueue[tuple[np.ndarray, int, int] | None]) -> None:
        while (task := tasks.get()) is not None:
            data, slot, index = task
            decoder.decode_into(source.read([index])[0], data[slot], Place(0, 0, index))

    def epoch() -> Iterator[int]:
        tasks: queue.SimpleQueue[tuple[np.ndarray, int, int] | None] = queue.SimpleQueue()
        threads = [threading.Thread(target=decode, args=(tasks,)) for _ in range(setup.workers)]
        order = np.random.default_rng(0).permutation(len(source)).tolist()
        buffers = [decoder.allocate(setup.batch_size) for _ in range(2)]
        for place, index in enumerate(order):
            batch, slot = divmod(place, setup.batch_size)
            buffer = buffers[batch % 2]
            assert buffer is not None
            tasks.put((buffer, slot, index))
        for _ in threads:
            tasks.put(None)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        yield len(source)

    return epoch


class _Files:
    """A map-style dataset over files."""

    def __init__(self, setup: Setup) -> None:
        self.files = sorted(path for path in setup.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        self.size = setup.size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> object:
        import torch

        return torch.from_numpy(pillow_pixels(self.files[index], self.size).copy()).permute(2, 0, 1)


def torch_dataloader(setup: Setup) -> Epoch:
    """torch's `DataLoader` over the files, Pillow, worker processes."""
    from torch.utils.data import DataLoader

    loader = DataLoader(
        _Files(setup),  # type: ignore[arg-type]
        batch_size=setup.batch_size,
        shuffle=True,
        num_workers=setup.workers,
        persistent_workers=True,
    )
    return lambda: (len(batch) for batch in loader)


def webdataset_loader(setup: Setup) -> Epoch:
    """webdataset's `WebDataset` and `WebLoader` over the same shards, Pillow, worker processes."""
    import webdataset

    urls = [str(path) for path in sorted(setup.shards.glob("*.tar"))]

    def pixels(example: tuple[bytes]) -> np.ndarray:
        return pillow_pixels(example[0], setup.size).transpose(2, 0, 1)

    dataset = (
        webdataset.WebDataset(urls, shardshuffle=100, empty_check=False)
        .shuffle(1000)
        .to_tuple("jpg;jpeg")
        .map(pixels)
        .batched(setup.batch_size)
    )
    loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=setup.workers, persistent_workers=True)
    return lambda: (len(batch) for batch in loader)


LOADERS: dict[str, Callable[[Setup], Epoch]] = {
    "ours": ours,
    "ours, without torch": ours_without_torch,
    "bare loop, our decoder": bare_loop,
    "torch DataLoader, files, Pillow": torch_dataloader,
    "webdataset + WebLoader, Pillow": webdataset_loader,
}
