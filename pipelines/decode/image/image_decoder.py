"""Encoded pictures to uint8 pixels of one size, written straight into a batch's slot.

bytes ─▶ decode (simplejpeg, at 1/2, 1/4 or 1/8 where that loses nothing; imagecodecs for plain PNG and WebP;
         Pillow for the rest, and where one of them is not installed)
      ─▶ crop at whole pixels ─▶ antialiased resize ─▶ upright ─▶ slot
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...order.randomness import Place
from ...sources.source import Example
from ..decoder import Details
from ..errors import UndecodableError
from ..geometry import Crop, Fit, Framing, Size
from ..pixel_channels import with_channels
from ..placement import Placement
from ..resize import BAND_BYTES, Pixels, ResizerName, Rows, reduce_blocks
from ..scratch import Scratch
from .codecs import decode_plain, find_plain
from .jpeg import JpegHeader, check_jpeg, read_jpeg_header
from .limits import USUAL_BYTES, check_pixels, checked_limit, giants_turn, is_giant
from .pillow import memory_of, open_to_decode, orientation_of
from .plain import PlainPicture
from .upright_picture import UprightPicture

__all__ = ["ImageDecoder", "upright"]

BYTES_OF_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
"""What Pillow keeps for each pixel; four in other modes."""

STRIP_PIXELS = 1 << 22

Frame = Callable[[int, int], Framing]
"""Height and width of an upright source → which part of it goes where."""


class ImageDecoder:
    """Decodes an example's picture to (channel, height, width) uint8 of one size, or of its own with `size=None`.

    The settings are those of `Placement`, and `max_pixels`, above which a picture is refused: see
    `limits.check_pixels`.
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
        max_pixels: int | None = None,
    ) -> None:
        self.max_pixels = checked_limit(max_pixels)
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
        header = self._jpeg_header(data)
        if header is not None:
            with giants_turn(header.height * header.width * self.channels):
                pixels = self._decode_jpeg(data, header, 1, own=True)
                if pixels is not None:
                    return np.ascontiguousarray(pixels)
        plain = self._find_plain(data)
        if plain is not None:
            with giants_turn(plain.memory):
                pixels = decode_plain(plain, None)
                if pixels is not None:
                    return self._with_own_channels(pixels)
        picture = open_to_decode(data, self.max_pixels)
        width, height = picture.size
        check_pixels(
            width,
            height,
            self.max_pixels,
            bytes_a_pixel=BYTES_OF_MODE.get(picture.mode, 4) + self.channels,
            kind="a picture in its own size",
        )
        with giants_turn(memory_of(picture)), closing(picture):
            decoded = UprightPicture(picture, gray=self.placement.grayscale)
            whole = np.empty((decoded.height, decoded.width, self.channels), np.uint8)
            decoded.fill(whole)
        return whole

    def _with_own_channels(self, pixels: Pixels) -> Pixels:
        if pixels.shape[2] == self.channels:
            return pixels
        whole = np.empty((*pixels.shape[:2], self.channels), np.uint8)
        step = max(1, BAND_BYTES // (pixels.shape[1] * pixels.shape[2]))
        for top in range(0, len(pixels), step):
            whole[top : top + step] = with_channels(pixels[top : top + step], self.channels)
        return whole

    def _find_plain(self, data: bytes) -> PlainPicture | None:
        return None if self.resizer == "exact" else find_plain(data, self.max_pixels)

    def _fill(self, data: bytes, target: Pixels, place: Place) -> Framing:
        frame = partial(self.placement.frame, target=target, words=self.placement.words(place))
        header = self._jpeg_header(data)
        if header is not None:
            chosen = self._fill_from_jpeg(data, header, target, frame)
        else:
            chosen = self._fill_from_plain(data, target, frame)
        return chosen or self._fill_by_pillow(data, target, frame)

    def _fill_from_plain(self, data: bytes, target: Pixels, frame: Frame) -> Framing | None:
        """The way of plain PNG and WebP; None where Pillow is to be asked."""
        plain = self._find_plain(data)
        if plain is None:
            return None
        with giants_turn(plain.memory):
            return self._fill_from_pixels(decode_plain(plain, self._scratch), target, frame)

    def _fill_from_pixels(self, pixels: Pixels | None, target: Pixels, frame: Frame) -> Framing | None:
        if pixels is None:
            return None
        chosen = frame(*pixels.shape[:2])
        left, top, right, bottom = chosen.box
        source = pixels[top:bottom, left:right]
        if is_giant(source.nbytes):
            self._fill_reduced(lambda first, last: source[first:last], source.shape[:2], target, chosen)
        else:
            self.placement.fill(source, target, chosen)
        return chosen

    def _fill_by_pillow(self, data: bytes, target: Pixels, frame: Frame) -> Framing:
        """The slow way: anything Pillow opens."""
        picture = open_to_decode(data, self.max_pixels)
        chosen, scale = self._drafted(picture, frame)
        with giants_turn(memory_of(picture)), closing(picture):
            decoded = UprightPicture(picture, gray=self.placement.grayscale)
            chosen = chosen or frame(decoded.height, decoded.width)
            if self.resizer == "exact":
                self._resize_exactly(decoded.image(), target, chosen)
                return chosen
            left, top, right, bottom = (edge // scale for edge in chosen.box)
            width, height = right - left, bottom - top

            def rows(first: int, last: int) -> Pixels:
                return decoded.pixels(left, top + first, right, top + last)

            num_bytes = width * height * decoded.channels
            if is_giant(width * height * USUAL_BYTES):
                self._fill_reduced(rows, (height, width), target, chosen)
            elif num_bytes > BAND_BYTES:
                self.placement.fill_from_rows(rows, height, width, target, chosen)
            else:
                source = self._scratch.raster(height, width, decoded.channels)
                source[...] = rows(0, height)
                self.placement.fill(source, target, chosen)
        return chosen

    def _fill_reduced(self, rows: Rows, size: tuple[int, int], target: Pixels, chosen: Framing) -> None:
        """From the box of a giant: blocks of `chosen.scale` squared pixels are averaged first, as a JPEG's are."""
        scale = chosen.scale
        height, width = size[0] // scale, size[1] // scale

        def reduced(first: int, last: int) -> Pixels:
            strip = with_channels(rows(first * scale, last * scale), self.channels)
            return reduce_blocks(strip, scale)

        channels = reduced(0, 1).shape[2]
        if height * width * channels > BAND_BYTES:
            self.placement.fill_from_rows(reduced, height, width, target, chosen)
            return
        small = self._scratch.raster(height, width, channels)
        step = max(1, STRIP_PIXELS // (size[1] * scale))
        for top in range(0, height, step):
            small[top : top + step] = reduced(top, min(height, top + step))
        self.placement.fill(small, target, chosen)

    def _drafted(self, picture: Image.Image, frame: Frame) -> tuple[Framing | None, int]:
        """Asks for a large JPEG at 1/2, 1/4 or 1/8, where that loses nothing; its framing, and the scale."""
        is_large = picture.width * picture.height * USUAL_BYTES > BAND_BYTES
        if self.resizer == "exact" or not is_large or picture.format != "JPEG" or orientation_of(picture) != 1:
            return None, 1
        chosen, width = frame(picture.height, picture.width), picture.width
        picture.draft(picture.mode, (picture.width // chosen.scale, picture.height // chosen.scale))
        if picture.width != -(-width // chosen.scale):
            raise UndecodableError(f"it cannot be decoded at 1/{chosen.scale} of its size")
        return chosen, chosen.scale

    def _resize_exactly(self, picture: Image.Image, target: Pixels, chosen: Framing) -> None:
        inner = self.placement.inner(target, chosen)
        size = (inner.shape[1], inner.shape[0])
        resized = picture.resize(size, Image.Resampling.BILINEAR, box=chosen.box)
        inner[...] = np.asarray(resized).reshape(*inner.shape[:2], -1)
        self.placement.mirror(target, chosen)

    def _jpeg_header(self, data: bytes) -> JpegHeader | None:
        """The header of a JPEG for the fast way. Raises `UndecodableError` for one that costs too much."""
        header = read_jpeg_header(data) if self.resizer != "exact" else None
        if header is None or header.components not in (1, 3):
            return None
        check_jpeg(header, len(data), self.max_pixels)
        return header

    def _decode_jpeg(self, data: bytes, header: JpegHeader, scale: int, *, own: bool = False) -> Pixels | None:
        """The upright pixels at 1/scale; None where simplejpeg does not decode it and Pillow is to be asked."""
        decode_jpeg = _simplejpeg()
        if decode_jpeg is None:
            return None
        height, width = -(-header.height // scale), -(-header.width // scale)
        num_bytes = height * width * self.channels
        try:
            pixels: Pixels = decode_jpeg(
                data,
                colorspace="GRAY" if self.placement.grayscale else "RGB",
                min_height=height,
                min_width=width,
                min_factor=scale,
                buffer=np.empty(num_bytes, np.uint8) if own else self._scratch.take(num_bytes),
            )
        except ValueError:
            return None
        if pixels.shape[:2] != (height, width):
            return None  # lossless JPEG cannot be scaled
        return pixels if header.orientation == 1 else upright(pixels, header.orientation)

    def _fill_from_jpeg(self, data: bytes, header: JpegHeader, target: Pixels, frame: Frame) -> Framing | None:
        """The fast way; None where Pillow is to be asked."""
        turned = header.orientation >= 5
        height, width = (header.width, header.height) if turned else (header.height, header.width)
        chosen = frame(height, width)
        scale = chosen.scale if header.orientation == 1 else 1
        with giants_turn(height * width * self.channels // scale**2):
            return self._fill_from_part(self._decode_jpeg(data, header, scale), header, target, chosen, scale)

    def _fill_from_part(
        self, pixels: Pixels | None, header: JpegHeader, target: Pixels, chosen: Framing, scale: int
    ) -> Framing | None:
        if pixels is None:
            return None
        left, top, right, bottom = (edge // scale for edge in chosen.box)
        source = pixels[top:bottom, left:right]
        if header.orientation != 1 and source.nbytes <= BAND_BYTES:
            source = np.ascontiguousarray(source)
        self.placement.fill(source, target, chosen)
        return chosen

    def __getstate__(self) -> dict[str, object]:
        return {"placement": self.placement, "max_pixels": self.max_pixels}

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
