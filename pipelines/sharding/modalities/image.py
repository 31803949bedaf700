"""One image file on its way into a shard: checked, or made again in another size, or refused with a reason.

Without `resize` the bytes are packed as they are and only the header is read: size, orientation, channels.
The reasons go into the manifest, so they hold no address, path or time.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from ...decode.errors import UndecodableError
from ...decode.image.image_decoder import ImageDecoder
from ...decode.image.limits import USUAL_BYTES, check_pixels
from ...decode.image.pillow import open_image, open_to_decode, orientation_of, reason_of
from ...decode.image.plain_jpeg import read_plain_jpeg
from ...decode.image.upright_picture import UprightPicture
from ...decode.resize import BAND_BYTES, Pixels, lanczos, pillow_resize, resize_in_bands
from ...errors import ExampleError
from ...order.checked_numbers import flag, whole_number
from ...order.randomness import Place
from ...sources.source import Example
from ...storage.index import Record
from ...storage.listing import SourceFile
from ..packing import Prepared
from ..source_reader import SourceReader, UnpackableError
from ..wording import printable
from .annotated_picture import NO_ANNOTATIONS, Annotations, Frame, checked_frame

__all__ = ["ImageSettings", "prepare_image"]

TRANSPOSED = frozenset((5, 6, 7, 8))
GRAY, COLOUR = frozenset(("1", "L", "I", "F")), frozenset(("RGB", "P", "YCbCr", "LAB", "HSV"))
LOOKED_AT = 32
FIRST_PLACE = Place(0, 0, 0)
WITH_ALPHA = frozenset(("LA", "La", "PA", "RGBA", "RGBa", "CMYK"))


@dataclass(frozen=True)
class ImageSettings:
    """What becomes of each image file. Raises `ValueError` or `TypeError` for nonsense.

    decode      decode every image whole, not just its header.
    resize      shorter side in pixels of the JPEGs to make; None: pack the files as they are.
    quality     JPEG quality from 1 to 95 with `resize`; None without.
    max_pixels  larger images are refused; None: twice PIL.Image.MAX_IMAGE_PIXELS, which is 178,956,970.
    annotation_frame   which pixels boxes, polygons, keypoints and masks count: "stored" ones of the file, or "upright"
                ones, after its EXIF orientation; "auto": those that the annotated width and height fit, stored ones
                where both do. What is packed is upright, and follows `resize`.
    """

    modality: ClassVar[str] = "image"
    cuts: ClassVar[bool] = False

    decode: bool = False
    resize: int | None = None
    quality: int | None = field(default=None, metadata={"means": "a JPEG quality from 1 to 95"})
    max_pixels: int | None = None
    annotation_frame: Frame = "auto"

    def __post_init__(self) -> None:
        checked_frame(self.annotation_frame)
        object.__setattr__(self, "decode", flag("decode", self.decode))
        for name in ("resize", "quality", "max_pixels"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole_number(name, value, least=None if name == "quality" else 1))
        if self.resize is None and self.quality is not None:
            raise ValueError(f"quality is {self.quality}, but nothing is encoded: it needs resize.")
        if self.quality is not None and not 1 <= self.quality <= 95:
            raise ValueError(f"quality is {self.quality}; it must lie between 1 and 95.")
        if self.resize is not None and self.quality is None:
            object.__setattr__(self, "quality", 90)

    @property
    def keeps_files(self) -> bool:
        """Whether the files are packed as they are."""
        return self.resize is None

    def describe(self) -> dict[str, Any]:
        """The settings as they stand in the manifest."""
        described = asdict(self)
        if self.max_pixels is None:  # as sets from before there was this setting have it
            del described["max_pixels"]
        if self.annotation_frame == "auto":
            del described["annotation_frame"]
        return described

    def check(self, files: Sequence[SourceFile]) -> tuple[str, ...]:
        """No remarks."""
        return ()

    def prepare(self, file: SourceReader, suffix: str, fields: Mapping[str, bytes]) -> Iterator[Prepared]:
        """The one example that an image file is. Raises `UnpackableError` with the reason if it is not one."""
        try:
            made = prepare_image(
                file.content(),
                suffix,
                decode=self.decode,
                resize=self.resize,
                quality=self.quality or 90,
                max_pixels=self.max_pixels,
                annotations=Annotations(fields, printable(file.path), self.annotation_frame),
            )
            yield made
        except UndecodableError as error:
            raise UnpackableError(str(error)) from error


def prepare_image(
    content: bytes,
    suffix: str,
    *,
    decode: bool = False,
    resize: int | None = None,
    quality: int = 90,
    max_pixels: int | None = None,
    annotations: Annotations = NO_ANNOTATIONS,
) -> Prepared:
    """Check the bytes of an image file.

    `decode` decodes all of it as the iterators do, to be sure. `resize` makes an upright RGB JPEG of `quality` whose
    shorter side is `resize` pixels (smaller images keep their size); otherwise the bytes stay as they are. What
    `annotations` say of places in the picture follows.

    Raises `UndecodableError`, with the reason, for anything that the iterators could not read either.
    """
    if resize is None and not decode and (plain := read_plain_jpeg(content)) is not None:
        size = (plain.width, plain.height)
        check_pixels(*size, max_pixels, bytes_a_pixel=USUAL_BYTES, kind="JPEG")
        fields, findings = annotations.moved(file=size, orientation=1, stored=size)
        record = Record(width=plain.width, height=plain.height, channels=plain.components)
        return Prepared(content, suffix, record, fields, findings=findings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd EXIF blocks, which are fine
        try:
            with (open_image if resize is None else open_to_decode)(content, max_pixels) as image:
                size, orientation = image.size, orientation_of(image)
                if resize is not None:
                    media, suffix, record = _resized(image, resize, quality)
                else:
                    media, record = content, _record(image)
                if decode and resize is None:
                    _decode_all(content, max_pixels)
        except UndecodableError:
            raise
        except Exception as error:  # damaged files make Pillow's readers raise almost anything
            raise UndecodableError(reason_of(error)) from error
    stored = (record.width, record.height)
    fields, findings = annotations.moved(file=size, orientation=orientation, stored=stored)
    return Prepared(media, suffix, record, fields, findings=findings)


def _decode_all(content: bytes, max_pixels: int | None) -> None:
    """Decode a picture by the iterators' own decoder. Raises `UndecodableError`."""
    decoder = ImageDecoder(size=LOOKED_AT, max_pixels=max_pixels)
    try:
        decoder.decode_into(Example(0, "", content, ""), np.empty((3, LOOKED_AT, LOOKED_AT), np.uint8), FIRST_PLACE)
    except ExampleError as error:
        raise UndecodableError(error.reason) from error


