"""Bias and spread of every Dirichlet estimator: of its draws, and of the gradient it gives.

    python benchmarks/latents/estimators.py          # a few minutes; writes results/estimators.json
    python benchmarks/latents/tables.py              # puts the tables into the docs

For a symmetric Dirichlet of K components with concentration a, the gradients of E[z_0], E[z_0²] and E[log z_0] by a_0
have closed forms. Each estimator's gradients over many draws are compared with them: their mean (bias) and their
standard deviation, both in units of the true gradient. "torch" is `torch.distributions.Dirichlet`.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor
from tqdm import tqdm

from dirvae.latents.estimators import ESTIMATORS

__all__ = ["CONCENTRATIONS", "SIZES", "measure"]

RESULTS = Path(__file__).resolve().parent / "results"
CONCENTRATIONS = (0.05, 0.3, 0.98, 5.0, 50.0)
SIZES = (3, 50)
NUM_DRAWS = 200_000
DRAWS_AT_A_TIME = 20_000
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "z": lambda log_z: log_z[:, 0].exp(),
    "z²": lambda log_z: (2 * log_z[:, 0]).exp(),
    "log z": lambda log_z: log_z[:, 0],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=NUM_DRAWS, help="draws a setting (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS / "estimators.json", help="where to write")
    arguments = parser.parse_args()
    settings = [(name, a, size) for size in SIZES for a in CONCENTRATIONS for name in (*ESTIMATORS, "torch")]
    rows = [measure(*setting, num_draws=arguments.draws) for setting in tqdm(settings)]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    content = {"version": 1, "kind": "estimators", "draws": arguments.draws, "rows": rows}
    arguments.out.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measure(estimator: str, concentration: float, size: int, *, num_draws: int) -> dict[str, Any]:
    """What one estimator does at one symmetric Dirichlet, as JSON values.

    "spread": variance of its z_0 over the true one. For each function of z "bias", of the gradient's mean, "error",
    the standard error of that, and "deviation" of one draw's gradient, all as shares of the true gradient.
    """
    truth = _true_gradients(concentration, size)
    gradients: dict[str, list[Tensor]] = {name: [] for name in FUNCTIONS}
    shares: list[Tensor] = []
    for rows, log_z in _draws(estimator, concentration, size, num_draws):
        for name, function in FUNCTIONS.items():
            (gradient,) = torch.autograd.grad(function(log_z).sum(), rows, retain_graph=True)
            gradients[name].append(gradient[:, 0].double())
        shares.append(log_z[:, 0].detach().double().exp())
    variance = (1 / size) * (1 - 1 / size) / (size * concentration + 1)
    result: dict[str, Any] = {"estimator": estimator, "concentration": concentration, "size": size}
    result["spread"] = _rounded(torch.cat(shares).var() / variance)
    for name, parts in gradients.items():
        relative = torch.cat(parts) / truth[name]
        deviation = relative.std()
        error = deviation / math.sqrt(len(relative))
        values = {"bias": relative.mean() - 1, "error": error, "deviation": deviation}
        result[name] = {key: _rounded(value) for key, value in values.items()}
    return result


def _draws(estimator: str, concentration: float, size: int, num_draws: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Concentrations (rows, K) that need gradients, and the logs of draws from them, in float32."""
    for start in range(0, num_draws, DRAWS_AT_A_TIME):
        num = min(DRAWS_AT_A_TIME, num_draws - start)
        rows = torch.full((num, size), concentration, requires_grad=True)
        if estimator == "torch":
            torch.manual_seed(start)
            yield rows, torch.distributions.Dirichlet(rows).rsample().log()
        else:
            logits = ESTIMATORS[estimator](rows, Generator().manual_seed(start))
            yield rows, torch.log_softmax(logits, dim=1)


def _true_gradients(concentration: float, size: int) -> dict[str, float]:
    a = torch.tensor(concentration, dtype=torch.float64)
    total = size * a
    mean_square = a * (a + 1) / (total * (total + 1))
    log_slope = 1 / a + 1 / (a + 1) - 1 / total - 1 / (total + 1)
    return {
        "z": float((total - a) / total**2),
        "z²": float(mean_square * log_slope),
        "log z": float(torch.polygamma(1, a) - torch.polygamma(1, total)),
    }


def _rounded(value: Tensor) -> float | None:
    number = float(value)
    return float(f"{number:.4g}") if math.isfinite(number) else None


if __name__ == "__main__":
    main()
