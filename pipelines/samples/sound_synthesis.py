"""Procedural sounds: short melodies on synthetic instruments, whose pitch is known exactly. Pure functions.

Pitches, levels and reverb (a room of decaying noise) are drawn alike for every instrument, so that none is known by
them. Everything follows from a seed and a number.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..order.randomness import derive_key, philox_words
from .instruments import INSTRUMENTS, formant_gain

__all__ = ["CONTROL_HZ", "LEVELS_DB", "SAMPLE_HZ", "Note", "Sound", "sound_of", "synthesise"]

Floats = NDArray[np.float64]

SAMPLE_HZ = 16_000
CONTROL_HZ = 250
CONTROL_SAMPLES = SAMPLE_HZ // CONTROL_HZ
SCALE = (0, 2, 4, 7, 9)  # a pentatonic one, in semitones
LEVELS_DB = (-38.0, -20.0)
"""Levels of the softest and the loudest sound, as in `Sound`: low enough that peaks stay below 1."""
LEVEL_SAMPLES = 512

SOUND_STREAM, NOISE_STREAM = 0x50D, 0x401
BREATH, ROOM, PLUCK = 0, 1, 2  # what noise is for; a pluck's position is added


@dataclass(frozen=True)
class Note:
    """A stretch of constant nominal pitch; its frequency is what sounds, vibrato and glides aside."""

    start_seconds: float
    seconds: float
    f0_hz: float


@dataclass(frozen=True)
class Sound:
    """What a sound is made from.

    instrument      a name in `INSTRUMENTS`
    noise           the breath's level, the tone's being 1; 0 for none
    reverb_seconds  until the reverb has decayed by 60 dB; 0 for none
    level_db        mean power of its loudest 32 ms, in dB: that of a constant 1 is 0
    seed            of its noise
    """

    instrument: str
    seconds: float
    notes: tuple[Note, ...]
    noise: float
    reverb_seconds: float
    level_db: float
    seed: int

    def describe(self) -> dict[str, Any]:
        """The factors as JSON, with the rates of the samples and of the curves in Hz."""
        return {**asdict(self), "sample_rate": SAMPLE_HZ, "control_rate": CONTROL_HZ}


def sound_of(seed: int, index: int) -> Sound:
    """The sound of a seed and a number: instruments in turn, 2 to 4 seconds, one to four notes, within `LEVELS_DB`."""
    words = philox_words(16, derive_key(seed, SOUND_STREAM, index)).tolist()
    unit = [(word >> 44) / (1 << 20) for word in words]
    instrument = tuple(INSTRUMENTS)[index % len(INSTRUMENTS)]
    seconds = 2.0 + 0.5 * int(unit[0] * 5)
    num = 1 + int(unit[1] * 4)
    root = 48 + int(unit[2] * 12)
    notes = []
    for position in range(num):
        step = int(unit[4 + position] * 2 * len(SCALE))
        midi = root + 12 * (step // len(SCALE)) + SCALE[step % len(SCALE)]
        start, stop = (round(seconds * CONTROL_HZ * edge / num) / CONTROL_HZ for edge in (position, position + 1))
        notes.append(Note(start, stop - start, _playable(instrument, 440.0 * 2.0 ** ((midi - 69) / 12))))
    noise = _between(INSTRUMENTS[instrument].breath, unit[8])
    reverb = round(0.2 + 0.6 * unit[10], 3) if unit[9] < 0.5 else 0.0
    level = _between(LEVELS_DB, unit[12])
    return Sound(instrument, seconds, tuple(notes), noise, reverb, level, int(words[11] >> 33))


def synthesise(sound: Sound) -> tuple[Floats, Floats]:
    """The samples, (time,) in [-1, 1], and the pitch, (row,) in Hz.

    Row k stands at k / CONTROL_HZ seconds.
    """
    pitch = _pitch(sound)
    dry = _additive(sound, pitch) if INSTRUMENTS[sound.instrument].harmonics else _plucked(sound)
    wet = _in_room(dry, sound) if sound.reverb_seconds else dry
    return wet * 10.0 ** ((sound.level_db - _level_db(wet)) / 20), pitch[::CONTROL_SAMPLES]


def _level_db(samples: Floats) -> float:
    """What `Sound.level_db` says of samples (time,)."""
    energy = np.concatenate([[0.0], np.cumsum(samples**2)])
    loudest = float(np.max(energy[LEVEL_SAMPLES:] - energy[:-LEVEL_SAMPLES]))
    return 10.0 * math.log10(loudest / LEVEL_SAMPLES)


def _between(span: tuple[float, float], share: float) -> float:
    """The number at this share of the way through a span, rounded to be written down."""
    return round(span[0] + (span[1] - span[0]) * share, 4)


def _playable(instrument: str, f0_hz: float) -> float:
    """The nearest frequency the instrument has: a string's delay is a whole number of samples and a half."""
    if instrument == "string":
        return SAMPLE_HZ / (round(SAMPLE_HZ / f0_hz - 0.5) + 0.5)
    return round(f0_hz, 3)


