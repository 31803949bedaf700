"""The cost of writing arrays: `python -m dirvae.encode` against a plain loop of decoding, encoding and drawing.

    python benchmarks/encode.py RUN [--rounds 3]

measures both in turns in one process, and prints their CPU seconds and the ratio of their throughputs: 1 means that
writing costs nothing. The run must be of images; one thread reads them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from dirvae import load_model
from dirvae.run.config import read_config
from dirvae.run.encode_config import EncodeConfig
from dirvae.run.encode_run import encode_run
from pipelines import ImageIterator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    plain, written = [], []
    plain_loop(options.run)  # caches of the system and of the allocators, and imports
    encoding(options.run)
    for _ in range(options.rounds):
        plain.append(cpu_seconds(plain_loop, options.run))
        written.append(cpu_seconds(encoding, options.run))
    ratio = statistics.median(a / b for a, b in zip(plain, written, strict=True))
    print(f"plain loop {statistics.median(plain):.2f} CPU s, encoding {statistics.median(written):.2f} CPU s")
    print(f"throughput of the encoding: {ratio:.3f} of the plain loop's")


def cpu_seconds(work: Callable[[Path], None], run: Path) -> float:
    begin = time.process_time()
    work(run)
    return time.process_time() - begin


@torch.inference_mode()
def plain_loop(run: Path) -> None:
    """Decode, encode and draw once for each example; keep nothing."""
    data, model = read_config(run).data, load_model(run)
    images = ImageIterator(data.source, size=data.size, batch_size=32, shuffle=False, threads=1, tail="keep")
    for batch in images:
        posterior = model.encode(torch.from_numpy(batch.data).float() / 255)
        posterior.rsample()
    images.close()


def encoding(run: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        encode_run(run, Path(folder) / "latents.zarr", EncodeConfig(threads=1))


if __name__ == "__main__":
    main()