def _record(image: Image.Image) -> Record:
    width, height = image.size
    if orientation_of(image) in TRANSPOSED:
        width, height = height, width
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        channels = 4
    else:
        channels = 3 if image.mode in COLOUR else 1 if image.mode[:1] in GRAY else 0
    return Record(width=width, height=height, channels=channels)


def _resized(image: Image.Image, resize: int, quality: int) -> tuple[bytes, str, Record]:
    if image.format == "JPEG" and image.mode in ("RGB", "L"):
        scale = 2 * resize / min(image.size)  # libjpeg then decodes at 1/2, 1/4 or 1/8, never below twice `resize`
        image.draft(image.mode, (round(image.width * scale), round(image.height * scale)))
    upright = UprightPicture(image)
    size = (upright.width, upright.height)
    if min(size) > resize:
        scale = resize / min(size)
        size = (max(resize, round(size[0] * scale)), max(resize, round(size[1] * scale)))
    small = _shrunk(upright, size).convert("RGB")
    small.info.clear()  # no comment, profile or metadata of the original goes along
    target = io.BytesIO()
    small.save(target, "JPEG", quality=quality)
    return target.getvalue(), "jpg", Record(width=small.width, height=small.height, channels=3)


def _shrunk(upright: UprightPicture, size: tuple[int, int]) -> Image.Image:
    """A picture in this size, (width, height); a giant is read some rows at a time."""
    if upright.width * upright.height * upright.channels <= BAND_BYTES:
        picture = upright.image()
        return picture if picture.size == size else lanczos(picture, size)
    target = np.empty((size[1], size[0], upright.channels), np.uint8)

    def rows(top: int, bottom: int) -> Pixels:
        return upright.pixels(0, top, upright.width, bottom)

    by_pillow = partial(pillow_resize, filter=Image.Resampling.LANCZOS)
    row_bytes = upright.width * upright.channels
    resize_in_bands(rows, upright.height, target, by_pillow, row_bytes=row_bytes, support=3)
    return Image.fromarray(target[:, :, 0] if upright.channels == 1 else target)
