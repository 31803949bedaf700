"""The tables of scenes.py: what each latent knows of the factors of the sample scenes."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from table_text import markdown, over_seeds

__all__ = ["factor_table", "summary_table"]

NOT_RUN = "Not run yet.\n"
KNOWN = 0.05
NEIGHBOURS = "shape, 5-NN %"
OF_FACTORS = {
    "MIG": "gap",
    "disentanglement": "disentanglement",
    "completeness": "completeness",
    "linear R²": "linear_r2",
}
SUMMARY: dict[str, tuple[Callable[[Mapping[str, Any]], float], int]] = {
    "PSNR, dB": (lambda row: row["psnr_db"], 2),
    "−ELBO": (lambda row: row["likelihood"]["negative_bound"], 0),
    "KL": (lambda row: row["likelihood"]["kl"], 1),
    "in use": (lambda row: row["usage"]["components_in_use"], 0),
    "MIG": (lambda row: row["disentanglement"]["gap"], 3),
    "disentanglement": (lambda row: row["disentanglement"]["disentanglement"], 2),
    "completeness": (lambda row: row["disentanglement"]["completeness"], 2),
    "linear R²": (lambda row: row["disentanglement"]["linear_r2"], 3),
    NEIGHBOURS: (lambda row: 100 * row["neighbours"]["errors"]["5"], 1),
}
"""Column → (number of a run's result, decimals)."""


def summary_table(results: Path, *, model_size: int) -> str:
    """A row a latent, and one of what shuffled factors give: means over seeds ± their standard deviation."""
    found = _results(results, model_size)
    if not found:
        return NOT_RUN
    rows = []
    for name, runs in found.items():
        numbers = [over_seeds([number(run) for run in runs], digits) for number, digits in SUMMARY.values()]
        rows.append([name, str(len(runs)), *numbers])
    return markdown(["latent", "seeds", *SUMMARY], [*rows, _shuffled(found)])


def _shuffled(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """What the same measures give for shuffled factors, over all runs; dashes where that means nothing."""
    chance = [run["disentanglement"]["chance"] for runs in found.values() for run in runs]
    classes = next(iter(found.values()))[0]["neighbours"]["classes"]
    cells = dict.fromkeys(SUMMARY, "–")
    for column, key in OF_FACTORS.items():
        cells[column] = over_seeds([numbers[key] for numbers in chance], SUMMARY[column][1])
    return ["shuffled", "–", *{**cells, NEIGHBOURS: f"{100 - 100 / classes:.1f}"}.values()]


def factor_table(results: Path, measure: str, *, model_size: int, decimals: int = 2) -> str:
    """A row a factor, a column a latent, of "share", "gap" or "linear_r2"; last what shuffled factors give.

    Below the factors their categories, those of which some latent's best component holds a twentieth or more.
    Of the latents with several seeds, the best of a row is bold where it is a twentieth above chance and leads the
    next by more than the larger of their standard deviations.
    """
    found = _results(results, model_size)
    if not found:
        return NOT_RUN
    measured = [[[*run["factors"], *run["categories"]] for run in runs] for runs in found.values()]
    table = []
    for place, row in enumerate(measured[0][0]):
        if "=" in row["factor"] and max(map(statistics.mean, _values(measured, place, "share"))) < KNOWN:
            continue
        values = _values(measured, place, measure)
        chance = statistics.mean(rows[place]["chance"][measure] for runs in measured for rows in runs)
        leader = _leader(values, above=chance + KNOWN)
        cells = [over_seeds(value, decimals) for value in values]
        cells = [f"**{cell}**" if column == leader else cell for column, cell in enumerate(cells)]
        table.append([row["factor"], *cells, f"{chance:.{decimals}f}"])
    return markdown(["factor", *found, "shuffled"], table)


def _values(measured: list[list[list[dict[str, Any]]]], place: int, measure: str) -> list[list[float]]:
    return [[rows[place][measure] for rows in runs] for runs in measured]


def _leader(values: list[list[float]], *, above: float) -> int | None:
    """Which list of several seeds has a mean above the next one's by more than either's deviation, if one has."""
    several = [place for place, value in enumerate(values) if len(value) > 1]
    if len(several) < 2:
        return None
    first, second, *_ = sorted(several, key=lambda place: statistics.mean(values[place]), reverse=True)
    best, next_best = statistics.mean(values[first]), statistics.mean(values[second])
    spread = max(statistics.stdev(values[first]), statistics.stdev(values[second]))
    return first if best >= above and best - next_best > spread else None


def _results(folder: Path, model_size: int) -> dict[str, list[dict[str, Any]]]:
    """The results of this many components by latent, the Gaussian's first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob(f"scenes-*-{model_size}-seed*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        found.setdefault(run["model"], []).append(run)
    return dict(sorted(found.items(), key=lambda item: (item[0] != "gaussian", item[0])))
