"""From a source to a sheet: what can be chosen, and what every modality shares."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..batching.batch import Batch
from ..decode.geometry import Crop, Fit
from ..iterators.data import DataIterator, opened_as
from ..modality import find_modality
from ..sources.arrays.array_source import ArraySource
from ..sources.opening import SourceLike
from ..sources.source import Source
from .sheet import Cell, Legend, columns_for, lay_out

__all__ = ["CellSet", "ShowOptions", "draw_batch", "first_batch"]

MOST_CELLS = 400
MOST_POINTS = 2048


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """What is shown of a source, and how. Raises `ValueError` for a number outside of its limits.

    num           examples; None: as many as suit the modality
    size          width of a picture, a frame of a film strip or a spectrogram, in points of two pixels; None: as suits
                  the modality
    columns       examples side by side; None: about as many as rows
    shuffle       the seed of the order; None: as stored
    start         position of the first example in the epoch
    fields        what to show of the examples: "boxes", "masks", "keypoints", "captions", and members by suffix; None:
                  these four and txt and cls, where there are any
    fit, crop, flip   as in `ImageIterator`
    window        length of a stretch of sound in seconds
    clip_frames   frames of a clip of a video
    """

    num: int | None = None
    size: int | None = None
    columns: int | None = None
    shuffle: int | None = None
    start: int = 0
    fields: Sequence[str] | None = None
    fit: Fit = "pad"
    crop: Crop = "center"
    flip: bool = False
    window: float = 4.0
    clip_frames: int = 32

    def __post_init__(self) -> None:
        limits = (
            ("num", 1, MOST_CELLS),
            ("size", 16, MOST_POINTS),
            ("columns", 1, MOST_CELLS),
            ("start", 0, 1 << 62),
            ("clip_frames", 1, 4096),
        )
        for name, least, most in limits:
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"{name} is {value}; it must lie in {least:,} to {most:,}.")
        if not 0.01 <= self.window <= 600:
            raise ValueError(f"window is {self.window}; it must lie in 0.01 to 600 seconds.")

    @property
    def filling(self) -> Fit:
        """The `fit` of an iterator: random crops need "crop"."""
        return "crop" if self.crop == "random" else self.fit

    @property
    def framing(self) -> dict[str, Any]:
        """The settings of an iterator that decide which part of a picture is seen."""
        return {"fit": self.filling, "crop": self.crop, "flip": self.flip}

    @property
    def order(self) -> dict[str, Any]:
        """The settings of an iterator that decide which examples come."""
        return {"shuffle": self.shuffle is not None, "seed": self.shuffle or 0}

    def described(self) -> str:
        """Which examples these are, in words."""
        order = "in the order they are stored" if self.shuffle is None else f"shuffled with seed {self.shuffle}"
        return f"{order}, from position {self.start:,}"


@dataclass(frozen=True)
class CellSet:
    """What a modality draws of a batch: the cells, their width in pixels, the most columns, and words about them."""

    cells: Sequence[Cell]
    width: int
    most_columns: int
    note: str
    legend: Legend = ()


def draw_batch(data: SourceLike, modality: str, options: ShowOptions | None = None) -> Image.Image:
    """The contact sheet of one batch of a source, RGB.

    Raises `PipelineError` if there is nothing to read, `ValueError` for a field that no example has, a position beyond
    the end, and a modality that cannot be drawn.
    """
    options = options or ShowOptions()
    draw_cells = find_modality(modality).part("draw_cells")
    if draw_cells is None:
        raise ValueError(f"{find_modality(modality).plural} cannot be drawn: their modality has no draw_cells.")
    with closing(opened_as(data, modality)) as source:
        if isinstance(source, ArraySource):
            raise ValueError(f"{source.name}: an array is not drawn. Name a folder of files, or shards.")
        found: CellSet = draw_cells(source, options)
        columns = options.columns or columns_for(len(found.cells), found.most_columns)
        return lay_out(
            found.cells,
            width=found.width,
            columns=columns,
            title=source.shown_name,
            note=found.note,
            legend=found.legend,
        )


def first_batch(make: Callable[..., DataIterator], source: Source, options: ShowOptions, num: int) -> Batch:
    """The batch at the position that was asked for, of up to `num` examples; `make` builds the iterator.

    Examples that cannot be decoded are replaced, and marked in the batch.
    """
    with _quiet():
        examples = make(source, batch_size=num, on_error="substitute", prefetch_bytes=0, **options.order)
        with closing(examples):
            if options.start >= len(examples.source):
                name, last = source.shown_name, len(examples.source) - 1
                raise ValueError(f"start is {options.start:,}; the last position in {name} is {last:,}.")
            examples.reset(0, options.start)
            return next(iter(examples))


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings: they help in training, and a sheet shows the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
