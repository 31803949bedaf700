"""Sounds as text: WAV files in data URIs, and one loudness for those that are compared."""

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
    """A sound for the page: what it is called, its address, and a note about its level, or ""."""

    label: str
    uri: str
    note: str


def make_players(
    sounds: Mapping[str, Tensor], sample_rate: float, *, highest_rates: Mapping[str, float] | None = None
) -> list[Player]:
    """Players of sounds (time,) by their labels. Where one is louder than full scale, all become quieter alike.

    `highest_rates`: above how many samples per second a sound is `lowered`, by its label.
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
    """A sound (time,) with the smallest whole part of its samples per second that is at most `highest`, and that rate.

    Frequencies that the new rate cannot hold are removed; the sound is the same if its rate is low enough.
    """
    factor = 1 if math.isinf(highest) else math.ceil(sample_rate / highest)
    if factor == 1 or not len(sound):
        return sound, sample_rate
    padded = F.pad(sound, (0, -len(sound) % factor))
    length = len(padded) // factor
    spectrum = torch.fft.rfft(padded)[: (length + 1) // 2]
    return torch.fft.irfft(spectrum, n=length) / factor, sample_rate / factor


def wav_uri(sound: Tensor, sample_rate: float) -> str:
    """A sound (time,) in [-1, 1] as a data URI of a WAV file of 16 bits, at a whole number of samples per second."""
    content = encode_wav(sound.float().cpu().numpy()[:, None], round(sample_rate), "s16")
    return "data:audio/wav;base64," + base64.b64encode(content).decode("ascii")