def _pitch(sound: Sound) -> Floats:
    """Frequency at every sample in Hz."""
    num = round(sound.seconds * SAMPLE_HZ)
    time = np.arange(num) / SAMPLE_HZ
    pitch = np.zeros(num)
    for note in sound.notes:
        pitch[_span(note)] = note.f0_hz
    instrument = INSTRUMENTS[sound.instrument]
    if instrument.glides:
        width = SAMPLE_HZ // 16
        padded = np.pad(pitch, (width, width), mode="edge")
        sums = np.concatenate([[0.0], np.cumsum(padded)])
        pitch = ((sums[2 * width :] - sums[: -2 * width]) / (2 * width))[:num]
    if instrument.vibrato_depth:
        pitch = pitch * (1 + instrument.vibrato_depth * np.sin(2 * math.pi * 5.5 * time))
    return pitch


def _span(note: Note) -> slice:
    return slice(round(note.start_seconds * SAMPLE_HZ), round((note.start_seconds + note.seconds) * SAMPLE_HZ))


def _additive(sound: Sound, pitch: Floats) -> Floats:
    """Harmonics of the pitch below half the sample rate, shaped note by note, and breath."""
    instrument, envelope = INSTRUMENTS[sound.instrument], _envelope(sound)
    strength = envelope * 10.0 ** ((sound.level_db - max(LEVELS_DB)) / 20)
    phase = 2 * math.pi * np.cumsum(pitch) / SAMPLE_HZ
    tone = np.zeros(len(pitch))
    for harmonic, amplitude in enumerate(instrument.harmonics, 1):
        hz = harmonic * pitch
        gain = formant_gain(hz, strength) if instrument.has_formant else 1.0
        tone += np.where(hz < 0.45 * SAMPLE_HZ, amplitude * gain, 0.0) * np.sin(harmonic * phase)
    if sound.noise:
        breath = np.convolve(_noise(sound.seed, BREATH, len(tone) + 7), np.full(8, 1 / 8), "valid")
        tone += sound.noise * breath * float(np.std(tone) / np.std(breath))
    return tone * envelope


def _envelope(sound: Sound) -> Floats:
    """How loud each note is: a rise, a slight decay, and an end; each a little louder or softer than the last."""
    envelope = np.zeros(round(sound.seconds * SAMPLE_HZ))
    for position, note in enumerate(sound.notes):
        span = _span(note)
        time = np.arange(span.stop - span.start) / SAMPLE_HZ
        shape = np.minimum(time / 0.05, 1.0) * np.minimum((note.seconds - time) / 0.08, 1.0)
        envelope[span] = shape * np.exp(-0.6 * time) * (1.0 - 0.2 * (position % 2))
    return envelope


def _plucked(sound: Sound) -> Floats:
    """y[n] = 0.998 · (y[n - N] + y[n - N - 1]) / 2, begun with N samples of noise: a period of N + 1/2 samples."""
    played = np.zeros(round(sound.seconds * SAMPLE_HZ))
    for position, note in enumerate(sound.notes):
        span, delay = _span(note), round(SAMPLE_HZ / note.f0_hz - 0.5)
        burst = _noise(sound.seed, PLUCK + position, delay)
        string = np.concatenate([[0.0], burst - burst.mean()])
        pieces, length = [string[1:]], delay
        while length < span.stop - span.start:
            following = 0.998 * 0.5 * (string[1:] + string[:-1])
            string = np.concatenate([string[-1:], following])
            pieces.append(following)
            length += delay
        ringing = np.concatenate(pieces)[: span.stop - span.start]
        ringing[-80:] *= np.linspace(1.0, 0.0, 80)
        played[span] = ringing
    return played


def _in_room(dry: Floats, sound: Sound) -> Floats:
    """The sound and, more softly, its convolution with noise that decays by 60 dB in `reverb_seconds`."""
    num = round(sound.reverb_seconds * SAMPLE_HZ)
    response = _noise(sound.seed, ROOM, num) * 10.0 ** (-3.0 * np.arange(num) / num)
    response /= math.sqrt(float(np.sum(response**2)))
    size = 1 << (len(dry) + num - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(response, size), size)[: len(dry)]
    return dry + 0.25 * wet


def _noise(seed: int, use: int, num: int) -> Floats:
    """White noise, uniform in [-1, 1), of its own for each use."""
    words = philox_words(num, derive_key(seed, NOISE_STREAM, use))
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-52 - 1.0
