"""Clips that vary: resampled as SciPy does, curves with them, and what is padding stays so."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import signal as scipy_signal

from dirvae.ddsp import loudness_curve, track_f0
from dirvae.networks.audio import SoundClips
from dirvae.networks.audio.variation import equalised, longest_source, resampled, varied


@pytest.mark.parametrize(("up", "down"), [(1, 1), (4, 5), (5, 4), (9, 8)])
def test_resampling_is_that_of_scipy_between_the_ends(up: int, down: int) -> None:
    """SciPy's polyphase filter, with a long window; below 0.35 of the lower sample rate."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=4000)
    smooth = scipy_signal.firwin(401, 0.55) @ np.lib.stride_tricks.sliding_window_view(noise, 401).T
    expected = scipy_signal.resample_poly(smooth, up, down, window=("kaiser", 12.0))
    found = resampled(torch.from_numpy(smooth)[None], torch.tensor([down / up]), len(expected))[0].numpy()
    inner = slice(100, len(expected) - 100)
    assert np.abs(found - expected)[inner].max() < 0.02 * np.abs(expected).max()
    if up == down:
        np.testing.assert_allclose(found, smooth, atol=1e-12)


def test_a_shifted_tone_has_the_pitch_and_the_level_that_its_curves_say() -> None:
    sample_rate, num = 16_000, 8000
    long = longest_source(num, 2.0)
    time = torch.arange(long) / sample_rate
    samples = 0.1 * torch.sin(2 * torch.pi * 300 * time).expand(6, -1)
    rows = math.ceil(long / 64)
    clips = SoundClips(samples, torch.full((6, rows), 300.0), torch.full((6, rows), -23.0))
    found = varied(
        clips,
        num_samples=num,
        num_rows=125,
        shift_semitones=2.0,
        gain_db=6.0,
        generator=torch.Generator().manual_seed(0),
    )
    assert found.samples.shape == (6, num)
    assert found.f0.shape == (6, 125)
    assert found.lengths is not None
    assert found.lengths.tolist() == [num] * 6
    shifts = 12 * torch.log2(found.f0[:, 0] / 300)
    assert shifts.abs().max() <= 2
    assert shifts.std() > 0.3
    tracked = track_f0(found.samples, sample_rate).f0.values[:, 10:110]
    torch.testing.assert_close(tracked, found.f0[:, 10:110], rtol=1e-3, atol=0)
    level = loudness_curve(found.samples, sample_rate).values[:, 10:110]
    changed = level - loudness_curve(clips.samples, sample_rate).values[:, 10:110]
    torch.testing.assert_close(
        changed, found.loudness[:, 10:110] + 23, atol=1.0, rtol=0
    )  # the A-weighting of another pitch


def test_what_is_padding_stays_silent_and_shrinks_with_the_clip() -> None:
    samples = torch.ones(4, longest_source(1000, 3.0))
    samples[:, 500:] = 0
    rows = torch.arange(30.0).expand(4, -1) + 100
    clips = SoundClips(samples, rows, -rows, torch.full((4,), 500))
    settings = {"num_samples": 1000, "num_rows": 16, "shift_semitones": 3.0, "gain_db": 1e-6}
    found = varied(clips, **settings, generator=torch.Generator().manual_seed(1))  # type: ignore[arg-type]
    assert found.lengths is not None
    for sound, length, f0 in zip(found.samples, found.lengths.tolist(), found.f0, strict=True):
        speed = float(f0[0]) / 100
        assert length == int(500 / speed)
        assert (sound[length:] == 0).all()
        np.testing.assert_allclose(f0 / speed, np.interp(np.arange(16) * speed, np.arange(30), rows[0]), rtol=1e-5)
    assert (found.loudness >= -80).all()


def test_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"samples has shape \(2, 9\), speed \(3,\)"):
        resampled(torch.zeros(2, 9), torch.ones(3), 4)


def test_an_equaliser_changes_levels_by_no_more_than_it_may_and_says_so_in_the_loudness() -> None:
    """Against SciPy's spectra of a steady noise, and the loudness of what comes out."""
    rng, sample_rate, num = torch.Generator().manual_seed(0), 16_000, 16_000
    samples = 0.1 * torch.randn(4, num, generator=rng)
    samples[3, 8000:] = 0
    loudness = loudness_curve(samples, sample_rate)
    clips = SoundClips(samples, torch.full((4, 250), 200.0), loudness.values, torch.tensor([num, num, num, 8000]))
    settings = {"sample_rate": sample_rate, "control_rate": 250, "equaliser_db": 12.0}
    found = equalised(clips, **settings, generator=torch.Generator().manual_seed(1))  # type: ignore[arg-type]
    _, power = scipy_signal.welch(samples[:3].numpy(), sample_rate, nperseg=512)
    _, changed = scipy_signal.welch(found.samples[:3].numpy(), sample_rate, nperseg=512)
    gains = 10 * np.log10(changed / power)[:, 4:-4]
    assert np.abs(gains - gains.mean(1, keepdims=True)).max() < 2 * 12
    assert gains.std(1).max() > 2
    torch.testing.assert_close(found.samples.square().mean(1), samples.square().mean(1))
    assert (found.samples[3, 8000:] == 0).all()
    measured = loudness_curve(found.samples, sample_rate).values
    torch.testing.assert_close(found.loudness, measured, atol=1e-3, rtol=0)
    assert torch.equal(found.f0, clips.f0)
    again = equalised(clips, **settings, generator=torch.Generator().manual_seed(1))  # type: ignore[arg-type]
    assert torch.equal(again.samples, found.samples)


def test_silence_through_an_equaliser_stays_silence() -> None:
    clips = SoundClips(torch.zeros(2, 900), torch.full((2, 15), 100.0), torch.full((2, 15), -80.0))
    found = equalised(clips, sample_rate=16_000, control_rate=250, equaliser_db=40.0)
    assert not found.samples.any()
    assert (found.loudness == -80).all()
