"""Clips: windows of recordings (or of anything with a length in frames) as examples. Pure arithmetic on lengths.

recording   |------------------------------------------|         short="pad": a last clip runs over the end,
clips       |--0--|--1--|--2--|--3--|--4--|--5--|--6--|··        short="skip": it is left out
            |<-w->|                          window and hop are in output frames, at `sample_rate`
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["FACTS_DTYPE", "ClipSpec", "Facts", "Short"]

Short = Literal["pad", "skip"]
Counts = NDArray[np.int64]

FACTS_DTYPE = np.dtype(
    [
        ("frames", "<i8"),  # that can be decoded; UNREADABLE where nothing can
        ("rate_numerator", "<i4"),  # frames a second, as a fraction; 0 where unknown
        ("rate_denominator", "<i4"),
        ("channels", "<i4"),
    ]
)
UNREADABLE = -1


class Facts(NamedTuple):
    """How long one recording is: a row of an array of `FACTS_DTYPE`."""

    frames: int
    rate_numerator: int
    rate_denominator: int
    channels: int

    def as_array(self) -> NDArray[np.void]:
        """As an array of one row."""
        return np.array([tuple(self)], FACTS_DTYPE)


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Which clips a recording has. Raises `ValueError` for what makes no sense.

    window, hop   length of a clip, and from the start of one to the start of the next, in output frames
    sample_rate   output frames a second; None: each recording's own
    short         what happens to windows that run over the end: "pad", or "skip"
    random_offset     whether a clip begins anywhere in its share of the recording; it changes no count
    """

    window: int
    hop: int
    sample_rate: int | None = None
    short: Short = "pad"
    random_offset: bool = field(default=False, repr=False)  # what is cached by `repr` holds for both

    def __post_init__(self) -> None:
        for name in ("window", "hop", "sample_rate"):
            value = getattr(self, name)
            if value is None and name == "sample_rate":
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a whole number from 1 up.")
        if self.short not in ("pad", "skip"):
            raise ValueError(f"short is {self.short!r}; it must be 'pad' or 'skip'.")
        if not isinstance(self.random_offset, bool):
            raise ValueError(f"random_offset is {self.random_offset!r}; it must be True or False.")

    def describe(self) -> dict[str, Any]:
        """As JSON: it is part of a state."""
        return asdict(self)

    def output_frames(self, facts: NDArray[np.void]) -> Counts:
        """Lengths at the output rate, halves rounded up: (recordings,) of `FACTS_DTYPE` → (recordings,) int64."""
        frames: Counts = np.maximum(facts["frames"].astype(np.int64), 0)
        if self.sample_rate is None:
            return frames
        numerator = np.maximum(facts["rate_numerator"].astype(np.int64), 1)
        whole, rest = np.divmod(frames, numerator)  # so that no product leaves 64 bits
        scale = self.sample_rate * facts["rate_denominator"].astype(np.int64)
        frames = whole * scale
        frames += (2 * rest * scale + numerator) // (2 * numerator)
        return frames

    def counts(self, facts: NDArray[np.void]) -> Counts:
        """Clips of each recording: (recordings,) int64.

        None of one without frames; one of a recording that is unreadable, so that whoever comes upon it is told.
        """
        frames = self.output_frames(facts)
        if self.short == "skip":
            counts = np.maximum((frames - self.window) // self.hop + 1, 0)
        else:
            beyond = frames - max(self.window, self.hop)
            counts = np.where(frames > 0, np.maximum(-(-beyond // self.hop), 0) + 1, 0)
        return np.where(facts["frames"] == UNREADABLE, 1, counts)

    def source_frame(self, start: int, facts: Facts) -> int:
        """The recording's own frame that an output frame falls on or just behind."""
        if self.sample_rate is None or not facts.rate_numerator:
            return start
        return start * facts.rate_numerator // (self.sample_rate * facts.rate_denominator)
