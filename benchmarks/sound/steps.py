"""Whether training slows down: CPU time of steps around step 300 and around step 3,000 of one run, in one process.

    python benchmarks/sound/steps.py SHARDS [--steps 3100] [--preset tiny] [--clip-seconds 0.25]

Printed are the median CPU milliseconds of 200 steps in the middle of each of ten equal parts, and the ratio of
steps 2,900 to 3,100 to steps 200 to 400. The run is written to a temporary folder, with checkpoints and evaluations.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards")
    parser.add_argument("--steps", type=int, default=3100)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--clip-seconds", type=float, default=0.25)
    options = parser.parse_args()
    import torch

    from dirvae.run.config import RunConfig
    from dirvae.run.session import settled, train_run
    from dirvae.training.objective import Bound

    torch.set_num_threads(1)
    data = {"source": options.shards, "clip_seconds": options.clip_seconds, "batch_size": 4}
    config = settled(RunConfig.of("audio", {**data, "preset": options.preset, "steps": options.steps}))
    read = config.task.read_batch
    assert read is not None
    bound = Bound(config.fit, lambda batch: read(config.data, batch))
    began: list[float] = []

    def timed(model: Any, batch: Any) -> Any:
        began.append(time.process_time())
        return bound(model, batch)

    with tempfile.TemporaryDirectory() as folder:
        train_run(config, Path(folder), loss=timed)
    spent = [1000 * (after - before) for before, after in itertools.pairwise(began)]
    part = len(spent) // 10
    middles = [
        statistics.median(spent[start + part // 2 - 100 : start + part // 2 + 100])
        for start in range(0, 10 * part, part)
    ]
    print("median CPU ms of a step, ten parts:", " ".join(f"{middle:.1f}" for middle in middles))
    early, late = statistics.median(spent[200:400]), statistics.median(spent[2900:3100])
    print(f"around step 300: {early:.1f} ms, around step 3,000: {late:.1f} ms, ratio {late / early:.3f}")


if __name__ == "__main__":
    main()
