"""Two processes of one thread beside one process of two threads: python benchmarks/processes.py SHARDS [--rounds 3].

Examples per second of the same training (tiny network, 64×64 pixels, batches of 32), from the run's own metrics, in
interleaved rounds; the median of all lines but the first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description="Examples per second of one and of two processes.")
    parser.add_argument("shards")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    found: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(options.rounds):
        for num, speeds in found.items():
            speeds += measure(num, options.shards, options.steps)
    one, two = (statistics.median(found[num]) for num in (1, 2))
    print(
        f"1 process of 2 threads: {one:.0f} examples/s; 2 processes of 1 thread: {two:.0f}; ratio {two / one:.2f}"
    )


def measure(num: int, shards: str, steps: int) -> list[float]:
    """Examples per second of a run, per line of metrics."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(2 // num), "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
        command += [f"--nproc-per-node={num}", "-m", "dirvae.train", "--shards", str(Path(shards).resolve())]
        command += ["--steps", str(steps), "--log-every", "10", "--held-out", "0", "--kl-warmup", "0"]
        command += ["--threads", str(2 // num), "--out", f"{folder}/run"]
        subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True)
        lines = Path(folder, "run", "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [row["examples_per_second"] for row in rows if row["kind"] == "train"][1:]


if __name__ == "__main__":
    main()
