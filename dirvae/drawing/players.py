"""Sounds as text: WAV files in data URIs, and one loudness for those that are compared."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from pipelines.decode.audio.wav_writing import encode_wav

__all__ = ["Player", "make_players", "wav_uri"]


@dataclass(frozen=True)
class Player:
    """A sound for the page: what it is called, its address, and a note about its level, or ""."""

    label: str
    uri: str
    note: str


def make_players(sounds: Mapping[str, Tensor], sample_rate: float) -> list[Player]:
    """Players of sounds (time,) by their labels. Where one is louder than full scale, all become quieter alike."""
    cleaned = {label: sound.detach().float().cpu().nan_to_num(0.0, 0.0, 0.0) for label, sound in sounds.items()}
    peak = max((float(sound.abs().max()) for sound in cleaned.values() if len(sound)), default=0.0)
    gain = 1 / max(peak, 1.0)
    note = f"played {-20 * math.log10(gain):.1f} dB quieter than it is" if gain < 1 else ""
    return [Player(label, wav_uri(gain * sound, sample_rate), note) for label, sound in cleaned.items()]


def wav_uri(sound: Tensor, sample_rate: float) -> str:
    """A sound (time,) in [-1, 1] as a data URI of a WAV file of 16 bits, at a whole number of samples per second."""
    content = encode_wav(sound.float().cpu().numpy()[:, None], round(sample_rate), "s16")
    return "data:audio/wav;base64," + base64.b64encode(content).decode("ascii")
