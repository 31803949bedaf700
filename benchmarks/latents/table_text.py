"""Tables as Markdown, and numbers of several seeds as text."""

from __future__ import annotations

import statistics

__all__ = ["markdown", "over_seeds"]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, columns padded to one width; the first is aligned left, the others right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        for row in [head, rule, *rows]
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def over_seeds(values: list[float], decimals: int) -> str:
    """Their mean, ± the standard deviation where there are several."""
    mean = f"{statistics.mean(values):.{decimals}f}"
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.{max(decimals, 1)}f}"
