"""What every tracker promises: rows and their times, the same numbers in any company, and sentences for mistakes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from dirvae.ddsp import Curve, Pitch, Tracker, track_f0
from dirvae.ddsp.pitch import plan, track_f0_swift, track_planned, tracking
from dirvae.ddsp.pitch.plan import TrackPlan
from tests.dirvae.tones import as_sound, cents, tone

EDGE = 12


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def melody(sample_rate: int, seconds: float = 0.4) -> Tensor:
    """Four sounds with noise: high, low, two notes, and one that is silent in the middle."""
    turns = np.arange(round(seconds * sample_rate)) / sample_rate
    rng = np.random.default_rng(0)
    parts = [tone(hz, hz * turns, sample_rate, "sawtooth") for hz in (1400, 60, 220, 330)]
    half = len(turns) // 2
    parts[2][half:] = parts[3][half:]
    parts[3][len(turns) // 4 : half] = 0
    return as_sound(*(part + 0.01 * rng.normal(size=len(part)) * (part != 0) for part in parts))


def equal(one: Pitch, other: Pitch) -> bool:
    return torch.equal(one.f0.values, other.f0.values) and torch.equal(
        one.confidence.values, other.confidence.values
    )


@pytest.mark.parametrize("sample_rate", [16_000, 44_100, 12_345])
@pytest.mark.parametrize("rate", [250, 125, 86.1328125, Fraction(1000, 3)])
def test_there_is_a_row_for_each_control_period_begun(sample_rate: int, rate: float) -> None:
    for num in (1, 160, 1024, 5000):
        found = track_f0(torch.zeros(2, num), sample_rate, rate=rate)
        due = -int(-num * Fraction(rate) // sample_rate)
        assert found.f0.values.shape == found.confidence.values.shape == (2, due)
        assert found.f0.rate == found.confidence.rate == Fraction(rate)
        assert found.f0.start == 0
        assert (found.f0.values > 0).all()
        assert not found.confidence.values.any()


def test_ten_milliseconds_of_a_tone_have_three_rows_with_its_pitch() -> None:
    turns = np.arange(160) / 16_000
    found = track_f0(as_sound(tone(440, 440 * turns, 16_000, "sine")), 16_000)
    assert found.f0.values.shape == (1, 3)
    assert cents(found.f0.values, 440).abs().max() < 5
    assert (found.confidence.values >= 0.5).all()


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
def test_a_sound_has_the_same_pitch_alone_and_in_a_batch(sample_rate: int) -> None:
    sounds = melody(sample_rate)
    together = track_f0(sounds, sample_rate)
    for number, sound in enumerate(sounds):
        alone = track_f0(sound[None], sample_rate)
        assert torch.equal(alone.f0.values[0], together.f0.values[number])
        assert torch.equal(alone.confidence.values[0], together.confidence.values[number])


@pytest.mark.usefixtures("threads")
def test_threads_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sounds, found = melody(44_100), []
    for num_threads, block_rows, at_once in ((1, 4096, 256), (2, 4096, 256), (1, 4 * 41, 256), (2, 4 * 70, 64)):
        torch.set_num_threads(num_threads)
        monkeypatch.setattr(plan, "BLOCK_ROWS", block_rows)
        monkeypatch.setattr(tracking, "ROWS_AT_ONCE", at_once)
        found.append(track_f0(sounds, 44_100))
    assert all(equal(found[0], other) for other in found[1:])


def test_rows_without_pitch_lead_from_one_pitch_to_the_next_in_octaves() -> None:
    turns = np.arange(8000) / 16_000
    parts = [tone(hz, hz * turns, 16_000, "sawtooth") for hz in (200, 400)]
    sound = np.concatenate([parts[0], np.zeros(8000), parts[1], np.zeros(4000)])
    found = track_f0(as_sound(sound), 16_000)
    f0, is_voiced = found.f0.values[0], found.confidence.values[0] >= 0.5
    assert is_voiced[5:120].all()
    assert not is_voiced[135:240].any()
    steps = f0[140:235].log2().diff()
    assert (steps > 0).all()
    assert steps.max() < 1.2 * steps.min()
    assert cents(f0[-20:], 400).abs().max() < 5


def test_a_range_keeps_pitches_within_it() -> None:
    turns = np.arange(8000) / 16_000
    sound = as_sound(tone(220, 220 * turns, 16_000, "sawtooth"))
    assert cents(track_f0(sound, 16_000, lowest=100, highest=200).f0.values, 110).abs().median() < 1
    assert cents(track_f0(sound, 16_000, lowest=30, highest=3000).f0.values, 220).abs().median() < 1
    low = as_sound(tone(31, 31 * turns, 16_000, "sawtooth"))
    assert cents(track_f0(low, 16_000, lowest=30).f0.values[:, 20:-20], 31).abs().max() < 3


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((100,), {}, r"samples has shape \(100,\); it must be \(batch, time\)"),
        ((1, 0), {}, "at least one sample"),
        ((1, 100), {"rate": 0}, "rate is 0; it must be a number per second, above 0"),
        ((1, 100), {"sample_rate": -1}, "sample_rate is -1"),
        ((1, 100), {"lowest": 500, "highest": 100}, "lowest is 500 and highest 100; they must be pitches in Hz"),
        ((1, 100), {"highest": 9000}, "highest is 9000; at 16000 samples per second it must be 7200 Hz or lower"),
    ],
)
def test_a_mistake_is_one_sentence(shape: tuple[int, ...], settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        track_f0(torch.zeros(shape), settings.pop("sample_rate", 16_000), **settings)


@pytest.mark.parametrize("largest", [32_768.0, 1e12, 1e30])
def test_samples_far_beyond_full_scale_have_their_pitch(largest: float) -> None:
    turns = np.arange(3200) / 16_000
    found = track_f0(as_sound(largest * tone(440, 440 * turns, 16_000, "sine")), 16_000)
    assert cents(found.f0.values[:, EDGE:-EDGE], 440).abs().max() < 5
    assert (found.confidence.values >= 0.5).all()


def test_samples_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        track_f0(torch.full((1, 100), torch.nan), 16_000)
    with pytest.raises(TypeError, match=r"samples is torch\.int16"):
        track_f0(torch.zeros(1, 100, dtype=torch.int16), 16_000)


def test_any_function_of_this_form_is_a_tracker() -> None:
    def always_a(samples: Tensor, sample_rate: Fraction | float, *, rate: Fraction | float = 250) -> Pitch:
        num = track_f0(samples, sample_rate, rate=rate).f0.num_rows
        return Pitch(
            Curve(torch.full((len(samples), num), 440.0), rate), Curve(torch.ones(len(samples), num), rate)
        )

    trackers: list[Tracker] = [track_f0, track_f0_swift, always_a]
    for tracker in trackers:
        assert list(inspect.signature(tracker).parameters)[:3] == ["samples", "sample_rate", "rate"]


def test_swift_f0_is_asked_for_by_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from dirvae.ddsp.pitch import swift

    swift._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "swift_f0", None)
    with pytest.raises(ImportError, match=r"pip install 'dirvae\[pitch\]'"):
        track_f0_swift(torch.zeros(1, 1000), 16_000)


def test_swift_f0_stands_at_the_same_moments() -> None:
    pytest.importorskip("swift_f0", reason="swift-f0 is not installed: pip install 'dirvae[pitch]'")
    turns = np.arange(16_000) / 16_000
    found = track_f0_swift(as_sound(tone(440, 440 * turns, 16_000, "sawtooth")), 16_000)
    assert found.f0.values.shape == (1, 250)
    assert cents(found.f0.values[:, 50:200], 440).abs().median() < 20


def planned(samples: Tensor) -> TrackPlan:
    return TrackPlan.of(
        samples.shape, 16_000, 250, lowest=80.0, highest=2400.0, octave_penalty=0.02, quietest_db=-55.0
    )


@pytest.mark.heavy
def test_the_whole_computation_is_one_graph() -> None:
    turns = np.arange(1600) / 16_000
    sound = as_sound(tone(220, 220 * turns, 16_000, "sawtooth"))
    compiled = torch.compile(track_planned, fullgraph=True, backend="eager")
    for one, other in zip(compiled(sound, planned(sound)), track_planned(sound, planned(sound)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.heavy
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # inductor's own
def test_it_runs_compiled_by_inductor() -> None:
    torch._dynamo.reset()
    turns = np.arange(400) / 16_000
    sound = as_sound(tone(440, 440 * turns, 16_000, "sawtooth"))
    compiled = torch.compile(track_planned, fullgraph=True)
    for one, other in zip(compiled(sound, planned(sound)), track_planned(sound, planned(sound)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
