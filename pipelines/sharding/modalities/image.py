"""One image file on its way into a shard: checked, or made again in another size, or refused with a reason.

Without `resize` the bytes are packed as they are and only the header is read: size, orientation, channels.
The reasons go into the manifest, so they hold no address, path or time.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from PIL import Image

from ...decode.errors import UndecodableError
from ...decode.image.pillow import as_rgb, open_image, orientation_of
from ...order.checked_numbers import whole_number
from ...storage.index import Record
from ...storage.listing import SourceFile
from ..packing import Prepared
from ..shard_file import NO_FIELDS
from ..source_reader import SourceReader, UnpackableError

__all__ = ["ImageSettings", "add_arguments", "prepare_image"]

TRANSPOSED = frozenset((5, 6, 7, 8))
GRAY, COLOUR = frozenset(("1", "L", "I", "F")), frozenset(("RGB", "P", "YCbCr", "LAB", "HSV"))
WITH_ALPHA = frozenset(("LA", "La", "PA", "RGBA", "RGBa", "CMYK"))


@dataclass(frozen=True)
class ImageSettings:
    """What becomes of each image file. Raises `ValueError` or `TypeError` for nonsense.

    decode   decode every image whole, not just its header.
    resize   shorter side in pixels of the JPEGs to make; None: pack the files as they are.
    quality  JPEG quality from 1 to 95 with `resize`; None without.
    """

    modality: ClassVar[str] = "image"
    cuts: ClassVar[bool] = False

    decode: bool = False
    resize: int | None = None
    quality: int | None = None

    def __post_init__(self) -> None:
        for name in ("resize", "quality"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole_number(name, value, least=1 if name == "resize" else None))
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
        return asdict(self)

    def check(self, files: Sequence[SourceFile]) -> tuple[str, ...]:
        """No remarks."""
        return ()

    def prepare(self, file: SourceReader, suffix: str, fields: Mapping[str, bytes]) -> Iterator[Prepared]:
        """The one example that an image file is. Raises `UnpackableError` with the reason if it is not one."""
        try:
            yield prepare_image(
                file.content(),
                suffix,
                decode=self.decode,
                resize=self.resize,
                quality=self.quality or 90,
                fields=fields,
            )
        except UndecodableError as error:
            raise UnpackableError(str(error)) from error


def add_arguments(group: Any) -> None:
    """The flags of these settings."""
    group.add_argument("--resize", type=int, metavar="PIXELS", help="make upright RGB JPEGs with this shorter side")
    group.add_argument("--quality", type=int, metavar="1-95", help="JPEG quality with --resize (default: 90)")


def prepare_image(
    content: bytes,
    suffix: str,
    *,
    decode: bool = False,
    resize: int | None = None,
    quality: int = 90,
    fields: Mapping[str, bytes] = NO_FIELDS,
) -> Prepared:
    """Check the bytes of an image file.

    `decode` decodes all of it, to be sure. `resize` makes an upright RGB JPEG of `quality` whose shorter side
    is `resize` pixels (smaller images keep their size); otherwise the bytes stay as they are.

    Raises `UndecodableError`, with the reason, for anything that the iterators could not read either.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd EXIF blocks and large pictures, which are fine
        try:
            with open_image(content) as image:
                if resize is not None:
                    return Prepared(*_resized(image, resize, quality), fields)
                record = _record(image)
                if decode:
                    as_rgb(image)
                return Prepared(content, suffix, record, fields)
        except Exception as error:  # damaged files make Pillow's readers raise almost anything
            raise UndecodableError(_reason(error)) from error


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
    upright = as_rgb(image)
    width, height = upright.size
    if min(width, height) > resize:
        scale = resize / min(width, height)
        size = (max(resize, round(width * scale)), max(resize, round(height * scale)))
        upright = upright.resize(size, Image.Resampling.LANCZOS)
    upright.info.clear()  # no comment, profile or metadata of the original goes along
    target = io.BytesIO()
    upright.save(target, "JPEG", quality=quality)
    return target.getvalue(), "jpg", Record(width=upright.width, height=upright.height, channels=3)


def _reason(error: Exception) -> str:
    text = re.sub(r"<[^<>]*? at 0x[0-9a-fA-F]+>", "the file", str(error))
    return " ".join(text.split()).rstrip(".") or type(error).__name__
