"""The pitch of real recordings: saxophone notes whose pitch is known, and phrases beside librosa's pYIN."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import torch

from dirvae.ddsp import loudness_curve, track_f0
from tests.dirvae.tones import as_sound, cents

SEMITONES = {"c": 0, "db": 1, "d": 2, "eb": 3, "e": 4, "f": 5, "gb": 6, "g": 7, "ab": 8, "a": 9, "bb": 10, "b": 11}
QUICK = ("db2_f", "c3_f", "f3_p", "g4_p")


def sounding_hz(path: Path) -> float:
    """The pitch of a saxophone note: an octave above the written one that its name has."""
    name, octave = re.match(r"([a-g]b?)(\d)_", path.name).groups()
    return 440.0 * 2 ** ((SEMITONES[name] + 12 * (int(octave) + 1) + 12 - 69) / 12)


def notes(shared_data: Path, names: tuple[str, ...] = ("",)) -> list[Path]:
    folder = shared_data / "audio" / "saxophone"
    found = [path for path in sorted(folder.glob("*.wav")) if path.name.startswith(names)]
    if not found:
        pytest.skip(f"{folder} is absent: it holds recordings that are not part of the project")
    return found


def read(path: Path, sample_rate: int) -> np.ndarray:
    samples, own_rate = soundfile.read(path, dtype="float32")
    return samples if own_rate == sample_rate else soxr.resample(samples, own_rate, sample_rate)


def measure(paths: list[Path], sample_rate: int, noise_db: float | None = None) -> tuple[np.ndarray, float]:
    """Cents of all confident rows, and the share of rows above −40 dB that are confident."""
    rng = np.random.default_rng(0)
    errors, confident = [], []
    for path in paths:
        samples = read(path, sample_rate)
        level = loudness_curve(as_sound(samples), sample_rate).values[0]
        if noise_db is not None:
            spread = np.sqrt(np.mean(samples**2) * 10 ** (-noise_db / 10))
            samples = samples + spread * rng.normal(size=len(samples))
        found = track_f0(as_sound(samples), sample_rate)
        is_sure = found.confidence.values[0] >= 0.5
        confident.append(is_sure[level > -40])
        is_counted = is_sure if noise_db is None else is_sure & (level > -40)
        errors.append(cents(found.f0.values[0][is_counted], sounding_hz(path)))
    return torch.cat(errors).numpy(), torch.cat(confident).float().mean().item()


def octave_errors(error: np.ndarray) -> float:
    """The share of rows that are within half a semitone of another octave than the right one."""
    octaves = np.rint(error / 1200)
    return float(((octaves != 0) & (np.abs(error - 1200 * octaves) < 50)).mean())


def check(error: np.ndarray, confident: float, gross: float = 0.005) -> None:
    assert np.median(np.abs(error)) <= 1.5
    assert (np.abs(error) > 50).mean() <= gross
    assert octave_errors(error) <= 0.002
    assert confident >= 0.95


def test_some_saxophone_notes_have_their_pitch(shared_data: Path) -> None:
    error, confident = measure(notes(shared_data, QUICK), 16_000)
    assert np.median(np.abs(error)) <= 1.5
    assert (np.abs(error) > 50).mean() <= 0.01
    assert confident >= 0.95


@pytest.mark.heavy
@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
def test_all_saxophone_notes_have_their_pitch(shared_data: Path, sample_rate: int) -> None:
    check(*measure(notes(shared_data), sample_rate))


@pytest.mark.heavy
def test_all_saxophone_notes_have_their_pitch_in_noise(shared_data: Path) -> None:
    check(*measure(notes(shared_data), 16_000, noise_db=10), gross=0.01)


@pytest.mark.heavy
@pytest.mark.parametrize(
    "name", ["cello-phrase", "flute-A4", "oboe-A4", "speech-female", "trumpet-A4", "violin-B3"]
)
def test_phrases_have_the_pitch_that_pyin_finds(shared_data: Path, name: str) -> None:
    """pYIN's windows are 93 ms long; for speech, which moves by 1,400 cents a second, 46 ms, about as long as ours."""
    frame_length = 1024 if name.startswith("speech") else 2048
    librosa = pytest.importorskip("librosa", reason="librosa is not installed: pip install librosa")
    path = shared_data / "audio" / "phrases" / f"{name}.wav"
    samples = read(path, 22_050)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, is_voiced, _ = librosa.pyin(
            samples, fmin=50, fmax=2000, sr=22_050, hop_length=256, frame_length=frame_length
        )
    found = track_f0(as_sound(samples), 22_050, rate=22_050 / 256)
    num = min(len(expected), found.f0.num_rows)
    both = is_voiced[:num] & (found.confidence.values[0, :num] >= 0.5).numpy()
    assert both.sum() > 20
    difference = cents(found.f0.values[0, :num][torch.from_numpy(both)], expected[:num][both])
    assert difference.abs().median() < 10
