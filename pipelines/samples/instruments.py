"""The instruments of the sample sounds: what each is known by. All play notes of the same pitches, equally loud.

organ   stops an octave apart: harmonics 1, 2, 4 and 8, steady
bowed   many harmonics, vibrato, glides between the notes
flute   three harmonics, vibrato, and breath: noise around them
string  plucked (Karplus & Strong 1983, Computer Music Journal 7(2)): it rings between two taps of a delay line
reed    as a clarinet: hardly any even harmonics, and a little breath
brass   harmonics around a formant, more of them the louder it is played
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["INSTRUMENTS", "Instrument", "formant_gain"]

Floats = NDArray[np.float64]

FORMANT_HZ, FORMANT_WIDTH_HZ = 1200.0, 500.0
DULL_HZ, BRIGHT_HZ = 250.0, 2000.0


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """How one instrument sounds.

    harmonics      amplitudes of its harmonics, the fundamental's first; none for a plucked string
    has_formant    whether they are multiplied by `formant_gain`
    vibrato_depth  relative to the pitch, to either side; 0: none
    glides         whether the pitch glides from note to note
    breath         the least and the greatest level of its noise, the tone's being 1
    """

    harmonics: tuple[float, ...] = ()
    has_formant: bool = False
    vibrato_depth: float = 0.0
    glides: bool = False
    breath: tuple[float, float] = (0.0, 0.0)


INSTRUMENTS = {
    "organ": Instrument(harmonics=(1.0, 0.7, 0.0, 0.5, 0.0, 0.0, 0.0, 0.35)),
    "bowed": Instrument(harmonics=tuple(1 / n for n in range(1, 25)), vibrato_depth=0.006, glides=True),
    "flute": Instrument(harmonics=(1.0, 0.3, 0.1), vibrato_depth=0.003, breath=(0.05, 0.15)),
    "string": Instrument(),
    "reed": Instrument(harmonics=tuple((1 if n % 2 else 0.1) / n for n in range(1, 16)), breath=(0.01, 0.04)),
    "brass": Instrument(harmonics=(1.0,) * 24, has_formant=True),
}


def formant_gain(hz: Floats, strength: Floats) -> Floats:
    """The gain of partials at these frequencies: a resonance, and a slope that is the steeper the softer the sound is.

    hz and strength (time,), the latter an amplitude in [0, 1]: the slope falls by a factor of e every 250 Hz at
    strength 0, every 2,000 Hz at strength 1. Returns (time,), above 0 and up to 1.
    """
    resonance = 1.0 / (1.0 + ((hz - FORMANT_HZ) / FORMANT_WIDTH_HZ) ** 2)
    gain: Floats = resonance * np.exp(-hz / (DULL_HZ + (BRIGHT_HZ - DULL_HZ) * strength))
    return gain
