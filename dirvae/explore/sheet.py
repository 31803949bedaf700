"""What an exploration returns: a sheet of latents or examples in rows, or a chart of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Chart", "ExplorationError", "Sheet"]


class ExplorationError(ValueError):
    """An exploration that is not possible for this run; the text is one sentence with the remedy."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """Cells in rows: latents to decode, or examples to show. The last row may be shorter.

    latents        (num_cells, model_size, *grid) float32, row by row; None where the cells are examples
    examples       (num_cells,) int64: numbers of examples of the run, row by row; None where the cells are latents
    rows           number of rows, at least 1
    row_labels     one per row, or () for none
    column_labels  one per column, or ()
    caption        one or two sentences with numbers; they say if zeros were clamped
    cell_labels    one per cell, row by row, or (); those of keys and numbers have two lines
    contexts       for each row the number of the example whose map, or whose pitch and loudness, is used to decode
                   the latents; () for a typical example
    is_path        whether each row is a path from its first cell to its last cell, which can be animated
    """

    latents: Tensor | None
    examples: Tensor | None
    rows: int
    row_labels: tuple[str, ...]
    column_labels: tuple[str, ...]
    caption: str
    cell_labels: tuple[str, ...] = ()
    contexts: tuple[int, ...] = ()
    is_path: bool = False

    @property
    def num_cells(self) -> int:
        """Cells in all rows."""
        cells = self.examples if self.latents is None else self.latents
        assert cells is not None
        return len(cells)

    @property
    def columns(self) -> int:
        """Cells in a row: cell i is in row i // columns."""
        return -(-self.num_cells // self.rows)


@dataclass(frozen=True, eq=False)
class Chart:
    """Numbers of a run's latents, and their picture.

    arrays   by name, on the CPU
    caption  one or two sentences with numbers
    svg      an `<svg>` element in the text colour of the page around it
    draw     draws the same on matplotlib axes
    inches   (width, height) of a picture of it
    """

    arrays: Mapping[str, Tensor]
    caption: str
    svg: str
    draw: Callable[[Any], None]
    inches: tuple[float, float]
