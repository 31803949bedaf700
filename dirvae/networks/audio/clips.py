"""What an `AudioVAE` is given: stretches of sound with their pitch and loudness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from dirvae.ddsp.curve import check_tensor, exact_rate
from dirvae.float64 import narrow, wide_device
from dirvae.transfer import send

__all__ = ["SoundClips", "shifted_rows"]


@dataclass(frozen=True, eq=False)
class SoundClips:
    """Clips of sound, and curves whose row k stands at k / rate seconds of each clip.

    samples   (batch, time) float in [-1, 1]
    f0        (batch, row) Hz, above 0
    loudness  (batch, row) dB
    lengths   (batch,) samples that are real; what comes after them is padding. None: all are

    Raises `ValueError` for shapes that do not fit.
    """

    samples: Tensor
    f0: Tensor
    loudness: Tensor
    lengths: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("samples", "f0", "loudness"):
            value = getattr(self, name)
            check_tensor(value, name)
            if value.ndim != 2 or len(value) != len(self.samples):
                raise ValueError(
                    f"{name} has shape {tuple(value.shape)}; it must be (batch, …) like the other two."
                )
        if self.f0.shape != self.loudness.shape:
            raise ValueError(
                f"f0 has shape {tuple(self.f0.shape)}, loudness {tuple(self.loudness.shape)}; they must be alike."
            )
        if self.lengths is not None and self.lengths.shape != self.samples.shape[:1]:
            raise ValueError(f"lengths has shape {tuple(self.lengths.shape)}; it must be ({len(self.samples)},).")

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def num_samples(self) -> int:
        """Samples of each clip, padding included."""
        return self.samples.shape[1]

    @property
    def num_rows(self) -> int:
        """Rows of each curve."""
        return self.f0.shape[1]

    def __getitem__(self, part: slice) -> SoundClips:
        """Some of the clips."""
        lengths = None if self.lengths is None else self.lengths[part]
        return SoundClips(self.samples[part], self.f0[part], self.loudness[part], lengths)

    def to(self, device: torch.device | str) -> SoundClips:
        """The same clips on a device."""
        moved = {name: send(value, device) for name, value in vars(self).items() if value is not None}
        return replace(self, **moved)

    def as_type(self, dtype: torch.dtype) -> SoundClips:
        """The same clips with samples and curves of a floating-point type; themselves if they have it."""
        if self.samples.dtype == self.f0.dtype == self.loudness.dtype == dtype:
            return self
        return replace(self, samples=self.samples.to(dtype), f0=self.f0.to(dtype), loudness=self.loudness.to(dtype))

    @classmethod
    def join(cls, parts: Sequence[SoundClips]) -> SoundClips:
        """All clips of one or more parts, which are of one length."""
        lengths = [
            torch.full((len(part),), part.num_samples, device=part.samples.device)
            if part.lengths is None
            else part.lengths
            for part in parts
        ]
        return cls(
            torch.cat([part.samples for part in parts]),
            torch.cat([part.f0 for part in parts]),
            torch.cat([part.loudness for part in parts]),
            torch.cat(lengths),
        )

    @classmethod
    def from_batch(
        cls, batch: Any, *, rate: Fraction | float, f0: str = "f0.npy", loudness: str = "loudness.npy"
    ) -> SoundClips:
        """The clips of a batch of `pipelines.AudioIterator` with these curves, each of `rate` rows per second.

        Clips begin anywhere between two rows. Their curves are moved to rows at k / rate by straight lines, from the
        times of the first rows that the batch gives in its fields `NAME@start`. A missing curve raises `ValueError`
        with the key of its clip.
        """
        samples = torch.as_tensor(batch.data).float()
        if samples.ndim != 3 or samples.shape[1] != 1:
            raise ValueError(f"data has shape {tuple(samples.shape)}; it must be (batch, 1 channel, time).")
        curves = [_curve(batch, name, samples.device, exact_rate(rate, "rate")) for name in (f0, loudness)]
        lengths = getattr(batch, "lengths", None)
        lengths = None if lengths is None else send(torch.as_tensor(lengths), samples.device)
        return cls(samples[:, 0], curves[0], curves[1], lengths)


def shifted_rows(values: Tensor, start_rows: Tensor) -> Tensor:
    """Rows at 0, 1, 2 … of curves whose row 0 stands at `start_rows` (batch,), each in [-1/2, 1/2].

    (batch, row) → the same shape, by straight lines; outside the rows that are there, the value of the nearest one.
    """
    before = torch.cat((values[:, :1], values[:, :-1]), 1)
    behind = torch.cat((values[:, 1:], values[:, -1:]), 1)
    shift = narrow(start_rows, values)[:, None]
    return torch.where(shift > 0, torch.lerp(values, before, shift), torch.lerp(values, behind, -shift))


def _curve(batch: Any, name: str, device: torch.device, rate: Fraction) -> Tensor:
    found = batch.fields.get(name)
    if found is None or (isinstance(found, list) and any(rows is None for rows in found)):
        missing = next((key for key, rows in zip(batch.keys, found or [None], strict=False) if rows is None), "")
        raise ValueError(
            f"{missing or 'a clip'}: has no {name}. Pack the recordings with --features f0,loudness, and read them "
            f"with curves=({name!r}, …)."
        )
    values = send(torch.as_tensor(found), device).float()
    starts = send(torch.as_tensor(batch.fields[f"{name}@start"]), wide_device(device)).double() * float(rate)
    return shifted_rows(values, starts)
