"""A vector, a map, and both levels, compared on sample scenes at 64 pixels.

    python benchmarks/levels.py FOLDER [--seeds 0 1 2] [--steps 800] [--levels vector map both]

makes 600 sample scenes and 1,000 others in FOLDER, trains the runs that are missing (two to three minutes of one core
each) and prints a line per run and the means over the seeds: held-out numbers, R² of a linear map from the vector (or
the mean of a map's cells) to each factor of the other scenes, and squared Fréchet distances of samples from them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae import load_model
from dirvae.evaluate.factor_columns import factors_of
from dirvae.evaluate.factors import associate
from dirvae.levels import has_map
from dirvae.train import main as train
from pipelines import ImageIterator, make_shards
from pipelines.samples import make_sample_data

SETS = (("scenes", 600, 0), ("others", 1000, 1))
"""Folder, number and seed of the scenes to train on, and of the others."""
LEVELS: dict[str, list[str]] = {
    "vector": [],
    "map": ["--levels", "map", "--model-size", "16"],
    "both": ["--levels", "both"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--levels", nargs="+", choices=LEVELS, default=list(LEVELS))
    options = parser.parse_args()
    scenes, others = (make_scenes(options.folder / name, num, seed) for name, num, seed in SETS)
    x, factors = read(others)
    for levels in options.levels:
        rows = []
        for seed in options.seeds:
            run = options.folder / "runs" / f"{levels}-{seed}"
            if not (run / "summary.json").exists():
                flags = ["--shards", str(scenes), "--steps", str(options.steps), "--seed", str(seed)]
                if train([*flags, *LEVELS[levels], "--out", str(run)]):
                    sys.exit(1)
            rows.append(measure(run, x, factors))
            print(f"{levels} {seed}: {shown(rows[-1])}", flush=True)
        print(f"{levels}, mean: {shown({name: mean_of(rows, name) for name in rows[0]})}")


def make_scenes(folder: Path, num: int, seed: int) -> Path:
    """Shards of sample scenes."""
    if not (folder / "image").exists():
        make_sample_data(folder / "image", num=num, seed=seed)
        make_shards(folder / "image", folder / "shards", workers=0, progress=False)
    return folder / "shards"


def read(shards: Path) -> tuple[Tensor, list[dict[str, Any]]]:
    """Scenes (num, 3, 64, 64) in [0, 1], and their factors."""
    batches = list(ImageIterator(str(shards), size=64, batch_size=100, fields=("json",), threads=1))
    x = torch.cat([torch.from_numpy(batch.data.copy()).float() / 255 for batch in batches])
    return x, [entry for batch in batches for entry in batch.fields["json"]]


@torch.inference_mode()
def measure(run: Path, x: Tensor, factors: list[dict[str, Any]]) -> dict[str, float]:
    """Numbers of a run: those of its held-out scenes, R² and distances of samples for other scenes."""
    evaluation = json.loads((run / "summary.json").read_text("utf-8"))["evaluation"]
    names = ("psnr_db", "global_psnr_db", "bound", "global_bound", "kl", "kl_global", "kl_map", "lost_by_exchange")
    found = {name: evaluation[name] for name in names if name in evaluation}
    model = load_model(run, which="last")
    latents = torch.cat([model.encode(part).mean for part in x.split(100)])
    for one in associate(latents, factors_of(factors, circular=("hue", "turn"))):
        found[f"R² {one.name}"] = one.linear
    found["from the prior"] = distance(model, None, x)
    found["from the fitted one"] = distance(model, model.fitted_prior, x)
    made = torch.cat([model.reconstruct(part) for part in x.split(100)])
    found["of reconstructions"] = frechet(thumbnails(made), thumbnails(x))
    if has_map(model):
        found["fitted, without maps"] = distance(model, model.fitted_prior, x, with_map=False)
    return found


def distance(model: Any, prior: Any, x: Tensor, *, with_map: bool = True) -> float:
    """Squared Fréchet distance of as many samples from the scenes."""
    generator = torch.Generator().manual_seed(0)
    source = model.latent.prior if prior is None else prior
    parts = []
    for _ in range(len(x) // 100):
        if with_map:
            parts.append(model.sample(100, prior=prior, generator=generator))
        else:
            parts.append(model.decode(source.sample(100, generator=generator)))
    return frechet(thumbnails(torch.cat(parts)), thumbnails(x))


def thumbnails(x: Tensor) -> Tensor:
    """Pictures averaged to 8 × 8 pixels: (num, 192) float64."""
    return F.adaptive_avg_pool2d(x.clamp(0, 1), 8).flatten(1).double()


def frechet(one: Tensor, other: Tensor) -> float:
    """Squared Fréchet distance between the normals with the means and covariances of rows (num, dim)."""
    covariances = [torch.cov(rows.T) for rows in (one, other)]
    values, vectors = torch.linalg.eigh(covariances[0])
    root = vectors @ values.clamp(min=0).sqrt().diag() @ vectors.T
    both = torch.linalg.eigvalsh(root @ covariances[1] @ root).clamp(min=0).sqrt().sum()
    apart = (one.mean(0) - other.mean(0)).square().sum()
    return float(apart + covariances[0].trace() + covariances[1].trace() - 2 * both)


def mean_of(rows: list[dict[str, float]], name: str) -> float:
    return statistics.fmean(row[name] for row in rows)


def shown(row: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:,.2f}" for name, value in row.items())


if __name__ == "__main__":
    main()
