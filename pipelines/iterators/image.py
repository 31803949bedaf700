"""Batches of pictures."""

from __future__ import annotations

from typing import Unpack

from ..batching.options import Reading, check_settings
from ..decode.geometry import Crop, Fit, Size
from ..decode.image.image_decoder import ImageDecoder
from ..decode.resize import ResizerName
from ..sources.opening import SourceLike
from .data import DataIterator, opened_as

__all__ = ["ImageIterator"]


class ImageIterator(DataIterator):
    """Batches of pictures: `data` is (batch, 3, height, width) uint8, channels last in memory.

    size        (height, width) or one number, in pixels; None keeps each picture's own (batch_size=1 then)
    fit         how a picture of another shape fills the size: "crop", "pad" or "stretch"
    crop        with fit="crop": "center", or "random", by its place in the run
    flip        mirror half of the pictures, by their place in the run
    grayscale   one channel instead of three
    resizer     "auto" is the fast one that is installed: "simd" (cykooz-resizer, within 1 of Pillow's at every
                pixel), else "torch", else "pillow"; "exact" is Pillow from open to resize
    max_pixels  larger pictures are refused; None: twice PIL.Image.MAX_IMAGE_PIXELS, which is 178,956,970

    Everything else is as in `DataIterator`. Grayscale, CMYK, palette, alpha and 16-bit pictures and every EXIF
    orientation come out as the same upright RGB.
    """

    modality = "image"

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
        max_pixels: int | None = None,
        **reading: Unpack[Reading],
    ) -> None:
        check_settings(type(self), reading)
        if size is None and reading.setdefault("batch_size", 1) != 1:
            raise ValueError(
                f"size=None keeps each picture's size, so batch_size must be 1, not {reading['batch_size']}."
            )
        decoder = ImageDecoder(
            size=size, fit=fit, crop=crop, flip=flip, grayscale=grayscale, resizer=resizer, max_pixels=max_pixels
        )
        super().__init__(opened_as(source, self.modality), decoder, **reading)
