"""Encoded pictures to uint8 pixels of one size, written straight into a batch's slot.

bytes ─▶ decode (simplejpeg, at 1/2, 1/4 or 1/8 where that loses nothing; imagecodecs for plain PNG and WebP;
         Pillow for the rest, and where one of them is not installed)
      ─▶ crop at whole pixels ─▶ antialiased resize ─▶ upright ─▶ slot
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...order.randomness import Place
from ...sources.source import Example
from ..channels import with_channels
from ..decoder import Details
from ..errors import UndecodableError
from ..geometry import Crop, Fit, Framing, Size
from ..placement import Placement
from ..resize import Pixels, ResizerName
from ..scratch import Scratch
from .codecs import decode_plain
from .jpeg import JpegHeader, read_jpeg_header
from .pillow import as_rgb, check_pixels, open_image

__all__ = ["ImageDecoder", "upright"]

Frame = Callable[[int, int], Framing]
"""Height and width of an upright source → which part of it goes where."""


class ImageDecoder:
    """Decodes an example's picture to (channel, height, width) uint8 of one size, or of its own with `size=None`.

    The settings are those of `Placement`.
    """

    def __init__(
        self,
        *,
        size: int | Size | None = 256,
        fit: Fit = "crop",
        crop: Crop = "center",
        flip: bool = False,
        grayscale: bool = False,
        resizer: ResizerName = "auto",
    ) -> None:
        self.placement = Placement(size=size, fit=fit, crop=crop, flip=flip, grayscale=grayscale, resizer=resizer)
        self._scratch = Scratch()

    @property
    def size(self) -> Size | None:
        """(height, width) in pixels of what is delivered; None where each picture keeps its own."""
        return self.placement.size

    @property
    def channels(self) -> int:
        """1 with `grayscale`, else 3."""
        return self.placement.channels

    @property
    def resizer(self) -> ResizerName:
        """The resizer that "auto" became."""
        return self.placement.resizer

    def allocate(self, num: int) -> NDArray[np.uint8] | None:
        """(num, channel, height, width), channels last in memory; None where each picture keeps its own size."""
        if self.size is None:
            return None
        return np.empty((num, *self.size, self.channels), np.uint8).transpose(0, 3, 1, 2)

    def decode_into(self, example: Example, out: NDArray[np.uint8], place: Place) -> Details:
        """Fill a slot (channel, height, width). Raises `ExampleError` for a picture that cannot be decoded."""
        try:
            framing = self._fill(example.media, out.transpose(1, 2, 0), place)
        except UndecodableError as error:
            raise example.error(str(error)) from error
        return Details(transform=framing.transform())

    def decode(self, example: Example, place: Place) -> tuple[NDArray[np.uint8], Details]:
        """The picture in its own size, (channel, height, width). Raises `ExampleError`."""
        try:
            pixels = self._whole(example.media)
        except UndecodableError as error:
            raise example.error(str(error)) from error
        flipped = self.placement.flip and bool(place.words(3)[2] >> 63)
        whole = (0, 0, pixels.shape[1], pixels.shape[0])
        details = Details(transform=Framing(whole, whole, 1, flipped).transform())
        return (pixels[:, ::-1] if flipped else pixels).transpose(2, 0, 1), details

    def _whole(self, data: bytes) -> Pixels:
        """All of a picture, (height, width, channel), in memory of its own."""
        pixels = self._decode_plain(data)
        if pixels is None:
            picture = as_rgb(open_image(data), gray=self.placement.grayscale)
            return np.array(picture).reshape(picture.height, picture.width, self.channels)
        whole = np.empty((*pixels.shape[:2], self.channels), np.uint8)
        whole[...] = with_channels(pixels, self.channels)
        return whole

    def _decode_plain(self, data: bytes) -> Pixels | None:
        return None if self.resizer == "exact" else decode_plain(data, self._scratch)

    def _fill(self, data: bytes, target: Pixels, place: Place) -> Framing:
        frame = partial(self.placement.frame, target=target, words=self.placement.words(place))
        header = read_jpeg_header(data) if self.resizer != "exact" else None
        if header is not None and header.components in (1, 3):
            chosen = self._fill_from_jpeg(data, header, target, frame)
            if chosen is not None:
                return chosen
        pixels = self._decode_plain(data)
        if pixels is None:
            return self._fill_by_pillow(data, target, frame)
        chosen = frame(*pixels.shape[:2])
        left, top, right, bottom = chosen.box
        self.placement.fill(pixels[top:bottom, left:right], target, chosen)
        return chosen

    def _fill_by_pillow(self, data: bytes, target: Pixels, frame: Frame) -> Framing:
        """The slow way: anything Pillow opens."""
        picture = as_rgb(open_image(data), gray=self.placement.grayscale)
        chosen = frame(picture.height, picture.width)
        if self.resizer == "exact":
            inner = self.placement.inner(target, chosen)
            size = (inner.shape[1], inner.shape[0])
            resized = picture.resize(size, Image.Resampling.BILINEAR, box=chosen.box)
            inner[...] = np.asarray(resized).reshape(inner.shape)
            self.placement.mirror(target, chosen)
            return chosen
        if chosen.box != (0, 0, *picture.size):
            picture = picture.crop(chosen.box)
        if self.resizer == "pillow":
            left, top, right, bottom = chosen.target_box
            picture = picture.resize((right - left, bottom - top), Image.Resampling.BILINEAR)
        source = self._scratch.raster(picture.height, picture.width, self.channels)
        source[...] = np.asarray(picture).reshape(source.shape)
        self.placement.fill(source, target, chosen)
        return chosen

    def _fill_from_jpeg(self, data: bytes, header: JpegHeader, target: Pixels, frame: Frame) -> Framing | None:
        """The fast way; None where simplejpeg does not decode it and Pillow is to be asked."""
        decode_jpeg = _simplejpeg()
        if decode_jpeg is None:
            return None
        check_pixels(header.width, header.height)
        turned = header.orientation >= 5
        height, width = (header.width, header.height) if turned else (header.height, header.width)
        chosen = frame(height, width)
        scale = chosen.scale if header.orientation == 1 else 1
        try:
            pixels = decode_jpeg(
                data,
                colorspace="GRAY" if self.placement.grayscale else "RGB",
                min_height=-(-header.height // scale),
                min_width=-(-header.width // scale),
                min_factor=scale,
                buffer=self._scratch.take(-(-header.height // scale) * -(-header.width // scale) * self.channels),
            )
        except ValueError:
            return None
        if pixels.shape[:2] != (-(-header.height // scale), -(-header.width // scale)):
            return None  # lossless JPEG cannot be scaled
        if header.orientation != 1:
            pixels = upright(pixels, header.orientation)
        left, top, right, bottom = (edge // scale for edge in chosen.box)
        source = pixels[top:bottom, left:right]
        self.placement.fill(source if header.orientation == 1 else np.ascontiguousarray(source), target, chosen)
        return chosen

    def __getstate__(self) -> dict[str, object]:
        return {"placement": self.placement}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._scratch = Scratch()

    def __repr__(self) -> str:
        return f"ImageDecoder({self.placement!r})"


@cache
def _simplejpeg() -> Callable[..., Any] | None:
    """simplejpeg's decoder; None where it is not installed. Looked for once, not for each picture."""
    try:
        from simplejpeg import decode_jpeg
    except ImportError:
        return None
    found: Callable[..., Any] = decode_jpeg
    return found


def upright(pixels: Pixels, orientation: int) -> Pixels:
    """A view of (height, width, channel) pixels, turned and mirrored as an EXIF orientation from 1 to 8 says."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]
