"""Clips that vary from step to step: higher or lower, louder or softer, through an equaliser, their curves with them.

Exact pitches and levels of a few notes say which note it is. Shifted between its neighbours, a note is told from others
by its sound alone, and the decoder learns pitches and levels that no recording has. Behind an equaliser that is another
one at every step, the levels of harmonics are not what they were: a model has to read them, and cannot know them by
heart.
"""

from __future__ import annotations

import math
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from dirvae import noise
from dirvae.ddsp.curve import check_tensor
from dirvae.ddsp.fft_lengths import fast_length
from dirvae.ddsp.loudness import loudness_curve
from dirvae.float64 import narrow, wide
from dirvae.networks.audio.clips import SoundClips

__all__ = ["equalised", "longest_source", "resampled", "varied"]

REACH = 16
"""Samples to each side that one resampled sample is made of."""
FLOOR_DB = -80.0
EQUALISER_HZ = 200.0
"""Between two places whose gains are drawn; in between gains change along straight lines, in dB."""
RING_SECONDS = 0.05
"""For so long the equaliser may ring."""
LEAST_POWER = 1e-12


def longest_source(num_samples: int, shift_semitones: float) -> int:
    """How many samples a clip of `num_samples` is made of where it is shifted up the most."""
    return math.ceil(num_samples * 2 ** (shift_semitones / 12)) + REACH


def varied(
    clips: SoundClips,
    *,
    num_samples: int,
    num_rows: int,
    shift_semitones: float,
    gain_db: float,
    generator: Generator | None = None,
) -> SoundClips:
    """Clips of `num_samples` and `num_rows`, each at another speed and another level.

    clips            of `longest_source(num_samples, shift_semitones)` samples; what they hold less is padding
    shift_semitones  speeds are 2^(s / 12), s evenly from minus to plus this: pitch and spectrum move together
    gain_db          levels are changed by decibels evenly from minus to plus this; loudness stays above -80 dB
    generator        of the draws, on the CPU; torch's own by default
    """
    drawn = 2 * noise.uniform((2, len(clips)), clips.samples.device, generator, axis=1) - 1
    speed, gain = torch.exp2(drawn[0] * (shift_semitones / 12)), drawn[1] * gain_db
    lengths = clips.lengths
    if lengths is None:
        lengths = torch.full((len(clips),), clips.num_samples, device=speed.device)
    lengths = (lengths.to(speed.device) / speed).long().clamp(max=num_samples)
    samples = resampled(clips.samples, speed, num_samples) * 10 ** (gain[:, None] / 20)
    is_real = torch.arange(num_samples, device=speed.device) < lengths[:, None]
    rows = torch.arange(num_rows, device=speed.device) * speed[:, None]
    return SoundClips(
        torch.where(is_real, samples, 0),
        _at_rows(clips.f0, rows) * speed[:, None],
        (_at_rows(clips.loudness, rows) + gain[:, None]).clamp(min=FLOOR_DB),
        lengths,
    )


def equalised(
    clips: SoundClips,
    *,
    sample_rate: Fraction | float,
    control_rate: Fraction | float,
    equaliser_db: float,
    generator: Generator | None = None,
) -> SoundClips:
    """Clips through an equaliser, each through another one: without delay, at the power they had.

    equaliser_db  gains at every 200 Hz are even draws from -d to +d dB, where d of each clip is an even draw from 0 to
                  this
    generator     of the draws, on the CPU; torch's own by default

    Pitch stays. Loudness changes by as much as that of the clips does; it stays above -80 dB.
    """
    samples, device, num = clips.samples, clips.samples.device, clips.num_samples
    size = fast_length(num + round(RING_SECONDS * float(sample_rate)))
    num_places = math.ceil(float(sample_rate) / 2 / EQUALISER_HZ) + 1
    drawn = noise.uniform((len(clips), 2 + num_places), device, generator)
    tilt = (2 * drawn[:, 1:2] - 1) * torch.linspace(0, 1, num_places, device=device)
    gains = equaliser_db * ((2 * drawn[:, 2:] - 1) * drawn[:, :1] + tilt)
    response = F.interpolate(gains[:, None], size=size // 2 + 1, mode="linear", align_corners=True)[:, 0]
    spectra = torch.fft.rfft(samples, size) * 10 ** (response / 20)
    played = torch.fft.irfft(spectra, size)[:, :num]
    if clips.lengths is not None:
        played = torch.where(torch.arange(num, device=device) < clips.lengths[:, None], played, 0)
    power, changed = (x.square().mean(1, keepdim=True).clamp(min=LEAST_POWER) for x in (samples, played))
    played = played * (power / changed).sqrt()
    before, after = (loudness_curve(x, sample_rate, rate=control_rate).values for x in (samples, played))
    change = torch.zeros_like(clips.loudness)
    change[:, : before.shape[1]] = (after - before)[:, : clips.num_rows]
    return SoundClips(played, clips.f0, (clips.loudness + change).clamp(min=FLOOR_DB), clips.lengths)


def resampled(samples: Tensor, speed: Tensor, num_samples: int) -> Tensor:
    """Signals played faster or slower: (batch, time) and speed (batch,), 1 for the same → (batch, num_samples).

    Sample n is the signal at n · speed, by a sinc of 32 samples under a Hann window, which lets through what lies below
    half the lower one of both rates. Zeros outside the signal. Raises `ValueError` for other shapes.
    """
    check_tensor(samples, "samples")
    if samples.ndim != 2 or speed.shape != samples.shape[:1]:
        raise ValueError(
            f"samples has shape {tuple(samples.shape)}, speed {tuple(speed.shape)}; (batch, time) and (batch,) are "
            "needed."
        )
    exact_speed = wide(speed)[:, None]
    places = torch.arange(num_samples, device=exact_speed.device, dtype=torch.float64) * exact_speed
    first = places.floor()
    taps = torch.arange(1 - REACH, REACH + 1, device=samples.device)
    away = narrow((places - first)[..., None] - taps.to(places.device), samples)
    cutoff = (1 / speed).clamp(max=1).to(samples.dtype)[:, None, None]
    kernel = cutoff * torch.sinc(cutoff * away) * torch.cos(torch.pi / 2 * away / REACH).square()
    padded = F.pad(samples, (REACH, REACH + 1))
    found = (first.long().to(samples.device)[..., None] + taps + REACH).clamp(0, padded.shape[1] - 1)
    values = padded.gather(1, found.flatten(1)).view(found.shape)
    return (values * kernel).sum(2)


def _at_rows(values: Tensor, rows: Tensor) -> Tensor:
    """A curve (batch, row) at fractions of rows (batch, row), by straight lines; the last value after its end."""
    rows = rows.clamp(max=values.shape[1] - 1)
    first = rows.long().clamp(max=max(values.shape[1] - 2, 0))
    behind = (first + 1).clamp(max=values.shape[1] - 1)
    return torch.lerp(values.gather(1, first), values.gather(1, behind), (rows - first).to(values.dtype))
