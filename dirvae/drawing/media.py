"""Decoded pictures, clips or sounds on the CPU, ready to be shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Kind", "Media"]

Kind = Literal["image", "video", "audio"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Media:
    """Pictures, clips or sounds of one shape; fields of the other kinds are None.

    pictures           uint8 (num, height, width, 3) in sRGB: of "image"
    clips              uint8 (num, time, height, width, 3): of "video"
    frames_per_second  of the clips
    sounds             float32 (num, sample), usually in [-1, 1]: of "audio"
    sample_rate        of the sounds, in Hz
    """

    kind: Kind
    pictures: NDArray[np.uint8] | None = None
    clips: NDArray[np.uint8] | None = None
    frames_per_second: float | None = None
    sounds: NDArray[np.float32] | None = None
    sample_rate: int | None = None

    def __len__(self) -> int:
        return len(self.values)

    def items(self) -> list[Media]:
        """Each item as separate media."""
        return [self._item(slice(item, item + 1)) for item in range(len(self))]

    def _item(self, part: slice) -> Media:
        return replace(
            self,
            pictures=None if self.pictures is None else self.pictures[part],
            clips=None if self.clips is None else self.clips[part],
            sounds=None if self.sounds is None else self.sounds[part],
        )

    @property
    def values(self) -> NDArray[np.uint8] | NDArray[np.float32]:
        """The array of the kind, one item per row."""
        found = {"image": self.pictures, "video": self.clips, "audio": self.sounds}[self.kind]
        assert found is not None
        return found
