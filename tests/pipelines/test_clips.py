"""Which clips a recording has: arithmetic, against counting them one by one."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from pipelines.order.clip_arithmetic import UNREADABLE, ClipSpec
from pipelines.storage.index import INDEX_DTYPE, Record


def recording(frames: int, rate: int) -> Record:
    return Record(frames=frames, rate_numerator=rate, rate_denominator=1)


def records_of(*frames: int, rate: int = 16_000) -> np.ndarray:
    return np.array([recording(length, rate) for length in frames], INDEX_DTYPE)


def starts_one_by_one(frames: int, window: int, hop: int, short: str) -> list[int]:
    """Clips are added until one reaches the end; those that run over it are kept or not."""
    starts, start = [], 0
    while start < frames:
        if start + window <= frames or short == "pad":
            starts.append(start)
        if start + window >= frames:
            break
        start += hop
    return starts


@pytest.mark.parametrize("short", ["pad", "skip"])
@pytest.mark.parametrize(("window", "hop"), [(10, 10), (10, 3), (10, 1), (1, 1), (7, 25), (10, 9), (3, 10)])
def test_the_clips_of_a_recording_are_those_that_are_found_one_by_one(window: int, hop: int, short: str) -> None:
    lengths = list(range(120))
    counts = ClipSpec(window, hop, short=short).counts(records_of(*lengths))  # type: ignore[arg-type]
    expected = [len(starts_one_by_one(length, window, hop, short)) for length in lengths]
    assert counts.tolist() == expected


def test_clips_cover_every_frame_and_none_lies_behind_the_end() -> None:
    spec = ClipSpec(100, 40)
    for frames in range(1, 400):
        num = int(spec.counts(records_of(frames))[0])
        assert (num - 1) * 40 < frames <= (num - 1) * 40 + 100


@pytest.mark.parametrize(("rate", "sample_rate"), [(44_100, 16_000), (16_000, 44_100), (8000, 48_000), (44_101, 7)])
def test_lengths_at_another_rate_are_rounded_exactly(rate: int, sample_rate: int) -> None:
    frames = [0, 1, 2, 999, 44_100, 123_456_789, (1 << 40) + 7]
    found = ClipSpec(10, 10, sample_rate=sample_rate).output_frames(records_of(*frames, rate=rate))
    exact = [int(Fraction(length * sample_rate, rate) + Fraction(1, 2)) for length in frames]
    assert found.tolist() == exact


def test_a_key_s_start_is_the_recording_s_own_frame() -> None:
    spec = ClipSpec(16_000, 16_000, sample_rate=16_000)
    assert spec.source_frame(32_000, recording(10**6, 44_100)) == 88_200
    assert ClipSpec(10, 10).source_frame(32_000, recording(10**6, 44_100)) == 32_000


def test_an_unreadable_recording_has_one_clip_and_an_empty_one_none() -> None:
    for short in ("pad", "skip"):
        counts = ClipSpec(10, 10, short=short).counts(records_of(UNREADABLE, 0, 25))  # type: ignore[arg-type]
        assert counts.tolist()[:2] == [1, 0]


def test_a_spec_is_described_as_json() -> None:
    described = ClipSpec(10, 5, 16_000, "skip").describe()
    expected = {
        "kind": "window",
        "window": 10,
        "hop": 5,
        "sample_rate": 16_000,
        "short": "skip",
        "random_offset": False,
    }
    assert json.loads(json.dumps(described)) == expected


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"window": 0, "hop": 1}, "window is 0"),
        ({"window": 10, "hop": 0}, "hop is 0"),
        ({"window": 1.5, "hop": 1}, "window is 1.5"),
        ({"window": True, "hop": 1}, "window is True"),
        ({"window": 10, "hop": 10, "sample_rate": -1}, "sample_rate is -1"),
        ({"window": 10, "hop": 10, "short": "cut"}, "short is 'cut'"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(wrong: dict[str, object], named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=named):
        ClipSpec(**wrong)  # type: ignore[arg-type]
