"""The bank of harmonics, forward and backward, side by side with the two published forms.

    python benchmarks/ddsp.py [--rounds 5] [--threads 2] [--only 16k 44k]

ours          `harmonic_bank`
shared        one cumulative sum of the fundamental's phase, times k, and a sine of each
per harmonic  a cumulative sum of the phase of each harmonic, and a sine of each

Both published forms keep (batch, time, harmonic), are written here from the paper's formulas (Engel et al. 2020, arXiv
2001.04643) and get amplitudes by `F.interpolate`, the cheapest way there is. Inputs are the same: f0 and amplitudes at
250 rows per second, all with gradients. Each is measured in a fresh process that a small parent starts, by a run that
is not counted and one that is; they take turns. Threads that wait do not spin, so that CPU seconds are work. Printed
are the medians over the rounds: wall and CPU seconds, and the peak of memory above what the process had before.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

CASES = {"16k": (16_000, 100, 16), "44k": (44_100, 200, 4)}
"""Sample rate, harmonics, batch."""

SECONDS, FRAME_RATE = 4, 250
VARIANTS = ("ours", "shared", "per harmonic")


def published(f0: Any, amplitudes: Any, sample_rate: int, num_samples: int, *, shared: bool) -> Any:
    """A bank as published: f0 (batch, row) and amplitudes (batch, row, harmonic) → (batch, time)."""
    import math

    import torch
    import torch.nn.functional as F

    numbers = torch.arange(1, amplitudes.shape[2] + 1)
    hz = F.interpolate(f0[:, None], size=num_samples, mode="linear").transpose(1, 2)
    levels = F.interpolate(amplitudes.transpose(1, 2), size=num_samples, mode="linear").transpose(1, 2)
    step = 2 * math.pi / sample_rate * hz
    phases = step.cumsum(1) * numbers if shared else (step * numbers).cumsum(1)
    return (levels * phases.sin()).sum(2)


def run_once(variant: str, sample_rate: int, f0: Any, amplitudes: Any) -> None:
    """Forward and backward."""
    from dirvae.ddsp import Block, Curve, harmonic_bank

    num_samples = SECONDS * sample_rate
    if variant == "ours":
        block = Block(num_samples, sample_rate)
        sound, _ = harmonic_bank(Curve(f0, FRAME_RATE), Curve(amplitudes, FRAME_RATE), block)
    else:
        sound = published(f0, amplitudes, sample_rate, num_samples, shared=variant == "shared")
    sound.square().sum().backward()
    f0.grad = amplitudes.grad = None


def child(variant: str, case: str, threads: int) -> None:
    """Measure one variant in this process and print it as JSON."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    sample_rate, harmonics, batch = CASES[case]
    rows = SECONDS * FRAME_RATE
    f0 = (100 + 300 * torch.rand(batch, 1) + 20 * torch.rand(batch, rows)).requires_grad_()
    amplitudes = (torch.rand(batch, rows, harmonics) / harmonics).requires_grad_()
    run_once(
        variant, sample_rate, f0[:1, :3].detach().requires_grad_(), amplitudes[:1, :3].detach().requires_grad_()
    )
    before = peak_bytes()
    run_once(variant, sample_rate, f0, amplitudes)
    wall, cpu = time.perf_counter(), time.process_time()
    run_once(variant, sample_rate, f0, amplitudes)
    found = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "bytes": peak_bytes() - before}
    print(json.dumps(found))


def peak_bytes() -> int:
    """The most memory this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def measured(variant: str, case: str, threads: int) -> dict[str, float]:
    """One variant in a process of its own."""
    command = [sys.executable, __file__, "--child", variant, "--only", case, "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compare(case: str, rounds: int, threads: int) -> None:
    """Take turns and print the medians, and how many times ours each one takes."""
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant in VARIANTS:
            found[variant].append(measured(variant, case, threads))
    medians = {
        variant: {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        for variant, rows in found.items()
    }
    sample_rate, harmonics, batch = CASES[case]
    print(
        f"\n{SECONDS} s × {sample_rate:,} Hz × {harmonics} harmonics × batch {batch}, {threads} threads: median of "
        f"{rounds} rounds that took turns"
    )
    print(f"{'':14} {'wall s':>8} {'CPU s':>8} {'MB':>8} {'wall':>8} {'CPU':>8} {'memory':>8}   of ours")
    ours = medians["ours"]
    for variant, row in medians.items():
        ratios = " ".join(f"{row[key] / ours[key]:7.1f}×" for key in ("wall", "cpu", "bytes"))
        print(f"{variant:14} {row['wall']:8.3f} {row['cpu']:8.3f} {row['bytes'] / 1e6:8.0f} {ratios}")


def main(argv: list[str] | None = None) -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=tuple(CASES), default=tuple(CASES))
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.child:
        child(options.child, options.only[0], options.threads)
        return 0
    for case in options.only:
        compare(case, options.rounds, options.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
