"""How near a small decoder comes to the large one that taught it: both losses on the same held-out clips.

    python -m dirvae.train --shards SHARDS --type audio --preset full --out runs/full
    python benchmarks/sound/distil.py runs/full runs/tiny [--preset tiny] [--steps 1500] [--learning-rate 0.001]

Printed, and written to `results/NAME.json` beside this file, are what `dirvae.evaluate` finds of teacher and student,
the ratio of their spectral losses, and that of a student before it was taught.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

RESULTS = Path(__file__).resolve().parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", type=Path)
    parser.add_argument("student", type=Path)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--name", default="distil")
    options = parser.parse_args()
    import torch

    from dirvae import load_model
    from dirvae.evaluate.sounds import HeldOutSounds
    from dirvae.run.config import read_config
    from dirvae.run.distillation import distil_run, make_student
    from dirvae.tasks.audio import AUDIO, clips_of
    from dirvae.tasks.data import open_data

    torch.set_num_threads(1)
    began = time.process_time()
    rate = options.learning_rate
    distil_run(options.teacher, options.student, preset=options.preset, steps=options.steps, learning_rate=rate)
    seconds = time.process_time() - began
    config = read_config(options.teacher)
    settings: Any = config.data
    data = open_data(AUDIO.open_iterator, settings, modality="audio", seed=config.fit.seed)
    assert data.held_out is not None
    teacher: Any = load_model(options.teacher, which="last")
    models = {
        "teacher": teacher,
        "student": load_model(options.student, which="last"),
        "untaught": make_student(teacher, preset=options.preset, seed=config.fit.seed).eval(),
    }
    measure = HeldOutSounds(data.held_out, clips_of(settings), seed=config.fit.seed)
    found = {name: measure(model) for name, model in models.items()}
    data.close()
    losses = {name: numbers["reconstruction"] for name, numbers in found.items()}
    content = {
        "preset": options.preset,
        "steps": options.steps,
        "learning_rate": rate,
        "cpu_seconds": round(seconds),
        "ratio": losses["student"] / losses["teacher"],
        "ratio_untaught": losses["untaught"] / losses["teacher"],
        "weights": {
            name: sum(value.numel() for value in model.decoder.parameters()) for name, model in models.items()
        },
        **found,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{options.name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
