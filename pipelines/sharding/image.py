"""One image file on its way into a shard: looked at, or made anew, or refused with a reason.

Without `resize` the bytes are packed as they are and only the header is read: size, orientation, channels.
The reasons go into the manifest, so they hold no address, path or time.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass

from PIL import Image

from ..decode.pillow import UnreadableImageError, as_rgb, open_image, orientation_of
from .shard_file import MediaFacts

__all__ = ["PreparedImage", "prepare_image"]

TRANSPOSED = frozenset((5, 6, 7, 8))
GRAY, COLOUR = frozenset(("1", "L", "I", "F")), frozenset(("RGB", "P", "YCbCr", "LAB", "HSV"))
WITH_ALPHA = frozenset(("LA", "La", "PA", "RGBA", "RGBa", "CMYK"))


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """The bytes to pack, their suffix in the tar, and what the index says of them."""

    media: bytes
    suffix: str
    facts: MediaFacts


def prepare_image(
    content: bytes, suffix: str, *, decode: bool = False, resize: int | None = None, quality: int = 90
) -> PreparedImage:
    """Look at the bytes of an image file.

    `decode` decodes all of it, to be sure. `resize` makes an upright RGB JPEG of `quality` whose shorter side
    is `resize` pixels (smaller images keep their size); otherwise the bytes stay as they are.

    Raises `UnreadableImageError`, with the reason, for anything that the iterators could not read either.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd EXIF blocks and large pictures, which are fine
        try:
            with open_image(content) as image:
                if resize is not None:
                    return _made_anew(image, resize, quality)
                facts = _facts(image)
                if decode:
                    as_rgb(image)
                return PreparedImage(content, suffix, facts)
        except Exception as error:  # damaged files make Pillow's readers raise almost anything
            raise UnreadableImageError(_reason(error)) from error


def _facts(image: Image.Image) -> MediaFacts:
    width, height = image.size
    if orientation_of(image) in TRANSPOSED:
        width, height = height, width
    if image.mode in WITH_ALPHA or "transparency" in image.info:
        channels = 4
    else:
        channels = 3 if image.mode in COLOUR else 1 if image.mode[:1] in GRAY else 0
    return MediaFacts(width=width, height=height, channels=channels)


def _made_anew(image: Image.Image, resize: int, quality: int) -> PreparedImage:
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
    return PreparedImage(
        target.getvalue(), "jpg", MediaFacts(width=upright.width, height=upright.height, channels=3)
    )


def _reason(error: Exception) -> str:
    text = re.sub(r"<[^<>]*? at 0x[0-9a-fA-F]+>", "the file", str(error))
    return " ".join(text.split()).rstrip(".") or type(error).__name__
