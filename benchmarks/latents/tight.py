"""How far the likelihoods of the tables lie above the truth: python benchmarks/latents/tight.py --data FOLDER.

Takes the runs that run.py trained and measures some test images again: with draws of the posterior as in the tables,
with draws of the width that is tightest, and with more of these. One JSON a run in benchmarks/latents/results.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from binarisation import draw_all
from digits import DATASETS, Digits, load_digits
from experiment import ROWS, TEST_SEED, train
from jobs import RESULTS, SHORT, Job
from models import MODELS
from run import RUNS
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.evaluate import choose_width, estimate_likelihood
from dirvae.run.folder import hold_run, write_json
from dirvae.training import TrainingError
from pipelines.order.epoch_order import permutation

MORE = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is missing: 0, or 1 for an error."""
    options = _parser().parse_args(argv)
    torch.set_num_threads(options.threads)
    data = load_digits(options.dataset, options.data)
    for name in options.only or MODELS:
        job = Job(options.dataset, name, SHORT, options.seed)
        path = options.results / f"tight-{job.name}.json"
        if path.exists():
            continue
        try:
            content = _measured(job, data, options)
        except TrainingError as error:
            print(f"error: {job.name}: {error}", file=sys.stderr)
            return 1
        options.results.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
        rows = ", ".join(
            f"{row['nll']:.2f} ({row['samples']} draws of width {row['width']:g})" for row in content["estimates"]
        )
        print(f"{job.name}: {rows}; bound {content['negative_bound']:.2f}", flush=True)
    return 0


def _measured(job: Job, data: Digits, options: argparse.Namespace) -> dict[str, Any]:
    run = options.runs / job.run_name
    if not (run / "checkpoints").is_dir():
        raise TrainingError(f"{run}: is not there. Train it with run.py first, or name another folder with --runs.")
    with hold_run(run):
        model = train(job, data, run)
    assert model is not None  # nothing asks it to stop
    test = draw_all(data.test.pixels, seed=TEST_SEED)
    x = test[torch.from_numpy(permutation(len(test), TEST_SEED)[: options.images])]
    began = time.perf_counter()
    estimates, bound = tight_estimates(model, x, samples=options.samples)
    return {
        "version": 1,
        **asdict(job),
        "images": len(x),
        "negative_bound": bound,
        "estimates": estimates,
        "seconds": round(time.perf_counter() - began, 1),
    }


def tight_estimates(model: AutoEncoder, x: Tensor, *, samples: int) -> tuple[list[dict[str, Any]], float]:
    """NLLs of images by draws of the posterior, by as many of the best width, and by more of these; and -ELBO."""
    width = choose_width(model, x, samples=samples, rows=ROWS, seed=TEST_SEED)
    plain, bound = _estimate(model, x, samples, 1.0)
    same = plain if width == 1 else _estimate(model, x, samples, width)[0]
    return [plain, same, _estimate(model, x, MORE * samples, width)[0]], bound


def _estimate(model: AutoEncoder, x: Tensor, samples: int, width: float) -> tuple[dict[str, Any], float]:
    means = estimate_likelihood(model, x, samples=samples, rows=ROWS, seed=TEST_SEED, width=width).means()
    kept = {name: means[name] for name in ("nll", "nll_standard_error", "effective_samples")}
    return {"samples": samples, "width": width, **kept}, means["negative_bound"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure likelihoods of finished runs more tightly.")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds mnist/ and omniglot/")
    parser.add_argument("--dataset", choices=sorted(DATASETS), default="mnist", help="data set (default mnist)")
    parser.add_argument("--only", nargs="+", choices=sorted(MODELS), help="only these models")
    parser.add_argument("--seed", type=int, default=2, help="seed of the runs (default 2)")
    parser.add_argument("--images", type=int, default=500, help="test images (default 500)")
    parser.add_argument(
        "--samples", type=int, default=1000, help=f"draws an image; {MORE} times as many at the end"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads (default 1)")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where run.py left the runs (default runs/latents)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results go (default beside this file)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
