"""Puts the tables made from results/*.json into the docs, between `<!-- table NAME -->` and `<!-- end of table -->`.

    python benchmarks/latents/tables.py            # rewrite docs/*.md
    python benchmarks/latents/tables.py --check    # exit 1 if one is not what the results say

A table is a function of the results' folder that gives Markdown; a new one is one more entry of `TABLES`.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scenes_tables import factor_table, summary_table
from table_text import markdown, over_seeds

__all__ = ["TABLES", "filled", "main"]

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
DOCS = HERE.parent.parent / "docs"
MARKED = re.compile(r"(<!-- table (?P<name>[\w-]+) -->\n).*?(<!-- end of table -->)", flags=re.DOTALL)


def gradient_table(results: Path, *, size: int) -> str:
    """Bias of the gradient of E[z_0²], and its deviation, for every estimator and concentration."""

    def cell(row: dict[str, Any]) -> str:
        of = row["z²"]
        return (
            "not finite" if of["bias"] is None else f"{_percent(of['bias'], of['error'])}, σ {of['deviation']:.2g}"
        )

    return _by_concentration(results, size, cell)


def spread_table(results: Path, *, size: int) -> str:
    """Variance of the draws' z_0 over the true one, for every estimator and concentration."""
    return _by_concentration(results, size, lambda row: f"{row['spread']:.2f}")


def _by_concentration(results: Path, size: int, cell: Callable[[dict[str, Any]], str]) -> str:
    content = json.loads((results / "estimators.json").read_text(encoding="utf-8"))
    rows = [row for row in content["rows"] if row["size"] == size]
    concentrations = list(dict.fromkeys(row["concentration"] for row in rows))
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    found = {(row["estimator"], row["concentration"]): cell(row) for row in rows}
    head = ["estimator", *(f"a = {concentration:g}" for concentration in concentrations)]
    return markdown(head, [[name, *(found[name, value] for value in concentrations)] for name in names])


def _percent(share: float, error: float) -> str:
    """A share in per cent, or that it is not told from zero: below three standard errors."""
    if abs(share) < 3 * error:
        return f"0 ± {300 * error:.1g} %"
    return f"{100 * share:+.0f} %" if abs(share) >= 0.1 else f"{100 * share:+.1f} %"


MEASURES: dict[str, tuple[Callable[[dict[str, Any]], float], int]] = {
    "NLL": (lambda row: row["nll"], 2),
    "−ELBO": (lambda row: row["negative_bound"], 2),
    "KL": (lambda row: row["kl"], 2),
    "as trained": (lambda row: row["negative_bound_as_trained"], 2),
    "3-NN %": (lambda row: 100 * row["neighbour_errors"]["3"], 2),
    "5-NN %": (lambda row: 100 * row["neighbour_errors"]["5"], 2),
    "10-NN %": (lambda row: 100 * row["neighbour_errors"]["10"], 2),
    "in use": (lambda row: row["components_in_use"], 0),
    "weights collapsed": (lambda row: row["collapsed_weights"], 0),
    "values collapsed": (lambda row: row["collapsed_values"], 0),
}
"""Column → (number of an experiment's result, decimals)."""


def experiment_table(results: Path, *, dataset: str, epochs: int) -> str:
    """A row a model, the lowest NLL first: means over its seeds, ± their standard deviation where there are several."""
    models: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(results.glob(f"{dataset}-*-{epochs:03d}-seed*.json")):
        row = json.loads(path.read_text(encoding="utf-8"))
        models.setdefault(row["model"], []).append(row)
    if not models:
        return "Not run yet.\n"
    ordered = sorted(models.items(), key=lambda item: statistics.mean(row["nll"] for row in item[1]))
    cells = [
        [
            name,
            str(len(rows)),
            *(over_seeds(list(map(number, rows)), digits) for number, digits in MEASURES.values()),
        ]
        for name, rows in ordered
    ]
    return markdown(["model", "seeds", *MEASURES], cells)


def tight_table(results: Path, *, dataset: str) -> str:
    """A row a model, the lowest NLL first: NLLs by draws of the posterior, by as many of the best width, by more."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in results.glob(f"tight-{dataset}-*.json")]
    if not rows:
        return "Not run yet.\n"
    rows.sort(key=lambda row: row["estimates"][-1]["nll"])
    plain, same, more = (f"{one['samples']:,} draws" for one in rows[0]["estimates"])
    cells = [
        [
            row["model"],
            f"{row['negative_bound']:.2f}",
            f"{one['nll']:.2f}",
            f"{wide['width']:g}",
            f"{wide['nll']:.2f}",
            f"{many['nll']:.2f}",
            f"{many['effective_samples']:.0f}",
        ]
        for row in rows
        for one, wide, many in [row["estimates"]]
    ]
    head = ["model", "−ELBO", f"NLL, {plain}", "best width", f"NLL, {same} of it", f"NLL, {more} of it"]
    return markdown([*head, "effective"], cells)


TABLES: dict[str, Callable[[Path], str]] = {
    "mnist-030": lambda results: experiment_table(results, dataset="mnist", epochs=30),
    "mnist-100": lambda results: experiment_table(results, dataset="mnist", epochs=100),
    "omniglot-030": lambda results: experiment_table(results, dataset="omniglot", epochs=30),
    "omniglot-100": lambda results: experiment_table(results, dataset="omniglot", epochs=100),
    "mnist-tight": lambda results: tight_table(results, dataset="mnist"),
    "omniglot-tight": lambda results: tight_table(results, dataset="omniglot"),
    "gradients-50": lambda results: gradient_table(results, size=50),
    "gradients-3": lambda results: gradient_table(results, size=3),
    "scenes": lambda results: summary_table(results, model_size=16),
    "scenes-share": lambda results: factor_table(results, "share", model_size=16),
    "scenes-gap": lambda results: factor_table(results, "gap", model_size=16),
    "scenes-linear": lambda results: factor_table(results, "linear_r2", model_size=16),
    "spread-50": lambda results: spread_table(results, size=50),
}


def filled(text: str, results: Path = RESULTS) -> str:
    """A document with every marked table as the results have it. ValueError for a table that is not known."""

    def fill(match: re.Match[str]) -> str:
        if match["name"] not in TABLES:
            raise ValueError(f"no table is called {match['name']!r}; there are {', '.join(sorted(TABLES))}.")
        return match[1] + TABLES[match["name"]](results) + match[3]

    return MARKED.sub(fill, text)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a document is out of date")
    check = parser.parse_args(argv).check
    stale = []
    for path in sorted(DOCS.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if filled(text) != text:
            stale.append(path.name)
            if not check:
                path.write_text(filled(text), encoding="utf-8")
    for name in stale:
        print(f"docs/{name}: {'out of date; run benchmarks/latents/tables.py' if check else 'tables renewed'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
