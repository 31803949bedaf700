"""Playing an `AudioVAE` block by block, on one thread: time per block, and memory from the start to the end.

    python benchmarks/sound/stream.py [--minutes 10] [--sample-rate 44100] [--block 512] [--preset small]

A block has to be ready before it is over: at 44,100 Hz 512 samples last 11.6 ms. CPU is that of the playing thread
alone, wall includes what the machine does besides. The garbage collector is frozen and off, as in a player.
"""

from __future__ import annotations

import argparse
import gc
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dirvae.networks.audio import AudioVAE, DDSPStream

WARM_UP = 50
QUANTILES = {"median": 0.5, "p99": 0.99, "p99.9": 0.999, "most": 1.0}


def main() -> None:
    options = read_options()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    reverb = options.reverb_seconds or None
    model = AudioVAE(options.sample_rate, preset=options.preset, core=options.core, reverb_seconds=reverb).eval()
    stream = DDSPStream(model)
    num_blocks = round(options.minutes * 60 * options.sample_rate / options.block)
    cpu, wall = np.zeros(num_blocks), np.zeros(num_blocks)
    played = play(stream, options.block)
    for _ in range(WARM_UP):
        next(played)
    gc.collect()
    gc.freeze()
    gc.disable()
    before = resident_mb()
    for number in range(num_blocks):
        cpu[number], wall[number] = next(played)
    print_table(options, stream, cpu, wall)
    print(
        f"resident memory: {before:.1f} MB at the start, {resident_mb():.1f} MB at the end, {most_mb():.1f} MB at most"
    )
    print(f"state: {len(stream.to_bytes()) / 1000:.0f} kB")


def play(stream: DDSPStream, block: int) -> Iterator[tuple[float, float]]:
    """Seconds of CPU and of wall clock of one block after another, with pitch, loudness and timbre moving."""
    row = 0
    while True:
        rows = stream.rows_wanted(block)
        controls = moving(torch.arange(row, row + rows) / float(stream.model.control_rate), stream.model)
        cpu, wall = time.thread_time(), time.perf_counter()
        stream(*controls, block)
        yield time.thread_time() - cpu, time.perf_counter() - wall
        row += rows


def moving(seconds: Tensor, model: AudioVAE) -> tuple[Tensor, Tensor, Tensor]:
    f0 = 220 * 2 ** (seconds * 0.7).sin()
    loudness = -30 + 10 * (seconds * 3.1).sin()
    components = torch.arange(model.model_size)[:, None]
    return f0[None], loudness[None], (seconds + components).sin().softmax(0)[None]


def print_table(options: argparse.Namespace, stream: DDSPStream, cpu: np.ndarray, wall: np.ndarray) -> None:
    rate, delay = options.sample_rate, stream.latency_samples
    lasts = 1000 * options.block / rate
    print(f"{options.preset}, {len(cpu):,} blocks of {options.block} samples at {rate:,} Hz: {lasts:.2f} ms each")
    print(f"latency: {delay} samples, {1000 * delay / rate:.1f} ms")
    for name, share in QUANTILES.items():
        of_cpu, of_wall = (1000 * float(np.quantile(times, share)) for times in (cpu, wall))
        print(
            f"{name:>7}: CPU {of_cpu:6.2f} ms ({of_cpu / lasts:6.1%})   wall {of_wall:6.2f} ms ({of_wall / lasts:6.1%})"
        )


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def most_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="of sound")
    parser.add_argument("--sample-rate", type=int, default=44_100)
    parser.add_argument("--block", type=int, default=512, help="samples per block")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--reverb-seconds", type=float, default=0.5, help="0 for none")
    parser.add_argument("--core", help="gru or conv; that of the preset by default")
    return parser.parse_args()


if __name__ == "__main__":
    main()
