"""One sentence for what curves, sounds and rates cannot be, and numbers of NumPy and half precision as they come."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from dirvae.ddsp import (
    Block,
    Curve,
    FilteredNoise,
    Framing,
    MultiScaleSpectralLoss,
    Reverb,
    add_reverb,
    filtered_noise,
    harmonic_amplitudes,
    harmonic_bank,
    loudness_curve,
    track_f0,
)

SOUND = torch.zeros(1, 800)
ROWS = Curve(torch.ones(2, 5), 250)
NAN, INF = math.nan, math.inf


def noise_of(num_seeds: int) -> torch.Tensor:
    return filtered_noise(Curve(torch.ones(2, 5, 3), 250), torch.arange(num_seeds), Block(100, 16_000))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Curve(torch.ones(1, 5), NAN), "rate is nan; it must be a finite number."),
        (lambda: Curve(torch.ones(1, 5), 250, INF), "start is inf; it must be a finite number."),
        (lambda: Block(5, NAN), "sample_rate is nan; it must be a finite number."),
        (lambda: MultiScaleSpectralLoss(NAN), "sample_rate is nan; it must be a finite number."),
        (lambda: Reverb(16_000, seconds=INF), "seconds is inf; it must be a finite number."),
        (lambda: Framing(64, INF, 16_000), "frame_rate is inf; it must be a finite number."),
        (lambda: loudness_curve(SOUND, 0.001, rate=0.001), "sample_rate is 0.001; it must be 1 to 768,000 samples"),
        (lambda: loudness_curve(SOUND, 1e9), "sample_rate is 1000000000.0; it must be 1 to 768,000 samples"),
        (lambda: loudness_curve(SOUND, NAN), "sample_rate is nan; it must be a finite number."),
        (
            lambda: loudness_curve(SOUND, 8000, rate=8001),
            "rate is 8001; at 8000 samples per second it must be as many",
        ),
        (lambda: loudness_curve(SOUND, 8000, floor_db=NAN), "floor_db is nan; it must be a finite number."),
        (lambda: track_f0(SOUND, 16_000, rate=1e9), "rate is 1000000000.0; at 16000 samples per second it must be"),
        (lambda: track_f0(SOUND, 16_000, lowest=NAN), "lowest is nan; it must be a finite number."),
        (lambda: track_f0(SOUND, 16_000, octave_penalty=-0.1), "octave_penalty is -0.1; it must be a periodicity"),
        (lambda: track_f0(SOUND, 16_000, octave_penalty=1.5), "octave_penalty is 1.5; it must be a periodicity"),
        (lambda: track_f0(SOUND, 16_000, octave_penalty=NAN), "octave_penalty is nan; it must be a finite number."),
        (lambda: track_f0(SOUND, 16_000, quietest_db=-INF), "quietest_db is -inf; it must be a finite number."),
        (
            lambda: FilteredNoise(3, 16_000, centres_hz=torch.tensor([0, 1e-5, 100])),
            "centres_hz has neighbours 1e-05 Hz apart; at 16000 samples per second such a filter has more than 131,072 "
            "taps: move them 0.122 Hz or more apart.",
        ),
        (lambda: FilteredNoise(2, 16_000, centres_hz=torch.tensor([0, INF])), "2 rising frequencies are needed"),
        (lambda: noise_of(1), "seeds has shape (1,); magnitudes of a batch of 2 need as many."),
        (
            lambda: MultiScaleSpectralLoss(16_000)(SOUND, SOUND, torch.tensor([800, 800])),
            "lengths has shape (2,); it must be (1,), one per example.",
        ),
        (
            lambda: harmonic_bank(ROWS, Curve(torch.ones(2, 5, 0), 250), Block(100, 16_000)),
            "amplitudes has values of shape (2, 5, 0); (batch, row, 1 harmonic or more)",
        ),
        (
            lambda: harmonic_amplitudes(ROWS, ROWS, ROWS, sample_rate=16_000),
            "distribution has values of shape (2, 5); (batch, row, 1 harmonic or more)",
        ),
        (
            lambda: harmonic_amplitudes(
                Curve(torch.ones(1, 5), 250), ROWS, Curve(torch.ones(2, 5, 3), 250), sample_rate=16_000
            ),
            "f0 has values of shape (1, 5); (batch, row) with the distribution's batch of 2 is needed.",
        ),
    ],
)
def test_what_a_value_cannot_be_is_said(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda array: Curve(array, 250), "values is a numpy array; give a tensor: torch.from_numpy(values)."),
        (
            lambda array: track_f0(array, 16_000),
            "samples is a numpy array; give a tensor: torch.from_numpy(samples).",
        ),
        (lambda array: loudness_curve(array, 16_000), "samples is a numpy array; give a tensor"),
        (lambda array: loudness_curve([0.0], 16_000), "samples is a list; give a tensor."),
        (lambda array: add_reverb(array, SOUND), "dry is a numpy array; give a tensor"),
        (lambda array: MultiScaleSpectralLoss(16_000)(array, SOUND), "predicted is a numpy array; give a tensor"),
        (lambda array: Curve(SOUND, None), "rate is None; it must be a number: an int, a float or a Fraction."),
        (lambda array: Curve(SOUND, "44100"), "rate is '44100'; it must be a number"),
        (lambda array: Curve(SOUND, torch.tensor(250)), "rate is tensor(250); it must be a number"),
        (lambda array: track_f0(SOUND, None), "sample_rate is None; it must be a number"),
        (lambda array: track_f0(SOUND, 16_000, lowest="40"), "lowest is '40'; it must be a number"),
        (lambda array: Block(1.5, 16_000), "num_samples is 1.5; it must be a whole number of samples."),
        (lambda array: Block(1, 16_000, 0.5), "first_sample is 0.5; it must be a whole number of samples."),
    ],
)
def test_what_a_value_has_to_be_is_said(call: Callable[[Any], object], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        call(np.zeros((1, 800), np.float32))


def test_numbers_of_numpy_are_taken_as_they_are_written() -> None:
    for rate in (np.float32(176.4), np.float64(176.4)):
        assert Curve(SOUND, rate).rate == Fraction("176.4")
    assert Block(np.int64(5), np.int32(16_000), np.int16(-3)) == Block(5, 16_000, -3)
    assert type(Curve(SOUND, np.int64(250)).rate.numerator) is int
    assert loudness_curve(SOUND, np.int64(16_000), rate=np.float32(62.5)).rate == Fraction("62.5")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    sound = torch.randn(2, 800).to(dtype)
    response, magnitudes = torch.randn(1, 9).to(dtype), torch.rand(2, 5, 3).to(dtype)
    seeds, block = torch.arange(2), Block(800, 16_000)

    def all_of(sound: torch.Tensor, response: torch.Tensor, magnitudes: torch.Tensor) -> list[torch.Tensor]:
        return [
            loudness_curve(sound, 16_000).values,
            add_reverb(sound, response),
            filtered_noise(Curve(magnitudes, 250), seeds, block),
            MultiScaleSpectralLoss(16_000)(sound, torch.zeros_like(sound)),
        ]

    given, wide = (sound, response, magnitudes), (sound.float(), response.float(), magnitudes.float())
    for mine, expected in zip(all_of(*given), all_of(*wide), strict=True):
        assert torch.equal(mine, expected)


def test_a_batch_of_none_is_refused() -> None:
    none, magnitudes = torch.zeros(0, 800), Curve(torch.ones(0, 5, 3), 250)
    for call, message in (
        (lambda: MultiScaleSpectralLoss(16_000)(none, none), "with 1 example and 1 sample or more"),
        (lambda: add_reverb(none, torch.ones(1, 9)), "with 1 example or more"),
        (lambda: filtered_noise(magnitudes, torch.arange(0), Block(800, 16_000)), "give (1 example or more, row,"),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            call()


def test_f0_below_zero_keeps_to_half_the_sample_rate() -> None:
    f0, ones = Curve(torch.full((1, 5), -3000.0), 250), Curve(torch.ones(1, 5, 4), 250)
    heard = harmonic_amplitudes(f0, Curve(torch.ones(1, 5), 250), ones, sample_rate=16_000).values
    assert (heard[..., :2] == 0.5).all()
    assert not heard[..., 2:].any()


@pytest.mark.parametrize("broken", [NAN, INF])
def test_loudness_around_what_is_no_number_is_none_and_the_rest_stays(broken: float) -> None:
    samples = torch.randn(1, 8000)
    expected = loudness_curve(samples, 16_000).values
    samples[0, 4000] = broken
    found = loudness_curve(samples, 16_000).values
    rows = torch.arange(125)
    assert found[0, (rows - 62.5).abs() < 3].isnan().all()
    assert torch.equal(found[0, (rows - 62.5).abs() > 5], expected[0, (rows - 62.5).abs() > 5])
