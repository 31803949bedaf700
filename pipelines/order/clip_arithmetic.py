"""Clips: windows of recordings (or of anything with a length in frames) as examples. Pure arithmetic on lengths.

recording   |------------------------------------------|         short="pad": a last clip runs beyond the end,
clips       |--0--|--1--|--2--|--3--|--4--|--5--|--6--|··        short="skip": it is left out
            |<-w->|                          window and hop are in output frames, at `sample_rate`

Lengths and rates come as rows of an index: `frames`, and frames per second as a fraction of two whole numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .checked_numbers import flag, whole_number

__all__ = ["UNREADABLE", "ClipSpec", "HasLength", "Short"]

Short = Literal["pad", "skip"]
Counts = NDArray[np.int64]

UNREADABLE = -1
"""In `frames`: the example was looked at, and nothing of it can be decoded. Less is an index that is damaged."""

MOST_FRAMES = 1 << 56
"""Output frames of a recording; an index that claims more is damaged."""


MOST_STEP = 1 << 48
"""Of a window or a hop, in frames."""


class HasLength(Protocol):
    """How long one recording is, such as a `Record` of an index; a numerator of 0 is an unknown rate."""

    @property
    def frames(self) -> int: ...

    @property
    def rate_numerator(self) -> int: ...

    @property
    def rate_denominator(self) -> int: ...


@dataclass(frozen=True, slots=True)
class ClipSpec:
    """Which clips a recording has, and where each begins. Raises `ValueError` or `TypeError` for what makes no sense.

    window, hop   length of a clip, and from the start of one to the start of the next, in output frames
    sample_rate   output frames per second, a whole number or a `Fraction`; None: each recording's own
    short         what happens to windows that run beyond the end: "pad", or "skip"
    random_offset     whether a clip begins anywhere in its share of the recording; it changes no count
    """

    window: int
    hop: int
    sample_rate: int | Fraction | None = None
    short: Short = "pad"
    random_offset: bool = field(default=False)

    def __post_init__(self) -> None:
        for name in ("window", "hop"):
            value = getattr(self, name)
            object.__setattr__(self, name, whole_number(name, value, most=MOST_STEP))
        rate = self.sample_rate
        if rate is not None:
            if type(rate) is bool or not isinstance(rate, int | Fraction) or rate <= 0:
                raise ValueError(f"sample_rate is {rate!r}; it must be a whole number from 1 up, or a Fraction.")
            if max(rate.numerator, rate.denominator) >= 1 << 31:
                raise ValueError(f"sample_rate is {rate!r}; its terms must be below {1 << 31:,}.")
            object.__setattr__(self, "sample_rate", int(rate) if rate.denominator == 1 else Fraction(rate))
        if self.short not in ("pad", "skip"):
            raise ValueError(f"short is {self.short!r}; it must be 'pad' or 'skip'.")
        object.__setattr__(self, "random_offset", flag("random_offset", self.random_offset))

    @property
    def length_setting(self) -> tuple[str, str, int]:
        """What a clip is called, the iterator's setting that says how long it is, and its value."""
        return "window", "window", self.window

    def describe(self) -> dict[str, Any]:
        """As JSON: it is part of a state. A fractional rate is text, "30000/1001"."""
        rate = self.sample_rate
        return {
            "kind": "window",
            "window": self.window,
            "hop": self.hop,
            "sample_rate": rate if rate is None or isinstance(rate, int) else str(rate),
            "short": self.short,
            "random_offset": self.random_offset,
        }

    def describe_counts(self) -> dict[str, Any]:
        """As JSON: what decides how many clips a recording has."""
        return {name: value for name, value in self.describe().items() if name != "random_offset"}

    def output_frames(self, records: NDArray[np.void]) -> Counts:
        """Lengths at the output rate, halves rounded up: rows of an index (recordings,) → (recordings,) int64."""
        frames: Counts = np.maximum(records["frames"].astype(np.int64), 0)
        if self.sample_rate is None:
            return frames
        numerator = np.maximum(records["rate_numerator"].astype(np.int64), 1) * self.sample_rate.denominator
        whole, rest = np.divmod(frames, numerator)  # so that no product leaves 64 bits
        scale = self.sample_rate.numerator * np.maximum(records["rate_denominator"].astype(np.int64), 1)
        frames = np.minimum(whole, MOST_FRAMES // scale) * scale
        frames += (2 * rest * scale + numerator) // (2 * numerator)
        return frames

    def output_length(self, record: HasLength) -> int:
        """The same for one recording."""
        frames = max(record.frames, 0)
        if self.sample_rate is None:
            return frames
        numerator = max(record.rate_numerator, 1) * self.sample_rate.denominator
        denominator = max(record.rate_denominator, 1)
        return (2 * frames * self.sample_rate.numerator * denominator + numerator) // (2 * numerator)

    def counts(self, records: NDArray[np.void]) -> Counts:
        """Clips of each recording: (recordings,) int64.

        None of one without frames; one of a recording that is unreadable, so that reading it raises the error.
        """
        frames = self.output_frames(records)
        if self.short == "skip":
            counts = np.maximum((frames - self.window) // self.hop + 1, 0)
        else:
            beyond = frames - max(self.window, self.hop)
            counts = np.where(frames > 0, np.maximum(-(-beyond // self.hop), 0) + 1, 0)
        return np.where(records["frames"] <= UNREADABLE, 1, counts)

    def start(self, number: int) -> int:
        """The output frame at which clip `number` of a recording begins; with `random_offset` see `stretch`."""
        return number * self.hop

    def stretch(self, record: HasLength, number: int, count: int, word: int = 0) -> tuple[int, int]:
        """Where clip `number` of the `count` of a recording begins and how much of it is real, in output frames.

        With `random_offset` the places where a window can begin are shared out evenly among the clips, and `word`, 64
        random bits, chooses from the clip's share.
        """
        frames, start = self.output_length(record), self.start(number)
        if self.random_offset:
            free = max(0, frames - self.window) + 1
            first, stop = number * free // count, (number + 1) * free // count
            start = min(first + (word * max(1, stop - first) >> 64), free - 1)
        return start, min(self.window, frames - start)

    def source_frame(self, start: int, record: HasLength) -> int:
        """The recording's own frame that an output frame falls on or just behind."""
        if self.sample_rate is None or not record.rate_numerator or not record.rate_denominator:
            return start
        rate = self.sample_rate
        return start * record.rate_numerator * rate.denominator // (rate.numerator * record.rate_denominator)

    def key(self, key: str, start: int, record: HasLength) -> str:
        """The key of the clip that begins at an output frame: the recording's, and START in its own frames."""
        return f"{key}@{self.source_frame(start, record)}"
