"""The pitch of sounds whose pitch is known: of every spectrum and rate, gliding, in noise, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
import soxr
import torch

from dirvae.ddsp import loudness_curve, track_f0
from tests.dirvae.tones import SPECTRA, as_sound, cents, glide, tone

PITCHES = (50, 55, 73, 98, 131, 196, 247, 330, 440, 587, 784, 1047, 1230, 1400, 1480, 1661, 1760, 1900, 2000)
EDGE = 12
"""Rows at each end whose window is cut off."""


def is_heard(f0_hz: float, spectrum: str, sample_rate: int) -> bool:
    """Whether the harmonics that are left below 45 % of the sample rate have this pitch and no other."""
    left = [k for k in range(1, 200) if k * f0_hz < 0.45 * sample_rate and SPECTRA[spectrum](k)]
    return bool(left) and np.gcd.reduce(left) == 1 and (len(left) > 1 or spectrum not in ("few high harmonics",))


@pytest.mark.parametrize("sample_rate", [16_000, 22_050, 44_100])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_tones_from_50_to_2000_hz_have_their_pitch(spectrum: str, sample_rate: int) -> None:
    pitches = [hz for hz in PITCHES if is_heard(hz, spectrum, sample_rate)]
    assert len(pitches) > 14
    turns = np.arange(sample_rate // 5) / sample_rate
    found = track_f0(as_sound(*(tone(hz, hz * turns, sample_rate, spectrum) for hz in pitches)), sample_rate)
    error = cents(found.f0.values, np.array(pitches)[:, None])[:, EDGE:-EDGE].abs()
    assert found.confidence.values[:, EDGE:-EDGE].min() > 0.9
    assert error.max() < 50, [hz for hz, row in zip(pitches, error, strict=True) if row.max() > 50]
    assert error.median(1).values.max() < 0.2


@pytest.mark.parametrize("sample_rate", [16_000, 22_050, 44_100, 48_000])
def test_a_glide_comes_back_within_a_cent_at_the_right_moment(sample_rate: int) -> None:
    found = track_f0(as_sound(glide(110, 1.2, sample_rate), glide(300, 1.2, sample_rate)), sample_rate)
    truth = torch.tensor([[110.0], [300.0]]).double() * 2 ** found.f0.seconds()
    error = cents(found.f0.values, truth)
    assert error.abs().median(1).values.max() < 1
    assert error.median(1).values.abs().max() < 0.3, "a row's time is right to 0.25 ms"
    assert error.abs().max() < 20, "the cut windows of the ends, too"


def test_a_row_of_another_rate_stands_at_its_own_moment() -> None:
    sound = as_sound(glide(200, 1.5, 44_100))
    for rate in (125, 86.1328125, 100, 441):
        found = track_f0(sound, 44_100, rate=rate)
        assert found.f0.num_rows == int(np.ceil(1.5 * rate))
        error = cents(found.f0.values, 200 * 2 ** found.f0.seconds())
        assert error.median().abs() < 0.3, rate


@pytest.mark.parametrize("sample_rate", [8000, 11_025, 12_345, 32_000, 47_999])
def test_any_sample_rate_will_do(sample_rate: int) -> None:
    pitches = np.array([[60.0], [220.0], [700.0], [1400.0]])
    turns = np.arange(sample_rate // 4) / sample_rate
    found = track_f0(
        as_sound(*(tone(hz, hz * turns, sample_rate, "sawtooth") for hz in pitches[:, 0])), sample_rate
    )
    assert found.f0.num_rows == -(-(sample_rate // 4) * 250 // sample_rate)
    assert cents(found.f0.values, pitches)[:, EDGE:-EDGE].abs().max() < 3


def test_one_recording_at_two_rates_has_one_pitch_and_one_loudness() -> None:
    rng = np.random.default_rng(0)
    time = np.arange(48_000) / 48_000
    f0 = 220 * 2 ** (0.5 * np.sin(2 * np.pi * 0.7 * time))
    played = tone(f0, np.cumsum(f0) / 48_000, 48_000, "sawtooth") * (0.3 + 0.7 * np.sin(2 * np.pi * time) ** 2)
    noisy = played + 0.01 * rng.normal(size=len(played))
    low = scipy.signal.sosfiltfilt(scipy.signal.cheby2(10, 80, 6500, fs=48_000, output="sos"), noisy)
    at_48, at_16 = as_sound(low), as_sound(soxr.resample(low, 48_000, 16_000, quality="VHQ"))
    one, other = track_f0(at_48, 48_000), track_f0(at_16, 16_000)
    is_sure = (one.confidence.values >= 0.5) & (other.confidence.values >= 0.5)
    assert is_sure.float().mean() > 0.95
    assert cents(one.f0.values, other.f0.values)[is_sure].abs().max() < 5
    levels = [loudness_curve(at_48, 48_000).values, loudness_curve(at_16, 16_000).values]
    assert (levels[0] - levels[1]).abs().max() < 0.3


def test_noise_as_loud_as_a_tenth_of_the_power_does_no_harm() -> None:
    rng = np.random.default_rng(1)
    turns = np.arange(16_000) / 16_000
    pitches = (55, 110, 220, 440, 880, 1400, 1760)
    sounds = [tone(hz, hz * turns, 16_000, "sawtooth") for hz in pitches]
    noisy = [one + rng.normal(size=16_000) * np.sqrt(0.1 * np.mean(one**2)) for one in sounds]
    found = track_f0(as_sound(*noisy), 16_000)
    error = cents(found.f0.values, np.array(pitches)[:, None])[:, EDGE:-EDGE].abs()
    assert (error > 50).double().mean() < 0.01
    assert error.median() < 2
    assert (found.confidence.values >= 0.5).float().mean() > 0.98


def noise_between(low: float, high: float) -> np.ndarray:
    filter_ = scipy.signal.butter(2, [low, high], "band", fs=16_000, output="sos")
    noise = scipy.signal.sosfilt(filter_, np.random.default_rng(2).normal(size=16_000))
    return 0.05 * noise / np.std(noise)


def without_pitch() -> dict[str, np.ndarray]:
    """A second at 16 kHz of what has no pitch, or none that counts."""
    rng, time = np.random.default_rng(3), np.arange(16_000) / 16_000
    hum = (
        np.sin(2 * np.pi * 50 * time) + 0.3 * np.sin(2 * np.pi * 100 * time) + 0.2 * np.sin(2 * np.pi * 150 * time)
    )
    return {
        "digital zero": np.zeros(16_000),
        "a quiet room": 1e-4 * rng.normal(size=16_000),
        "hum": 0.01 * hum,
        "louder hum": 0.03 * hum,
        "white noise": 0.1 * rng.normal(size=16_000),
        "breath": noise_between(500, 3000),
        "narrow breath": noise_between(300, 1000),
        "a constant": np.full(16_000, 0.3) + 3e-3 * rng.normal(size=16_000),
        "rumble": 0.3 * np.sin(2 * np.pi * 15 * time) + 3e-3 * rng.normal(size=16_000),
        "one click": 0.9 * (np.arange(16_000) == 9000),
    }


@pytest.mark.parametrize("name", without_pitch())
def test_what_has_no_pitch_is_not_confident(name: str) -> None:
    found = track_f0(as_sound(without_pitch()[name]), 16_000)
    assert (found.confidence.values >= 0.5).float().mean() < 0.05
    assert (found.f0.values > 0).all()
