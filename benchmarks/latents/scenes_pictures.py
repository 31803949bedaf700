"""One picture per component, from the runs of scenes.py: python benchmarks/latents/scenes_pictures.py.

docs/pictures/scenes-MODEL.png             a row a component: what is decoded while it grows, from its 1st
                                           percentile over the mean of the data to its 99th
docs/pictures/scenes-reconstructions.png   held-out scenes, and below them what each model makes of them
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scenes import RUNS
from scenes_jobs import MODELS, RESULTS, SceneJob
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.drawing.pictures import to_pixels
from dirvae.metrics import is_simplex
from dirvae.run.config import read_config
from dirvae.tasks.data import open_data
from dirvae.tasks.image import IMAGE
from dirvae.training import TrainConfig, TrainingError, load_model
from dirvae.training.feed import to_device

__all__ = ["component_rows", "grown", "label_of", "main"]

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
PERCENTILES = (0.01, 0.99)
TILE, GAP, LABEL, TEXT, LEVELS = 64, 2, 118, 12, 6
SHOWN = 14


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the pictures: 0, or 1 with one sentence where a run or its result is missing."""
    options = _parser().parse_args(argv)
    reconstructions: list[tuple[str, Tensor]] = []
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.models:
        job = SceneJob(name, options.model_size, options.seed)
        result = job.result(options.results)
        if result is None:
            print(f"error: {job.name} was not run yet; run scenes.py.", file=sys.stderr)
            return 1
        try:
            model, images = _load(job, options.runs / job.name)
        except TrainingError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        with torch.inference_mode():
            latents = model.encode(images).mean
            rows = component_rows(model, latents)
            restored = model.decode(latents[:SHOWN])
        order = by_effect(rows)
        labels = [label_of(result, component) for component in order]
        _save(options.out / f"scenes-{name}.png", labels, [rows[component] for component in order], blocks=2)
        reconstructions = reconstructions or [("held out", images[:SHOWN])]
        reconstructions.append((name, restored))
    names, pictures = zip(*reconstructions, strict=True)
    _save(options.out / "scenes-reconstructions.png", names, pictures, blocks=1)
    return 0


def _load(job: SceneJob, run: Path) -> tuple[AutoEncoder, Tensor]:
    """The best model of a run and its held-out scenes (num, 3, side, side)."""
    config = TrainConfig(**read_config(run).settings())
    model = load_model(run, model=job.make_model(config))
    data = open_data(IMAGE.open_iterator, config, modality="image", seed=config.seed)
    try:
        held_out = data.held_out
        if held_out is None:
            raise TrainingError(f"{run}: no scenes were held out.")
        parts = [to_device(batch.data, torch.device("cpu")) for batch in held_out]
    finally:
        data.close()
    return model, torch.cat(parts)


def grown(center: Tensor, component: int, values: Tensor) -> Tensor:
    """The latent `center` (model_size,) with one component at each of `values`: (num, model_size).

    On the simplex the others share what is left in the proportions they have.
    """
    latents = center.repeat(len(values), 1)
    if is_simplex(center[None]):
        latents *= ((1 - values) / (1 - center[component]).clamp(min=1e-6))[:, None]
    latents[:, component] = values
    return latents


def component_rows(model: AutoEncoder, latents: Tensor) -> list[Tensor]:
    """For each component of posterior means (num, model_size) four pictures (4, 3, side, side) of it growing.

    At its 1st percentile, half-way from there to its mean, half-way on from the mean, and at its 99th percentile.
    """
    center = latents.mean(0)
    rows = []
    for component, mean in enumerate(center):
        low, high = latents[:, component].quantile(torch.tensor(PERCENTILES)).unbind()
        values = torch.stack([low, (low + mean) / 2, (mean + high) / 2, high])
        rows.append(model.decode(grown(center, component, values)).clamp(0, 1))
    return rows


def by_effect(rows: list[Tensor]) -> list[int]:
    """Components by how much the picture changes from the first of a row to its last, the strongest first."""
    changes = torch.stack([(row[-1] - row[0]).square().mean() for row in rows])
    order: list[int] = changes.argsort(descending=True).tolist()
    return order


def label_of(result: dict[str, Any], component: int) -> str:
    """The component's number and the two factors it holds most of, a hundredth of their entropy or more.

    A factor that is text is told by that of its values which the component holds most of, if that is more.
    """
    held: dict[str, tuple[float, str]] = {}
    for row in (*result["factors"], *result["categories"]):
        factor, _, value = row["factor"].partition("=")
        held[factor] = max(held.get(factor, (0.0, "")), (row["shares"][component], value or factor))
    told = [f"{name} {share:.2f}" for share, name in sorted(held.values(), reverse=True)[:2] if share >= 0.01]
    return "\n".join([f"component {component}", *(told or ["no factor"])])


def _save(path: Path, labels: Sequence[str], rows: Sequence[Tensor], *, blocks: int) -> None:
    """Labelled rows of pictures on white, in this many blocks beside each other, as a PNG."""
    lines = -(-len(rows) // blocks)
    width = LABEL + max(map(len, rows)) * (TILE + GAP)
    sheet = Image.new("RGB", (blocks * width, lines * (TILE + GAP)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=TEXT)
    for number, (label, row) in enumerate(zip(labels, rows, strict=True)):
        block, line = divmod(number, lines)
        left, top = block * width, line * (TILE + GAP)
        draw.multiline_text((left + 6, top + 2), label, fill="black", font=font, spacing=2)
        for column, tile in enumerate(_tiles(row)):
            sheet.paste(tile, (left + LABEL + column * (TILE + GAP), top))
    sheet.save(path, optimize=True)


def _tiles(pictures: Tensor) -> list[Image.Image]:
    """Pictures as tiles, their levels in steps of `LEVELS`: half the bytes, and hardly to be seen."""
    pixels: NDArray[np.uint8] = to_pixels(pictures) // LEVELS * LEVELS + LEVELS // 2
    return [Image.fromarray(one).resize((TILE, TILE), Image.Resampling.NEAREST) for one in pixels]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Draw what components do, from the runs of scenes.py.")
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=["gaussian", "dirichlet"])
    parser.add_argument("--model-size", type=int, default=16, help="components of the latent (default 16)")
    parser.add_argument("--seed", type=int, default=0, help="of the runs (default 0)")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where the runs are (runs/scenes)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are (beside this file)")
    parser.add_argument("--out", type=Path, default=PICTURES, help="where pictures go (docs/pictures)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
