"""A folder of procedural sounds with their pitch and loudness, to try everything out on."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np

from ..decode.audio.loudness import loudness_curve
from ..decode.audio.wav_writing import encode_wav
from ..errors import ShardingError
from .sample_files import clear_samples
from .sound_synthesis import CONTROL_HZ, SAMPLE_HZ, sound_of, synthesise

__all__ = ["make_sample_sounds"]

OWN_FILE = re.compile(r"sound-(\d{6})\.(wav|json|f0\.npy|loudness\.npy)")


def make_sample_sounds(
    out: str | os.PathLike[str] = "data/audio", *, num: int = 60, seed: int = 0, force: bool = False
) -> int:
    """Write sounds as `sound-000000.wav`, 16 kHz mono 16 bit, 2 to 4 seconds, with what is known of each beside it.

    `.f0.npy` is the pitch in Hz and `.loudness.npy` the A-weighted level in dB: (row,) float32, 250 rows per second.
    `.json` has the instrument, the notes, the noise, the reverb and the level. Six instruments take turns; pitches and
    levels, evenly over 18 dB, are drawn alike for all of them. The same arguments give the same files; those of an
    earlier call are replaced.

    Returns `num`. Raises `ShardingError` for a folder with files it did not make, or samples beyond `num`, unless
    `force` adds to the former and removes the latter, and for one that cannot be written; `ValueError` for a number
    that makes no sense.
    """
    if not 1 <= num <= 1_000_000:
        raise ValueError(f"num is {num}; it must lie in 1 to 1,000,000.")
    folder = Path(out)
    try:
        clear_samples(folder, OWN_FILE, num, force=force)
        for index in range(num):
            sound = sound_of(seed, index)
            samples, pitch = synthesise(sound)
            stem = folder / f"sound-{index:06d}"
            wav = encode_wav(samples[:, None].astype(np.float32), SAMPLE_HZ, "s16")
            stem.with_suffix(".wav").write_bytes(wav)
            stem.with_suffix(".json").write_text(json.dumps(sound.describe()) + "\n", encoding="utf-8")
            np.save(stem.with_suffix(".f0.npy"), pitch.astype(np.float32), allow_pickle=False)
            loudness = loudness_curve(samples, SAMPLE_HZ, CONTROL_HZ)
            np.save(stem.with_suffix(".loudness.npy"), loudness.astype(np.float32), allow_pickle=False)
    except OSError as error:
        raise ShardingError(f"{folder}: cannot be written to ({error.strerror}). Name another one.") from error
    return num
