"""Encoded pictures to uint8 pixels of one size, written straight into a batch's slot.

bytes ─▶ decode (simplejpeg, at 1/2, 1/4 or 1/8 where that loses nothing; imagecodecs for plain PNG and WebP;
         Pillow for the rest, and where one of them is not installed)
      ─▶ crop at whole pixels ─▶ antialiased resize ─▶ upright ─▶ slot
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...order.randomness import Place
from ...sources.source import Example
from ..channels import with_channels
from ..decoder import Details
from ..geometry import Crop, Fit, Framing, Size, frame, parse_size
from ..resize import Pixels, ResizerName, resolve_resizer
from ..scratch import Scratch
from .codecs import decode_plain
from .jpeg import JpegHeader, read_jpeg_header
from .pillow import UnreadableImageError, as_rgb, check_pixels, open_image

__all__ = ["ImageDecoder", "upright"]


class ImageDecoder:
    """Decodes an example's picture to (channel, height, width) uint8 of one `size`, or of its own with `size=None`.

    fit, crop, flip   how a picture of another shape fills the size (`geometry.frame`); a random crop and a flip are
                      a function of where the example stands in the run.
    grayscale         one channel (ITU-R 601 luma) instead of RGB.
    resizer           "simd", "torch", "pillow", "exact", or "auto": see `resize.resolve_resizer`.
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
        for name, value, allowed in (
            ("fit", fit, ("crop", "pad", "stretch")),
            ("crop", crop, ("center", "random")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}.")
        self.size = None if size is None else parse_size(size)
        self.fit, self.crop, self.flip, self.grayscale = fit, crop, flip, grayscale
        self.resizer, self._resize = resolve_resizer(resizer)
        self._scratch = Scratch()

    @property
    def channels(self) -> int:
        """1 with `grayscale`, else 3."""
        return 1 if self.grayscale else 3

    def allocate(self, num: int) -> NDArray[np.uint8] | None:
        """(num, channel, height, width), channels last in memory; None where each picture keeps its own size."""
        if self.size is None:
            return None
        return np.empty((num, *self.size, self.channels), np.uint8).transpose(0, 3, 1, 2)

    def decode_into(self, example: Example, out: NDArray[np.uint8], place: Place) -> Details:
        """Fill a slot (channel, height, width). Raises `ExampleError` for a picture that cannot be decoded."""
        try:
            framing = self._fill(example.media, out.transpose(1, 2, 0), place)
        except UnreadableImageError as error:
            raise example.error(str(error)) from error
        return Details(transform=framing.transform())

    def decode(self, example: Example, place: Place) -> tuple[NDArray[np.uint8], Details]:
        """The picture in its own size, (channel, height, width). Raises `ExampleError`."""
        try:
            pixels = self._whole(example.media)
        except UnreadableImageError as error:
            raise example.error(str(error)) from error
        flipped = self.flip and bool(place.words(3)[2] >> 63)
        whole = (0, 0, pixels.shape[1], pixels.shape[0])
        details = Details(transform=Framing(whole, whole, 1, flipped).transform())
        return (pixels[:, ::-1] if flipped else pixels).transpose(2, 0, 1), details

    def _whole(self, data: bytes) -> Pixels:
        """All of a picture, (height, width, channel), in memory of its own."""
        pixels = self._decode_plain(data)
        if pixels is None:
            picture = as_rgb(open_image(data), gray=self.grayscale)
            return np.array(picture).reshape(picture.height, picture.width, self.channels)
        whole = np.empty((*pixels.shape[:2], self.channels), np.uint8)
        whole[...] = with_channels(pixels, self.channels)
        return whole

    def _decode_plain(self, data: bytes) -> Pixels | None:
        return None if self.resizer == "exact" else decode_plain(data, self._scratch)

    def _fill(self, data: bytes, target: Pixels, place: Place) -> Framing:
        random = self.flip or self.crop == "random"
        words = place.words(3) if random else [0, 0, 0]

        def framing(height: int, width: int) -> Framing:
            size = (target.shape[0], target.shape[1])
            return frame((height, width), size, fit=self.fit, crop=self.crop, flip=self.flip, words=words)

        header = read_jpeg_header(data) if self.resizer != "exact" else None
        if header is not None and header.components in (1, 3):
            chosen = self._fill_from_jpeg(data, header, target, framing)
            if chosen is not None:
                return chosen
        pixels = self._decode_plain(data)
        if pixels is None:
            return self._fill_by_pillow(data, target, framing)
        chosen = framing(*pixels.shape[:2])
        left, top, right, bottom = chosen.box
        source = with_channels(pixels[top:bottom, left:right], self.channels)
        self._resize_or_copy(source, self._prepare(target, chosen))
        return self._finish(target, chosen)

    def _fill_by_pillow(self, data: bytes, target: Pixels, framing: Callable[[int, int], Framing]) -> Framing:
        """The patient way: whatever Pillow opens."""
        picture = as_rgb(open_image(data), gray=self.grayscale)
        chosen = framing(picture.height, picture.width)
        inner = self._prepare(target, chosen)
        height, width = inner.shape[:2]
        if self.resizer == "exact":
            resized = picture.resize((width, height), Image.Resampling.BILINEAR, box=chosen.box)
            inner[...] = np.asarray(resized).reshape(inner.shape)
            return self._finish(target, chosen)
        if chosen.box != (0, 0, *picture.size):
            picture = picture.crop(chosen.box)
        if self.resizer == "pillow":
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        source = self._scratch.raster(picture.height, picture.width, self.channels)
        source[...] = np.asarray(picture).reshape(source.shape)
        self._resize_or_copy(source, inner)
        return self._finish(target, chosen)

    def _fill_from_jpeg(
        self, data: bytes, header: JpegHeader, target: Pixels, framing: Callable[[int, int], Framing]
    ) -> Framing | None:
        """The fast way; None where simplejpeg will not decode it and a more patient decoder should be asked."""
        decode_jpeg = _simplejpeg()
        if decode_jpeg is None:
            return None
        check_pixels(header.width, header.height)
        turned = header.orientation >= 5
        height, width = (header.width, header.height) if turned else (header.height, header.width)
        chosen = framing(height, width)
        scale = chosen.scale if header.orientation == 1 else 1
        try:
            pixels = decode_jpeg(
                data,
                colorspace="GRAY" if self.grayscale else "RGB",
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
        self._resize_or_copy(
            source if header.orientation == 1 else np.ascontiguousarray(source), self._prepare(target, chosen)
        )
        return self._finish(target, chosen)

    def _prepare(self, target: Pixels, framing: Framing) -> Pixels:
        left, top, right, bottom = framing.place
        inner = target[top:bottom, left:right]
        if inner.shape != target.shape:
            target[...] = 0
        return inner

    def _resize_or_copy(self, source: Pixels, inner: Pixels) -> None:
        if source.shape[:2] == inner.shape[:2]:
            inner[...] = source
        elif source.shape[2] == inner.shape[2]:
            self._resize(source, inner)
        else:
            gray = np.empty((*inner.shape[:2], 1), np.uint8)
            self._resize(source, gray)
            inner[...] = gray  # one channel for all three

    @staticmethod
    def _finish(target: Pixels, framing: Framing) -> Framing:
        if framing.flip:
            left, top, right, bottom = framing.place
            inner = target[top:bottom, left:right]
            inner[...] = inner[:, ::-1].copy()
        return framing

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_scratch", "_resize")}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self.resizer, self._resize = resolve_resizer(self.resizer)
        self._scratch = Scratch()

    def __repr__(self) -> str:
        parts = [f"size={self.size}", f"fit={self.fit!r}", f"crop={self.crop!r}", f"flip={self.flip}"]
        return f"ImageDecoder({', '.join(parts)}, grayscale={self.grayscale}, resizer={self.resizer!r})"


@functools.cache
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
