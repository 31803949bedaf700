"""What PNG and WebP files have in common when nothing about them is unusual."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PlainPicture"]


@dataclass(frozen=True, slots=True)
class PlainPicture:
    """A still, upright picture of 8 bits: `height` and `width` in pixels, `channels` 1 (gray), 3 (RGB) or 4
    (RGBA) as `codec` gives them, and the `file` to give to it."""

    codec: str
    height: int
    width: int
    channels: int
    file: bytes

    @property
    def memory(self) -> int:
        """Bytes that decoding it takes: of WebP besides its pixels those of the decoder."""
        return self.height * self.width * (8 if self.codec == "webp" else self.channels)
