"""Sounds as data URIs of WAV files, with one gain for sounds that are compared."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pipelines.decode.audio.wav_writing import encode_wav

__all__ = ["Player", "lowered", "make_players", "wav_uri"]


@dataclass(frozen=True)
class Player:
    """A sound for the page: its label, its data URI, and a note about its level and rate, or ""."""

    label: str
    uri: str
    note: str


def make_players(
    sounds: Mapping[str, Tensor], sample_rate: float, *, highest_rates: Mapping[str, float] | None = None
) -> list[Player]:
    """Players of sounds (time,) by label. If a sound is louder than full scale, all become quieter by the same factor.

    `highest_rates` has the highest rate in Hz of a sound by its label; above it the sound is `lowered`.
    """
    cleaned = {label: sound.detach().float().cpu().nan_to_num(0.0, 0.0, 0.0) for label, sound in sounds.items()}
    limits = {} if highest_rates is None else highest_rates
    played = {label: lowered(sound, sample_rate, limits.get(label, math.inf)) for label, sound in cleaned.items()}
    peak = max((float(sound.abs().max()) for sound, _ in played.values() if len(sound)), default=0.0)
    gain = 1 / max(peak, 1.0)
    notes = {
        label: [f"at {rate:,.0f} samples per second"] * (rate < sample_rate) for label, (_, rate) in played.items()
    }
    if gain < 1:
        for note in notes.values():
            note.insert(0, f"played {-20 * math.log10(gain):.1f} dB quieter than it is")
    return [
        Player(label, wav_uri(gain * sound, rate), ", ".join(notes[label]))
        for label, (sound, rate) in played.items()
    ]


def lowered(sound: Tensor, sample_rate: float, highest: float) -> tuple[Tensor, float]:
    """A sound (time,) at a rate of at most `highest` Hz, and this rate: the old one divided by a whole number.

    Frequencies above half the new rate are removed. A sound with a low enough rate is returned as it is.
    """
    factor = 1 if math.isinf(highest) else math.ceil(sample_rate / highest)
    if factor == 1 or not len(sound):
        return sound, sample_rate
    padded = F.pad(sound, (0, -len(sound) % factor))
    length = len(padded) // factor
    spectrum = torch.fft.rfft(padded)[: (length + 1) // 2]
    return torch.fft.irfft(spectrum, n=length) / factor, sample_rate / factor


def wav_uri(sound: Tensor, sample_rate: float) -> str:
    """A sound (time,) in [-1, 1] as a data URI of a 16-bit WAV file; the rate in Hz is rounded."""
    content = encode_wav(sound.float().cpu().numpy()[:, None], round(sample_rate), "s16")
    return "data:audio/wav;base64," + base64.b64encode(content).decode("ascii")
