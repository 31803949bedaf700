"""The oracle of the synthesiser, on sounds whose harmonics and noise are known."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dirvae.ddsp import Block, Curve, FilteredNoise, Framing, MultiScaleSpectralLoss, harmonic_bank

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "sound"
sys.path.insert(0, str(FOLDER))

import oracle  # noqa: E402 - the benchmarks are programs: they import each other from their own folder
from least_squares import fit_harmonics, fit_noise  # noqa: E402

NUM_HARMONICS, SECONDS = 30, 0.5
AMPLITUDES = 0.2 / torch.arange(1, 13)


def glide() -> Curve:
    """(2, row): 300 to 330 Hz, and 400 Hz."""
    rows = torch.linspace(0, 1, round(250 * SECONDS) + 1)
    return Curve(torch.stack((300 + 30 * rows, torch.full_like(rows, 400))), 250)


def harmonics_and_noise(sample_rate: int, magnitude: float) -> tuple[Tensor, Tensor]:
    """Twelve harmonics whose level swells, with phases of their own, and white noise: (2, time) each."""
    num_samples, f0 = round(SECONDS * sample_rate), glide()
    sound = torch.zeros(2, num_samples)
    for number, amplitude in enumerate(AMPLITUDES, 1):
        turns = torch.full((2,), 0.37 * number**2 % 1)
        shifted = Curve(f0.values * number, 250)
        phase = ((turns - turns.round()).double() * 2.0**64).long()
        sound += harmonic_bank(
            shifted, Curve(swell()[..., None] * amplitude, 250), Block(num_samples, sample_rate), phase=phase
        )[0]
    noise = torch.randn(2, num_samples, generator=torch.Generator().manual_seed(3))
    return sound, magnitude * 3**-0.5 * noise


def swell() -> Tensor:
    """(2, row)."""
    return torch.linspace(0.5, 1, glide().num_rows).repeat(2, 1)


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
def test_least_squares_finds_amplitudes_whatever_the_phases(sample_rate: int) -> None:
    clean, noise = harmonics_and_noise(sample_rate, 0.003)
    framing = Framing(round(4 / 300 * sample_rate), 250, sample_rate)
    found = fit_harmonics(clean + noise, glide(), framing=framing, num_harmonics=NUM_HARMONICS)
    inner = slice(5, -5)  # frames that reach over the ends hear silence there
    expected = (swell()[:, :-1, None] * AMPLITUDES)[:, inner]
    error = found.amplitudes.values[:, inner, :12] / expected - 1
    assert error.square().mean().sqrt() < 0.03
    assert error.abs().amax() < 0.1
    assert found.amplitudes.values[:, inner, 12:].amax() < 0.005
    hop = round(0.05 * sample_rate)
    assert found.residual[:, hop:-hop].square().mean() < 1.1 * noise.square().mean()


def test_harmonics_above_half_the_sample_rate_are_left_out() -> None:
    clean, noise = harmonics_and_noise(16_000, 0.01)
    framing = Framing(214, 250, 16_000)
    amplitudes = fit_harmonics(
        clean + noise, glide(), framing=framing, num_harmonics=NUM_HARMONICS
    ).amplitudes.values
    assert (amplitudes[0, :100, :24] > 0).all()
    assert (amplitudes[0, :, 26:] == 0).all()  # of 300 Hz and more
    assert (amplitudes[1, :, :19] > 0).all()
    assert (amplitudes[1, :, 19:] == 0).all()  # the 20th harmonic of 400 Hz is 8,000 Hz


def test_noise_is_as_loud_as_it_was_made() -> None:
    bands, framing = FilteredNoise(9, 16_000).bands, Framing(256, 250, 16_000)
    white = 0.1 * 3**-0.5 * torch.randn(1, 32_000, generator=torch.Generator().manual_seed(0))
    magnitudes = fit_noise(white, bands, framing).values
    assert magnitudes.square().mean((0, 1)).sqrt() == pytest.approx(torch.full((9,), 0.1), rel=0.06)


@pytest.mark.parametrize("has_new_noise", [False, True])
def test_refining_lowers_the_loss_of_each_sound(has_new_noise: bool) -> None:
    samples = sum(harmonics_and_noise(16_000, 0.03))
    settings = {"sample_rate": 16_000, "num_harmonics": NUM_HARMONICS, "noise": FilteredNoise(17, 16_000)}
    fit = oracle.fit_oracle(samples, glide(), steps=15, has_new_noise=has_new_noise, **settings)
    assert fit.amplitudes.values.shape == (2, 125, NUM_HARMONICS)
    assert fit.magnitudes.values.shape == (2, 125, 17)
    assert (fit.loss_refined < 0.98 * fit.loss_fitted).all()
    loss = MultiScaleSpectralLoss(16_000)
    torch.testing.assert_close(fit.loss_refined, loss(fit.sound, samples))
    halves = oracle.ablation(fit, samples, sample_rate=16_000)
    torch.testing.assert_close(halves.whole, fit.loss_refined)
    torch.testing.assert_close(halves.without_harmonics, loss(fit.noise, samples))
    assert (halves.without_noise > halves.whole).all()
    assert (halves.ratio > 0).all()


def test_without_steps_the_controls_are_those_of_the_fit() -> None:
    samples = sum(harmonics_and_noise(16_000, 0.03))
    settings = {"sample_rate": 16_000, "num_harmonics": NUM_HARMONICS, "noise": FilteredNoise(17, 16_000)}
    fit = oracle.fit_oracle(samples, glide(), steps=0, **settings)
    assert torch.equal(fit.loss_refined, fit.loss_fitted)
