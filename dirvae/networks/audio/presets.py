"""Sizes of the networks of sound."""

from __future__ import annotations

from dataclasses import dataclass

from dirvae.choices import CORES

__all__ = ["CORES", "PRESETS", "Preset", "find_preset"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How large the decoder and the encoder are.

    width           of the stack that reads each input of the decoder, and of the one that makes its output
    layers          of each of these stacks
    hidden          size of the core's state, or channels of its convolutions
    core            "gru" or "conv"
    channels        of the encoder's convolutions
    lowest_hz       down to this pitch the harmonics reach half the sample rate
    """

    width: int
    layers: int
    hidden: int
    core: str
    channels: int
    lowest_hz: float


PRESETS = {
    "tiny": Preset(width=32, layers=1, hidden=48, core="conv", channels=48, lowest_hz=160.0),
    "small": Preset(width=96, layers=2, hidden=128, core="gru", channels=96, lowest_hz=80.0),
    "full": Preset(width=256, layers=3, hidden=512, core="gru", channels=160, lowest_hz=80.0),
}


def find_preset(name: str) -> Preset:
    """The preset called `name`. ValueError for a name that is not known."""
    if name not in PRESETS:
        raise ValueError(f"no preset is called {name!r}; use one of {', '.join(PRESETS)}.")
    return PRESETS[name]
