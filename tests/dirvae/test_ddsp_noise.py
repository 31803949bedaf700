"""Noise is a function of seed and sample, and its spectrum is what was asked for."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy import signal as scipy_signal
from torch import Tensor

from dirvae.ddsp import Block, Curve, FilteredNoise, filtered_noise, uniform_noise
from dirvae.ddsp import noise as noise_module
from dirvae.ddsp.mel import mel_to_hz
from dirvae.ddsp.noise import filter_bands

WORD = 2**64 - 1


def mixed(word: int) -> int:
    """SplitMix64's finaliser in Python's own whole numbers."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & WORD
    return word ^ (word >> 31)


def noise_at(seed: int, sample: int) -> float:
    word = mixed((mixed(seed & WORD) + sample * 0x9E3779B97F4A7C15) & WORD)
    return ((word >> 41) + 0.5) / 2**22 - 1


def test_noise_is_what_it_has_always_been() -> None:
    found = uniform_noise(torch.tensor([0, 12345, -1]), Block(3, 16_000, 10**10))
    golden = [
        [0.514102578163147, -0.46484434604644775, 0.42134296894073486],
        [-0.49897825717926025, -0.17548906803131104, -0.76207435131073],
        [0.281774640083313, -0.8422452211380005, -0.9797219038009644],
    ]
    assert found.tolist() == golden


def test_noise_is_splitmix64_at_any_sample_and_seed() -> None:
    seeds = [0, 1, 7, -1, 2**63 - 1, -(2**63)]
    for first in (-3, 0, 2**40):
        found = uniform_noise(torch.tensor(seeds), Block(6, 44_100, first))
        assert found.tolist() == [[noise_at(seed, first + n) for n in range(6)] for seed in seeds]


def test_noise_is_white_uniform_and_another_for_each_seed() -> None:
    noise = uniform_noise(torch.arange(4), Block(100_000, 16_000)).double()
    assert noise.abs().max() < 1
    assert noise.mean(1).abs().max() < 0.01
    assert (noise.square().mean(1) - 1 / 3).abs().max() < 0.005
    counts = torch.histc(noise, 20, -1, 1) / noise.numel()
    assert (counts - 0.05).abs().max() < 0.002
    assert (torch.corrcoef(noise) - torch.eye(4)).abs().max() < 0.015
    for lag in (1, 2, 3, 64):
        assert (noise[:, lag:] * noise[:, :-lag]).mean(1).abs().max() < 0.006


@pytest.mark.parametrize(("sample_rate", "hop"), [(16_000, Fraction(64)), (44_100, Fraction(1764, 10))])
def test_the_spectrum_is_within_half_a_decibel_of_what_was_asked(sample_rate: int, hop: Fraction) -> None:
    num_bands, segment = 65, 512
    bands = torch.arange(num_bands).double()
    asked = 10 ** ((-20 - 0.3 * bands + 12 * torch.sin(bands / 5)) / 20)
    curve = Curve(asked.expand(1, 4, num_bands), sample_rate / hop)
    sound = filtered_noise(curve, torch.tensor([5]), Block(1 << 19, sample_rate))[0].numpy()
    _, power = scipy_signal.welch(sound, fs=1.0, window="hann", nperseg=segment)
    found_db = 10 * np.log10(power / (2 / 3))  # the noise alone: 1/3 over frequencies up to 0.5
    at_bands = found_db[:: segment // 128]
    asked_db = 20 * np.log10(asked.numpy())
    assert np.abs(at_bands - asked_db)[1:-1].max() < 0.5


def test_a_filter_that_stays_is_the_convolution_with_its_taps() -> None:
    """The taps are known: evenly spaced bands and straight lines between them, transformed by NumPy."""
    asked = torch.rand(17, dtype=torch.float64) + 0.05
    line = np.interp(np.arange(33) / 2, np.arange(17), asked.numpy())
    taps = np.fft.fftshift(np.fft.irfft(line))
    taps = np.append(taps, taps[0] / 2)
    taps[0] /= 2
    curve = Curve(asked.expand(1, 9, 17), 22_050 / Fraction(1764, 10), Fraction(1, 77))
    found = filtered_noise(curve, torch.tensor([9]), Block(3000, 22_050, 40))[0]
    noise = uniform_noise(torch.tensor([9]), Block(3064, 22_050, 8))[0].double()
    np.testing.assert_allclose(found.numpy(), scipy_signal.fftconvolve(noise.numpy(), taps, "valid"), atol=1e-12)


@pytest.mark.parametrize("hop", [Fraction(64), Fraction(1764, 10), Fraction(5, 2)], ids=str)
def test_blocks_of_any_length_are_pieces_of_the_whole(hop: Fraction) -> None:
    generator = torch.Generator().manual_seed(0)
    curve = Curve(torch.rand(2, 30, 9, generator=generator), 44_100 / hop, Fraction(1, 441))
    seeds, parts, first = torch.tensor([1, 2]), [], 0
    for length in (1, 511, 512, 177, 1799):
        parts.append(filtered_noise(curve, seeds, Block(length, 44_100, first)))
        first += length
    whole = filtered_noise(curve, seeds, Block(first, 44_100))
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=2e-6, rtol=0)


