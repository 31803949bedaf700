"""Iterators for each kind of media: a source and its decoder, with the decoder's settings in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, TypedDict, Unpack

from ..batching.batch_job import Transform
from ..decode.geometry import Crop, Fit, Size
from ..decode.image.image_decoder import ImageDecoder
from ..decode.resize import ResizerName
from ..order.epoch_order import Shuffle
from ..order.ranks import Tail
from ..sources.opening import SourceLike
from .data import DataIterator, check_settings, opened_as

__all__ = ["ImageIterator"]


class Reading(TypedDict, total=False):
    """The settings every iterator has; `DataIterator` says what they mean."""

    batch_size: int
    shuffle: Shuffle
    shuffle_shards: int | None
    seed: int
    groups: int
    rank: int | None
    world_size: int | None
    tail: Tail | None
    threads: int | None
    prefetch_bytes: int
    fields: Sequence[str]
    transform: Transform | None
    select: Sequence[int] | None
    limit: int | None
    on_error: Literal["raise", "substitute"]
    max_substitutions: int
    quarantine: str | os.PathLike[str] | None


class ImageIterator(DataIterator):
    """Batches of pictures: `data` is (batch, 3, height, width) uint8, channels last in memory.

    size        (height, width) or one number, in pixels; None keeps each picture's own (batch_size=1 then)
    fit         how a picture of another shape fills the size: "crop", "pad" or "stretch"
    crop        with fit="crop": "center", or "random", by its place in the run
    flip        mirror half of the pictures, by their place in the run
    grayscale   one channel instead of three
    resizer     "auto" is the fast one that is installed: "simd" (cykooz-resizer, within 1 of Pillow's at every
                pixel), else "torch", else "pillow"; "exact" is Pillow from open to resize

    Everything else is as in `DataIterator`. Grayscale, CMYK, palette, alpha and 16-bit pictures and every EXIF
    orientation come out as the same upright RGB.
    """

    def __init__(
        self,
        source: SourceLike,
        *,
        size: int | Size | None = 256,
        fit: Fit = "crop",
        crop: Crop = "center",
        flip: bool = False,
        grayscale: bool = False,
        resizer: ResizerName = "auto",
        **reading: Unpack[Reading],
    ) -> None:
        check_settings(ImageIterator, reading, Reading.__annotations__)
        if size is None and reading.setdefault("batch_size", 1) != 1:
            raise ValueError(
                f"size=None keeps each picture's size, so batch_size must be 1, not {reading['batch_size']}."
            )
        decoder = ImageDecoder(size=size, fit=fit, crop=crop, flip=flip, grayscale=grayscale, resizer=resizer)
        super().__init__(opened_as(source, self.modality, instead="pictures"), decoder, **reading)
