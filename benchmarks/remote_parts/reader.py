"""A loader in a process of its own, with a cold cache: prints how many examples came, and its seconds and CPU seconds.

python reader.py LOADER URL raw|decoded CACHE [EXAMPLES]      LOADER: ours, webdataset, litdata, pack
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import numpy as np

SIZE, BATCH_SIZE, WORKERS = 256, 64, 2


def ours(url: str, cache: str, decoded: bool) -> Iterator[int]:
    """Our iterator, shuffled in windows of four shards, whole shards through the cache."""
    os.environ["DIRVAE_CACHE"] = cache
    from pipelines import DataIterator, ImageIterator, open_source
    from pipelines.storage.remote.reading import RemoteReading
    from pipelines.storage.remote.remote_store import RemoteOptions

    settings = {"endpoint": os.environ["AWS_ENDPOINT_URL"]} if url.startswith("s3:") else {}
    source = open_source(url, remote=RemoteReading(options=RemoteOptions(storage_options=settings)))
    order: dict[str, Any] = {"shuffle": True, "shuffle_shards": 4, "batch_size": BATCH_SIZE, "threads": WORKERS}
    if decoded:
        yield from map(len, ImageIterator(source, size=SIZE, **order))
        return
    yield from map(len, DataIterator(source, lambda example, rng: np.array(len(example.media)), **order))


def webdataset(url: str, cache: str, decoded: bool) -> Iterator[int]:
    """webdataset as its users write it, by curl; it keeps nothing and compares nothing."""
    import webdataset

    names = json.loads((Path(cache) / "names.json").read_text())
    urls = [f"pipe:curl -s -L {url}/{name}" for name in names]
    dataset = webdataset.WebDataset(urls, shardshuffle=100, empty_check=False).shuffle(300)
    dataset = dataset.to_tuple("jpg;jpeg").map_tuple(Pixels() if decoded else len).batched(BATCH_SIZE)
    for (examples,) in webdataset.WebLoader(dataset, batch_size=None, num_workers=WORKERS):
        yield len(examples)


def litdata(url: str, cache: str, decoded: bool) -> Iterator[int]:
    """litData's dataset and loader."""
    from litdata import StreamingDataLoader, StreamingDataset
    from litdata.streaming import downloader

    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # it refuses the server of this machine otherwise
    access = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"], "region_name": "us-east-1"}
    dataset = StreamingDataset(
        url, cache_dir=cache, shuffle=True, drop_last=False, storage_options=access, transform=Taken(decoded)
    )
    for batch in StreamingDataLoader(dataset, batch_size=BATCH_SIZE, num_workers=WORKERS):
        yield len(batch)


class Taken:
    """What is made of an example of litData: its pixels, or its number of bytes."""

    def __init__(self, decoded: bool) -> None:
        self.decoded, self.pixels = decoded, Pixels()

    def __call__(self, example: Any, *_: Any) -> Any:
        return self.pixels(example) if self.decoded else len(example)


class Pixels:
    """Our decoder, in every loader: so only the loaders differ."""

    def __init__(self) -> None:
        self.decoder: Any = None

    def __call__(self, content: bytes) -> np.ndarray:
        from pipelines import Example
        from pipelines.decode import ImageDecoder
        from pipelines.order.randomness import Place

        if self.decoder is None:
            self.decoder = ImageDecoder(size=SIZE)
        slots = self.decoder.allocate(1)
        self.decoder.decode_into(Example(0, "", bytes(content)), slots[0], Place(0, 0, 0))
        found: np.ndarray = slots[0]
        return found


def pack(shards: str, folder: str) -> None:
    """The same examples in litData's format."""
    from litdata.streaming.writer import BinaryWriter

    from pipelines import open_source

    source = open_source(shards)
    writer = BinaryWriter(folder, chunk_bytes=int(os.environ.get("CHUNK_BYTES", 8 << 20)))
    for index in range(len(source)):
        writer.add_item(index, bytes(source[index].media))
    writer.done()
    writer.merge()


def cpu_seconds() -> float:
    """Of this process, and of its workers that have ended."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime + used.ru_stime for used in both)


def main(loader: str, url: str, mode: str, cache: str, most: str = "0") -> None:
    """Run one loader over one epoch, or until it has delivered `most` examples."""
    if loader == "pack":
        pack(url, cache)
        return
    made = {"ours": ours, "webdataset": webdataset, "litdata": litdata}[loader](url, cache, mode == "decoded")
    import torch.utils.data  # noqa: F401 (both peers import it, before the clock starts)

    if loader != "ours":
        __import__(loader)
    else:
        __import__("pipelines.iterators.image")
    began, used, num = time.perf_counter(), cpu_seconds(), 0
    for delivered in made:
        num += delivered
        if 0 < int(most) <= num:
            break
    found = {"examples": num, "seconds": time.perf_counter() - began, "cpu_seconds": cpu_seconds() - used}
    print(json.dumps(found), flush=True)
    os._exit(0)  # workers of a loader that was broken off would be waited for


if __name__ == "__main__":
    main(*sys.argv[1:])