@pytest.mark.parametrize("rate", [250, Fraction(44_100, 176), 100, Fraction(1000, 3)])
def test_rows_added_in_steps_of_their_distance_sound_as_those_added_one_by_one(
    rate: Fraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    magnitudes, seeds = Curve(torch.rand(2, 30, 9), rate), torch.tensor([1, 2])
    for first in (-300, 0, 1234):
        block = Block(3000, 44_100, first)
        found = filtered_noise(magnitudes, seeds, block)
        with monkeypatch.context() as slow:
            slow.setattr(noise_module, "LARGEST_GROUP", 0)
            expected = filtered_noise(magnitudes, seeds, block)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("sample_rate", [16_000, 22_050, 44_100, 48_000])
def test_a_burst_stands_at_its_moment_after_minutes(sample_rate: int) -> None:
    rate, row, num_bands = 250, 75_000, 5
    values = torch.zeros(1, 20, num_bands)
    values[:, 10] = 1  # flat: one tap, no smearing
    curve = Curve(values, rate, Fraction(row - 10, rate))
    first = row * sample_rate // rate - 300
    sound = filtered_noise(curve, torch.tensor([3]), Block(600, sample_rate, first))[0]
    rows = (torch.arange(600).double() + first) * rate / sample_rate - row
    window = torch.where(rows.abs() < 1, torch.cos(torch.pi / 2 * rows) ** 2, 0)
    noise = uniform_noise(torch.tensor([3]), Block(600, sample_rate, first))[0]
    torch.testing.assert_close(sound.double(), noise * window, atol=1e-6, rtol=0)


def test_bands_may_lie_anywhere() -> None:
    centres = mel_to_hz(torch.linspace(2, 40, 12, dtype=torch.float64))
    bands = filter_bands(12, centres_hz=centres, sample_rate=44_100)
    asked = torch.rand(12, dtype=torch.float64)
    grid = np.linspace(0, 22_050, bands.shape[1])
    np.testing.assert_allclose((asked @ bands).numpy(), np.interp(grid, centres.numpy(), asked.numpy()), atol=1e-12)
    assert grid[1] <= float(centres.diff().min()) / 2
    noise = FilteredNoise(12, 44_100, centres_hz=centres)
    sound = noise(Curve(asked.float().expand(1, 5, 12), 250), torch.tensor([1]), 1000)
    assert sound.shape == (1, 1000)
    assert sound.dtype == torch.float32
    assert noise.state_dict() == {}


def test_magnitudes_get_gradients_that_pass_gradcheck() -> None:
    magnitudes = torch.rand(2, 4, 5, dtype=torch.float64).requires_grad_()

    def sound(values: Tensor) -> Tensor:
        return filtered_noise(Curve(values, 300), torch.tensor([1, 2]), Block(30, 1764, -4))

    assert torch.autograd.gradcheck(sound, magnitudes)


def test_what_does_not_fit_is_named() -> None:
    curve, seeds, block = Curve(torch.ones(1, 4, 5), 100), torch.tensor([1]), Block(10, 1000)
    with pytest.raises(ValueError, match=r"seeds is torch.float32 of shape \(1,\); give one int64 per example"):
        filtered_noise(curve, torch.tensor([1.0]), block)
    with pytest.raises(ValueError, match="magnitudes has values of shape"):
        filtered_noise(Curve(torch.ones(1, 4), 100), seeds, block)
    with pytest.raises(ValueError, match=r"bands has shape \(4, 7\); for these magnitudes it is \(5, bin\)"):
        filtered_noise(curve, seeds, block, bands=filter_bands(4))
    with pytest.raises(ValueError, match="2 rising frequencies are needed"):
        filter_bands(2, centres_hz=torch.tensor([3.0, 2.0]))
    with pytest.raises(ValueError, match="num_bands is 1; a filter has 2 bands or more"):
        filter_bands(1)
