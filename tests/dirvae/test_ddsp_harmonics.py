"""The harmonic bank against sums in float64 that share no code with it: values, gradients, phase, aliases, blocks."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from dirvae.ddsp import Block, Curve, HarmonicBank, harmonic_amplitudes, harmonic_bank
from dirvae.ddsp.envelopes import upsample_hann, upsample_linear
from dirvae.ddsp.harmonic_sum import accumulate_phase
from dirvae.ddsp.harmonics import phase_to_turns, turns_to_phase

FRAME_RATE = 250


def float64_sum(f0: Curve, amplitudes: Curve, block: Block) -> Tensor:
    """Σ_j a_j sin(2π j φ) by a sine for each harmonic and sample; curves are interpolated by their times."""
    seconds = (torch.arange(block.num_samples) + block.first_sample).double() / float(block.sample_rate)

    def weights(curve: Curve) -> tuple[Tensor, Tensor]:
        rows = (seconds - float(curve.start)) * float(curve.rate)
        return rows.floor().long(), rows - rows.floor()

    def between(curve: Curve, weight: Tensor, rows: Tensor) -> Tensor:
        last = curve.num_rows - 1
        values, weight = curve.values.double(), weight.view(-1, *(1,) * (curve.values.ndim - 2))
        return values[:, rows.clamp(0, last)] * (1 - weight) + values[:, (rows + 1).clamp(0, last)] * weight

    rows, part = weights(f0)
    hz = between(f0, part, rows)
    rows, part = weights(amplitudes)
    levels = between(amplitudes, torch.sin(math.pi / 2 * part) ** 2, rows)
    turns = hz / float(block.sample_rate)
    turns = turns.cumsum(1) - turns
    numbers = torch.arange(1, levels.shape[2] + 1)
    return (levels * torch.sin(2 * math.pi * (turns[..., None] * numbers))).sum(2)


def glide(lowest_hz: float, highest_hz: float, *, octaves: float = 4.0, harmonics: int) -> tuple[Curve, Curve]:
    """A pitch that rises or falls by so many octaves per second, and random amplitudes: a quarter of a second."""
    rows = FRAME_RATE // 4 + 2
    seconds = torch.arange(rows).double() / FRAME_RATE
    rising, falling = lowest_hz * 2 ** (octaves * seconds), highest_hz * 2 ** (-octaves * seconds)
    f0 = Curve(torch.stack((rising, falling)).clamp(lowest_hz, highest_hz), FRAME_RATE)
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(2, rows, harmonics, generator=generator)
    loud = Curve(torch.rand(2, rows, generator=generator) + 0.1, FRAME_RATE)
    return f0, harmonic_amplitudes(f0, loud, Curve(shares, FRAME_RATE), sample_rate=160 * highest_hz)


@pytest.mark.parametrize(("lowest_hz", "highest_hz"), [(30, 60), (440, 880), (2000, 4000)])
@pytest.mark.parametrize(("sample_rate", "harmonics"), [(16_000, 100), (44_100, 200)])
def test_a_glide_of_four_octaves_per_second_is_the_float64_sum_and_so_are_its_gradients(
    sample_rate: int, harmonics: int, lowest_hz: float, highest_hz: float
) -> None:
    f0, amplitudes = glide(lowest_hz, highest_hz, harmonics=harmonics)
    block = Block(sample_rate // 4, sample_rate)
    hz, levels = f0.values.requires_grad_(), amplitudes.values.requires_grad_()
    sound, _ = harmonic_bank(f0, amplitudes, block)
    expected = float64_sum(f0, amplitudes, block)
    assert sound.dtype == torch.float32
    assert (sound - expected).abs().max() <= 2e-5 * expected.abs().max()
    weights = torch.randn(sound.shape, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((sound * weights).sum(), (hz, levels))
    due = torch.autograd.grad((expected * weights).sum(), (hz, levels))
    for name, gradient, reference in zip(("f0", "amplitudes"), found, due, strict=True):
        for mine, theirs in zip(gradient, reference, strict=True):
            assert (mine - theirs).abs().max() <= 1e-4 * theirs.abs().max(), name


@pytest.mark.heavy
@pytest.mark.parametrize("sample_rate", [16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("harmonics", [1, 3, 37, 100, 266, 800])
def test_every_number_of_harmonics_is_the_float64_sum(sample_rate: int, harmonics: int) -> None:
    f0, amplitudes = glide(30, 60, harmonics=harmonics)
    block = Block(sample_rate // 4, sample_rate)
    sound, _ = harmonic_bank(f0, amplitudes, block)
    expected = float64_sum(f0, amplitudes, block)
    assert (sound - expected).abs().max() <= 2e-5 * expected.abs().max()


def test_two_examples_of_one_batch_and_curves_at_different_rates_do_not_meet() -> None:
    generator = torch.Generator().manual_seed(0)
    f0 = Curve(300 + 100 * torch.rand(3, 9, generator=generator), 100, Fraction(-1, 300))
    amplitudes = Curve(torch.rand(3, 40, 5, generator=generator), Fraction(3433, 10), Fraction(1, 500))
    block = Block(4000, 22_050, first_sample=-100)
    sound, _ = harmonic_bank(f0, amplitudes, block)
    torch.testing.assert_close(sound.double(), float64_sum(f0, amplitudes, block), atol=3e-6, rtol=0)


def test_gradients_pass_gradcheck_in_float64() -> None:
    generator = torch.Generator().manual_seed(0)
    hz = (200 + 100 * torch.rand(2, 4, generator=generator, dtype=torch.float64)).requires_grad_()
    levels = torch.rand(2, 5, 6, generator=generator, dtype=torch.float64).requires_grad_()
    start = torch.tensor([0, 1 << 61])

    def sound(hz: Tensor, levels: Tensor) -> Tensor:
        f0, amplitudes = Curve(hz, 100, Fraction(-1, 900)), Curve(levels, 250, Fraction(1, 500))
        return harmonic_bank(f0, amplitudes, Block(40, 1764), phase=start)[0]

    assert torch.autograd.gradcheck(sound, (hz, levels), eps=1e-5)
    hz.requires_grad_(False)
    assert torch.autograd.gradcheck(sound, (hz, levels), eps=1e-5)


def test_amplitude_and_distribution_get_the_gradient_of_the_float64_sum() -> None:
    f0 = Curve(torch.full((1, 30), 900.0), FRAME_RATE)
    generator = torch.Generator().manual_seed(0)
    loud = torch.rand(1, 30, generator=generator).requires_grad_()
    shares = torch.rand(1, 30, 20, generator=generator).requires_grad_()
    block = Block(1500, 16_000)
    amplitudes = harmonic_amplitudes(f0, Curve(loud, FRAME_RATE), Curve(shares, FRAME_RATE), sample_rate=16_000)
    found = torch.autograd.grad(harmonic_bank(f0, amplitudes, block)[0][:, ::3].sum(), (loud, shares))
    heard = torch.arange(1, 21) * 900 < 8000
    levels = loud[..., None] * shares * heard / (shares * heard).sum(2, keepdim=True)
    due = torch.autograd.grad(float64_sum(f0, Curve(levels, FRAME_RATE), block)[:, ::3].sum(), (loud, shares))
    for mine, theirs in zip(found, due, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_the_phase_is_right_after_ten_minutes_at_48_khz() -> None:
    """The same random tenth of a second again and again, added up in fractions beside it."""
    rate, length = 48_000, 4800
    generator = torch.Generator().manual_seed(0)
    cycles = (30 + 4000 * torch.rand(1, length, dtype=torch.float64, generator=generator)) / rate
    phase = torch.zeros(1, dtype=torch.int64)
    for _ in range(10 * 60 * 10):
        phase = accumulate_phase(cycles, phase)[1]
    turns = 10 * 60 * 10 * sum(Fraction(value) for value in cycles[0].tolist())
    error = (float(turns % 1) - float(phase_to_turns(phase)) + 0.5) % 1 - 0.5
    assert abs(2 * math.pi * error) < 1e-6


@pytest.mark.heavy
def test_the_sound_is_right_after_ten_minutes_at_48_khz() -> None:
    """The sum of straight lines over one second each is known as a fraction; blocks hold a few megabytes."""
    rate, seconds, length = 48_000, 600, 1 << 20
    rows = torch.rand(1, seconds + 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 1000 + 30
    f0, phase = Curve(rows, 1), torch.zeros(1, dtype=torch.int64)
    for first in range(0, rate * seconds, length):
        block = Block(min(length, rate * seconds - first), rate, first)
        phase = accumulate_phase(upsample_linear(f0, block) / rate, phase)[1]
    hz = [Fraction(value) for value in rows[0].tolist()]
    turns = sum(here + (there - here) * Fraction(rate - 1, 2 * rate) for here, there in itertools.pairwise(hz))
    error = (float(turns % 1) - float(phase_to_turns(phase)) + 0.5) % 1 - 0.5
    assert abs(2 * math.pi * error) < 1e-6
    sound, _ = harmonic_bank(f0, Curve(torch.ones(1, 1, 1), 1), Block(480, rate, rate * seconds), phase=phase)
    expected = np.sin(2 * np.pi * (float(turns % 1) + float(hz[-1] / rate) * np.arange(480)))
    np.testing.assert_allclose(sound[0].numpy(), expected, atol=2e-6)


def test_a_float32_cumulative_sum_would_fail_the_two_tests_above() -> None:
    steps = torch.full((1, 48_000 * 20), 1000.3 / 48_000)
    drift = steps.cumsum(1)[0, -1].double() - steps.double().sum()
    assert abs(2 * math.pi * float(drift)) > 1e-3


@pytest.mark.parametrize("rate", [FRAME_RATE, Fraction(10, 1764) * 44_100])
def test_blocks_of_any_length_are_pieces_of_the_whole(rate: Fraction) -> None:
    generator = torch.Generator().manual_seed(0)
    f0 = Curve(200 + 300 * torch.rand(2, 60, generator=generator), rate)
    amplitudes = Curve(torch.rand(2, 60, 40, generator=generator), rate, Fraction(1, 441))
    whole, last = harmonic_bank(f0, amplitudes, Block(10_000, 44_100))
    parts, phase, first = [], None, 0
    for length in (1, 511, 512, 177, 3000, 5799):
        sound, phase = harmonic_bank(f0, amplitudes, Block(length, 44_100, first), phase=phase)
        parts.append(sound)
        first += length
    assert first == whole.shape[1]
    assert torch.equal(phase, last)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=0)


def test_a_phase_of_a_quarter_turn_makes_a_cosine() -> None:
    f0, one = Curve(torch.full((1, 2), 100.0), 10), Curve(torch.ones(1, 1, 1), 1)
    sound, last = harmonic_bank(f0, one, Block(200, 8000), phase=turns_to_phase(torch.tensor([0.25])))
    seconds = torch.arange(200).double() / 8000
    torch.testing.assert_close(sound[0].double(), torch.cos(2 * math.pi * 100 * seconds), atol=1e-6, rtol=0)
    assert abs(float(phase_to_turns(last)) % 1 - (0.25 + 200 * 100 / 8000) % 1) < 1e-12


def test_a_steady_sound_has_nothing_between_its_harmonics_above_minus_90_db() -> None:
    hz, sample_rate = 441.37, 16_000
    f0 = Curve(torch.full((1, 2), hz, dtype=torch.float64), 1)
    one = Curve(torch.ones(1, 2), 1)
    amplitudes = harmonic_amplitudes(f0, one, Curve(torch.ones(1, 2, 100), 1), sample_rate=sample_rate)
    sound, _ = harmonic_bank(f0, amplitudes, Block(sample_rate, sample_rate))
    spectrum = np.abs(np.fft.rfft(sound[0].double().numpy() * np.kaiser(sample_rate, 20)))
    bins = np.arange(len(spectrum))
    distance = np.abs(bins[:, None] - hz * np.arange(1, 19)).min(1)
    assert 20 * np.log10(spectrum[distance > 20].max() / spectrum.max()) < -90
    assert 20 * np.log10(spectrum[distance < 1].min() / spectrum.max()) > -6


def test_no_harmonic_of_a_glide_sounds_above_half_the_sample_rate() -> None:
    sample_rate, rows = 16_000, 126
    hz = 500 * 2 ** (4 * torch.arange(rows).double() / FRAME_RATE)
    f0 = Curve(torch.stack((hz, hz.flip(0))), FRAME_RATE)
    one = Curve(torch.ones(2, rows), FRAME_RATE)
    numbers, block = torch.arange(1, 41), Block(8000, sample_rate)

    def level_of_aliases_db(amplitudes: Curve) -> float:
        above = numbers * upsample_linear(f0, block)[..., None] >= sample_rate / 2
        levels = upsample_hann(amplitudes, block)
        return 20 * math.log10(float((levels * above).sum(2).max() / levels.sum(2).max()) + 1e-20)

    found = harmonic_amplitudes(f0, one, Curve(torch.ones(2, rows, 40), FRAME_RATE), sample_rate=sample_rate)
    assert level_of_aliases_db(found) < -90
    by_own_f0 = (numbers * f0.values[..., None] < sample_rate / 2).double()
    assert level_of_aliases_db(Curve(by_own_f0 / by_own_f0.sum(2, keepdim=True), FRAME_RATE)) > -40
    torch.testing.assert_close(found.values.sum(2), torch.ones(2, rows))


@pytest.mark.parametrize("rate", [125, 100, 250, 1000, Fraction(1000, 3)])
def test_harmonics_are_left_out_by_time_also_where_f0_has_another_rate(rate: Fraction) -> None:
    hz = torch.full((1, 100), 1000.0)
    hz[0, 50] = 3000  # at 0.2 s, the lines to it begin 4 ms before and end 4 ms after
    f0, rows = Curve(hz, 250), int(rate * 2 // 5)
    shares, one = Curve(torch.ones(1, rows, 4), rate), Curve(torch.ones(1, rows), rate)
    found = harmonic_amplitudes(f0, one, shares, sample_rate=16_000).values[0, :, 3]
    moments = shares.seconds()
    must_go = ((moments - 0.2).abs() < 1 / float(rate)) & (moments >= 0)
    may_stay = (moments - 0.2).abs() > 1 / float(rate) + 0.004
    assert must_go.any()
    assert (found[must_go] == 0).all()
    assert (found[may_stay] > 0).all()


def test_a_row_without_any_harmonic_is_silent_and_has_no_gradient_that_is_not_a_number() -> None:
    shares = torch.rand(1, 5, 3).requires_grad_()
    f0, one = Curve(torch.full((1, 5), 9000.0), 100), Curve(torch.ones(1, 5), 100)
    sound = HarmonicBank(16_000)(f0, one, Curve(shares, 100), 300)
    sound.sum().backward()
    assert (sound == 0).all()
    assert (shares.grad == 0).all()


def test_a_frequency_that_is_not_a_number_is_heard_as_such() -> None:
    hz = torch.full((2, 5), 100.0)
    hz[1, 4] = math.nan
    sound, _ = harmonic_bank(Curve(hz, 100), Curve(torch.ones(2, 5, 3), 100), Block(500, 10_000))
    assert sound[0].isfinite().all()
    assert sound[1, :300].isfinite().all()
    assert sound[1, 301:].isnan().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"f0": torch.ones(1, 4, 1)}, "f0 has values of shape"),
        ({"amplitudes": torch.ones(2, 4, 3)}, "amplitudes has values of shape"),
        ({"amplitudes": torch.ones(1, 4)}, "amplitudes has values of shape"),
        ({"phase": torch.zeros(1)}, "phase is torch.float32"),
        ({"phase": torch.zeros(3, dtype=torch.int64)}, "phase is torch.int64 of shape"),
    ],
)
def test_what_does_not_fit_is_named(arguments: dict[str, Tensor], message: str) -> None:
    given = {"f0": torch.ones(1, 4), "amplitudes": torch.ones(1, 4, 3), **arguments}
    f0, amplitudes = Curve(given.pop("f0"), 100), Curve(given.pop("amplitudes"), 100)
    with pytest.raises(ValueError, match=message):
        harmonic_bank(f0, amplitudes, Block(10, 1000), **given)


def test_amplitudes_at_other_moments_than_the_distribution_are_refused() -> None:
    f0 = Curve(torch.ones(1, 4), 100)
    with pytest.raises(ValueError, match="both must have the same"):
        harmonic_amplitudes(f0, Curve(torch.ones(1, 4), 50), Curve(torch.ones(1, 4, 2), 100), sample_rate=1000)
    with pytest.raises(ValueError, match="amplitude has values of shape"):
        harmonic_amplitudes(f0, Curve(torch.ones(1, 3), 100), Curve(torch.ones(1, 4, 2), 100), sample_rate=1000)
