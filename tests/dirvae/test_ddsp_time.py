"""Moments of curves, envelopes and frames stand where they should, at any two rates and after minutes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from dirvae.ddsp import Block, Curve, Framing, harmonic_bank
from dirvae.ddsp.envelopes import upsample_hann, upsample_linear
from dirvae.ddsp.frames import frame_signal, framed_fft, overlap_add, overlap_add_evenly, stretch

SAMPLE_RATES = (16_000, 22_050, 44_100, 48_000)
HOPS = (Fraction(64), Fraction(1764, 10), Fraction(1000, 3), Fraction(7, 10))
MINUTES = 5
START = Fraction(1, 300)


def rows_at(sample_rate: int, hop: Fraction, first: int, num: int) -> list[Fraction]:
    """The row that stands at each sample, by fractions alone."""
    rate = sample_rate / hop
    return [(Fraction(n, sample_rate) - START) * rate for n in range(first, first + num)]


@pytest.mark.parametrize("hop", HOPS, ids=str)
@pytest.mark.parametrize("sample_rate", SAMPLE_RATES)
def test_a_step_of_an_envelope_and_a_line_of_a_pitch_stand_at_their_moment_after_minutes(
    sample_rate: int, hop: Fraction
) -> None:
    rate = sample_rate / hop
    row = int(MINUTES * 60 * rate)
    num_rows = 12  # a curve of minutes whose first rows were cut off: its start says so
    start = START + (row - 6) / rate
    step = torch.zeros(1, num_rows, dtype=torch.float64)
    step[:, 6:] = 1
    first = math.floor((START + row / rate) * sample_rate - 4 * hop)
    block = Block(math.ceil(8 * hop), sample_rate, first)
    positions = np.array([float(place - row) for place in rows_at(sample_rate, hop, first, block.num_samples)])
    rising = np.clip(positions + 1, 0, 1)
    found = upsample_hann(Curve(step, rate, start), block)[0].numpy()
    np.testing.assert_allclose(found, np.sin(np.pi / 2 * rising) ** 2, atol=1e-9)
    found = upsample_linear(Curve(100 + 50 * step, rate, start), block)[0].numpy()
    np.testing.assert_allclose(found, 100 + 50 * rising, atol=1e-7)


@pytest.mark.parametrize("sample_rate", SAMPLE_RATES)
def test_a_click_of_the_bank_begins_and_ends_at_its_moment_after_minutes(sample_rate: int) -> None:
    rate = Fraction(250)
    row = MINUTES * 60 * 250
    levels = torch.zeros(1, row + 10, 3)
    levels[:, row] = 1
    first = math.floor((START + row / rate) * sample_rate) - 400
    sound, _ = harmonic_bank(
        Curve(torch.full((1, 1), 437.0), 1), Curve(levels, rate, START), Block(800, sample_rate, first)
    )
    positions = [abs(place - row) for place in rows_at(sample_rate, sample_rate / rate, first, 800)]
    is_silent = torch.tensor([place >= 1 for place in positions])
    assert (sound[0, is_silent] == 0).all()
    assert (sound[0, ~is_silent] != 0).float().mean() > 0.97
    assert is_silent.sum() == 800 - sum(place < 1 for place in positions)


@pytest.mark.parametrize("hop", HOPS, ids=str)
def test_segments_of_a_block_are_the_samples_between_two_rows(hop: Fraction) -> None:
    curve = Curve(torch.zeros(1, 5), 44_100 / hop, START)
    block = Block(700, 44_100, first_sample=-123)
    positions = block.rows_of(curve)
    expected = [math.floor(row) for row in rows_at(44_100, hop, -123, 700)]
    assert (positions.segments() + positions.first_row).tolist() == expected
    exact = [float(row % 1) for row in rows_at(44_100, hop, -123, 700)]
    torch.testing.assert_close(positions.fractions(), torch.tensor(exact, dtype=torch.float64), atol=1e-12, rtol=0)
    assert positions.num_segments == expected[-1] - expected[0] + 1
    starts = positions.segment_starts().tolist()
    lengths = np.diff(starts)
    assert lengths.max() <= positions.longest <= math.ceil(hop)
    for number in range(1, positions.num_segments):
        inside = [index for index, row in enumerate(expected) if row - expected[0] == number]
        assert starts[number] == (inside[0] if inside else starts[number + 1])
    assert starts[0] <= 0 <= starts[1]


def test_values_outside_a_curve_are_those_of_its_ends() -> None:
    curve = Curve(torch.tensor([[1.0, 2.0]]), 10, Fraction(1, 2))
    for upsampled in (upsample_linear, upsample_hann):
        found = upsampled(curve, Block(100, 100))[0]
        assert (found[:51] == 1).all()
        assert (found[60:] == 2).all()
        assert ((found[51:60] > 1) & (found[51:60] < 2)).all()


def test_upsampling_works_on_channels_and_passes_gradcheck() -> None:
    values = torch.rand(2, 4, 3, dtype=torch.float64).requires_grad_()
    block = Block(30, 1000, first_sample=-3)
    for upsampled in (upsample_linear, upsample_hann):
        whole = upsampled(Curve(values, 130), block)
        assert whole.shape == (2, 30, 3)
        for channel in range(3):
            assert torch.equal(whole[..., channel], upsampled(Curve(values[..., channel], 130), block))
        assert torch.autograd.gradcheck(lambda given, up=upsampled: up(Curve(given, 130), block), values)


def test_a_curve_takes_numbers_as_they_are_written_and_says_what_it_cannot_be() -> None:
    assert Curve(torch.zeros(1, 1), 0.1).rate == Fraction(1, 10)
    with pytest.raises(ValueError, match="num_samples is 0; a block has 1 sample or more"):
        Block(0, 16_000)
    with pytest.raises(ValueError, match="sample_rate is -1; it is in samples per second"):
        Block(1, -1)
    odd = Curve(torch.zeros(1, 3), 44_100 / 256 / 7, 64 / 22_050)
    with pytest.raises(ValueError, match=r"do not fit in 62 bits. Give them as exact fractions"):
        Block(10**6, 44_100).rows_of(odd)


@pytest.mark.parametrize("is_centred", [True, False])
@pytest.mark.parametrize("hop", [Fraction(64), Fraction(1764, 10)], ids=str)
def test_frames_begin_at_the_nearest_sample_and_hold_what_is_there(hop: Fraction, is_centred: bool) -> None:
    framing = Framing(31, 44_100 / hop, 44_100, Fraction(-1, 700), is_centred)
    signal = torch.rand(2, 1500)
    frames = frame_signal(signal, framing)
    padded = np.pad(signal.numpy(), ((0, 0), (2000, 2000)))
    for number in range(frames.shape[1]):
        place = framing.start * 44_100 + number * hop
        first = math.floor(place + Fraction(1, 2)) - (15 if is_centred else 0)
        np.testing.assert_array_equal(frames[:, number].numpy(), padded[:, 2000 + first : 2031 + first])
    assert framing.start * 44_100 + frames.shape[1] * hop >= 1500
    assert framing.start * 44_100 + (frames.shape[1] - 1) * hop < 1500


def test_frames_do_not_drift_in_ten_minutes() -> None:
    framing = Framing(512, 250, 44_100, is_centred=False)
    starts = framing.starts(150_001)
    exact = torch.arange(150_001).double() * 176.4
    assert (starts - exact).abs().max() <= 0.5
    assert int(starts[-1]) == 600 * 44_100


def test_added_frames_are_the_sum_of_a_loop_and_undo_a_cut() -> None:
    frames, starts = torch.rand(2, 7, 11), torch.tensor([-20, -5, 0, 3, 3, 40, 60])
    expected = np.zeros((2, 140))
    for number, start in enumerate(starts.tolist()):
        expected[:, start + 50 : start + 61] += frames[:, number].numpy()
    np.testing.assert_allclose(overlap_add(frames, starts, 45).numpy(), expected[:, 50:95], rtol=1e-6)
    framing = Framing(256, Fraction(16_000, 64), 16_000)
    signal = torch.rand(1, 4000)
    cut = frame_signal(signal, framing, num_frames=70) * torch.hann_window(256)
    again = overlap_add(cut, framing.starts(70), 4000) / 2
    torch.testing.assert_close(again[:, 128:], signal[:, 128:])


@pytest.mark.parametrize(
    ("first", "hop", "length"), [(-20, 3, 11), (-5, 4, 8), (7, 30, 11), (90, 2, 5), (-70, 2, 5)]
)
def test_frames_at_one_distance_are_added_like_any_others(first: int, hop: int, length: int) -> None:
    frames = torch.rand(2, 7, length, dtype=torch.float64).requires_grad_()
    starts = first + hop * torch.arange(7)
    torch.testing.assert_close(overlap_add_evenly(frames, first, hop, 45), overlap_add(frames, starts, 45))
    assert torch.autograd.gradcheck(lambda given: overlap_add_evenly(given, first, hop, 45), frames)


def test_a_stretch_of_a_signal_has_zeros_outside_it() -> None:
    signal, padded = torch.rand(2, 10), np.zeros((2, 90))
    padded[:, 40:50] = signal.numpy()
    for first in range(-30, 30):
        for num in (0, 1, 7, 20):
            expected = padded[:, 40 + first : 40 + first + num]
            np.testing.assert_array_equal(stretch(signal, first, num).numpy(), expected.astype(np.float32))


def test_framed_transforms_are_those_of_numpy() -> None:
    framing, signal = Framing(90, 176.4, 22_050), torch.rand(1, 3000, dtype=torch.float64)
    window = np.sin(np.pi * np.arange(90) / 90) ** 2
    expected = np.fft.rfft(frame_signal(signal, framing).numpy() * window)
    np.testing.assert_allclose(framed_fft(signal, framing).numpy(), expected, atol=1e-12)
    boxes = framed_fft(signal, framing, window=torch.ones(90))
    np.testing.assert_allclose(boxes.numpy(), np.fft.rfft(frame_signal(signal, framing).numpy()), atol=1e-12)


@pytest.mark.parametrize("name", ["frame_length", "frame_rate", "sample_rate"])
def test_a_framing_names_what_is_not_above_zero(name: str) -> None:
    given = {"frame_length": 4, "frame_rate": 10, "sample_rate": 100, name: 0}
    with pytest.raises(ValueError, match=f"{name} is 0; it must be above 0"):
        Framing(**given)
    with pytest.raises(ValueError, match="signal has shape"):
        frame_signal(torch.zeros(5), Framing(4, 10, 100))


def test_frames_pass_gradients_back() -> None:
    signal = torch.rand(1, 40, dtype=torch.float64).requires_grad_()
    framing = Framing(9, 300, 1764)

    def there_and_back(signal: Tensor) -> Tensor:
        frames = frame_signal(signal, framing)
        return overlap_add(frames * frames, framing.starts(frames.shape[1]), 40)

    assert torch.autograd.gradcheck(there_and_back, signal)
