"""Loudness: the standard's table, the same from NumPy and torch at any rate, at the right moment, with a gradient."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from dirvae.ddsp import loudness_curve
from dirvae.ddsp.loudness import levels_at, window_samples
from dirvae.ddsp.rows import count_rows, row_samples
from dirvae.ddsp.weighting import a_weighting
from pipelines.decode.audio import loudness as numpy_loudness
from tests.dirvae.tones import as_sound

TABLE = {10: -70.4, 19.953: -50.5, 31.623: -39.4, 50.119: -30.2, 100: -19.1, 199.53: -10.9, 501.19: -3.2} | {
    1000: 0.0,
    1995.3: 1.2,
    2511.9: 1.3,
    5011.9: 0.5,
    10_000: -2.5,
    15_849: -6.6,
    19_953: -9.3,
}
"""Nominal A-weighting in dB at exact frequencies, IEC 61672-1:2013, table 3."""

RATES = [(16_000, 250), (44_100, 250), (48_000, 125), (22_050, 86.1328125), (8000, Fraction(1000, 3)), (12_345, 99)]


def noise(num: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.3 * rng.normal(size=num) * np.linspace(0, 1, num) ** 3


def test_the_weighting_is_the_table_of_the_standard() -> None:
    hz = torch.tensor(list(TABLE), dtype=torch.float64)
    found = 10 * a_weighting(hz).log10()
    assert (found - torch.tensor(list(TABLE.values()))).abs().max() < 0.06
    assert a_weighting(torch.zeros(1)).item() == 0
    np.testing.assert_allclose(a_weighting(hz), numpy_loudness.a_weighting(hz.numpy()), rtol=1e-12)


@pytest.mark.parametrize(("sample_rate", "rate"), RATES)
def test_numpy_and_torch_have_the_same_loudness(sample_rate: int, rate: float) -> None:
    samples = noise(sample_rate // 2 + 17)
    expected = numpy_loudness.loudness_curve(samples, sample_rate, rate)
    found = loudness_curve(as_sound(samples, 0.1 * samples), sample_rate, rate=rate)
    assert found.values.shape == (2, len(expected))
    assert found.rate == Fraction(rate)
    assert np.abs(found.values[0].numpy() - expected).max() < 1e-3
    quieter = numpy_loudness.loudness_curve(0.1 * samples, sample_rate, rate)
    assert np.abs(found.values[1].numpy() - quieter).max() < 1e-3


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 22_050, 44_100, 48_000])
def test_a_sine_has_its_weighted_level_at_every_rate(sample_rate: int) -> None:
    time = np.arange(sample_rate // 2) / sample_rate
    for hz, expected in ((1000, 0.0), (200, -10.85), (3000, 1.2)):
        found = loudness_curve(as_sound(0.5 * np.sin(2 * np.pi * hz * time)), sample_rate).values[0]
        assert (found[10:-10] - expected + 6.02).abs().max() < 0.4
    assert (loudness_curve(torch.zeros(1, 1000), sample_rate).values == -80).all()


@pytest.mark.parametrize(("sample_rate", "rate"), RATES)
def test_a_click_is_loudest_within_half_a_hop_of_its_moment(sample_rate: int, rate: float) -> None:
    for click in (sample_rate // 7, sample_rate // 3 + 1, sample_rate // 2 - 5):
        samples = np.zeros(sample_rate // 2 + sample_rate // 10)
        samples[click] = 1
        found = loudness_curve(as_sound(samples), sample_rate, rate=rate)
        moment = found.seconds()[found.values[0].argmax()].item()
        assert abs(moment - click / sample_rate) <= 0.5 / float(rate) + 1 / sample_rate
        in_numpy = numpy_loudness.loudness_curve(samples, sample_rate, rate).argmax() / float(rate)
        assert abs(in_numpy - click / sample_rate) <= 0.5 / float(rate) + 1 / sample_rate


def test_no_row_is_ever_further_than_half_a_sample_from_its_time() -> None:
    num = 250 * 600
    places = row_samples(range(num), sample_rate=44_100, rate=250)
    exact = torch.arange(num, dtype=torch.float64) * 176.4
    assert (places - exact).abs().max() <= 0.5
    huge = Fraction(44_100) + Fraction(1, 10**15)
    assert torch.equal(row_samples(range(1000), sample_rate=huge, rate=250), places[:1000])
    assert count_rows(44_100, sample_rate=44_100, rate=250) == 250
    assert count_rows(44_101, sample_rate=44_100, rate=250) == 251


def test_rows_are_the_same_alone_in_a_batch_and_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = as_sound(noise(16_000), noise(16_000, 1), noise(16_000, 2))
    together = loudness_curve(samples, 16_000).values
    assert all(
        torch.equal(loudness_curve(one[None], 16_000).values[0], row)
        for one, row in zip(samples, together, strict=True)
    )
    monkeypatch.setattr("dirvae.ddsp.loudness.ROWS_AT_ONCE", 60)
    monkeypatch.setattr(numpy_loudness, "ROWS_AT_ONCE", 33)
    assert torch.equal(loudness_curve(samples, 16_000).values, together)


def test_it_has_the_right_gradient_and_none_below_the_floor() -> None:
    samples = torch.tensor(noise(100, 5)[None], requires_grad=True)

    def levels(samples: torch.Tensor) -> torch.Tensor:
        return loudness_curve(samples, 2000, rate=50, floor_db=-150).values

    assert torch.autograd.gradcheck(levels, samples)
    silent = torch.zeros(1, 400, requires_grad=True)
    loudness_curve(silent, 8000).values.sum().backward()
    assert silent.grad is not None
    assert not silent.grad.any()


@pytest.mark.heavy
def test_it_is_one_graph() -> None:
    samples = as_sound(noise(800))
    centres = row_samples(range(10), sample_rate=16_000, rate=250)

    def levels(samples: torch.Tensor) -> torch.Tensor:
        return levels_at(samples, centres, window=window_samples(16_000), sample_rate=16_000.0)

    compiled = torch.compile(levels, fullgraph=True, backend="eager")
    assert torch.equal(compiled(samples), levels(samples))


@pytest.mark.parametrize(
    ("shape", "rate", "message"),
    [((100,), 250, "samples has shape"), ((1, 100), -1, "rate is -1; it must be a number per second")],
)
def test_a_mistake_is_one_sentence(shape: tuple[int, ...], rate: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loudness_curve(torch.zeros(shape), 16_000, rate=rate)
    with pytest.raises(ValueError, match="one channel is wanted"):
        numpy_loudness.loudness_curve(np.zeros((2, 5)), 16_000, 250)
    with pytest.raises(ValueError, match="control_rate is 0"):
        numpy_loudness.loudness_curve(np.zeros(5), 16_000, 0)


@pytest.mark.heavy
def test_the_weighting_is_librosas() -> None:
    librosa = pytest.importorskip("librosa", reason="librosa is not installed: pip install librosa")
    hz = np.linspace(20, 20_000, 2000)
    found = 10 * a_weighting(torch.tensor(hz)).log10().numpy()
    assert np.abs(found - librosa.A_weighting(hz, min_db=None)).max() < 0.01
