"""Pitch and loudness for packing: arrays of NumPy, the same bytes in any process and with any number of threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from dirvae.ddsp import loudness_curve, track_f0
from dirvae.ddsp.features import f0, loudness
from tests.dirvae.tones import as_sound, tone

PROGRAM = """
import hashlib, sys
import numpy as np
import torch
from dirvae.ddsp.features import f0, loudness
from tests.dirvae.test_f0_features import recording
torch.set_num_threads(int(sys.argv[1]))
fields, _ = f0(recording(44_100), 44_100)
rows = [fields["f0"], fields["f0_confidence"], loudness(recording(44_100), 44_100)[0]]
print(hashlib.sha256(b"".join(one.tobytes() for one in rows)).hexdigest(), torch.get_num_threads())
"""


def recording(sample_rate: int, channels: int = 2) -> np.ndarray:
    """(channel, time) float32: a tone with noise, each channel another loudness of it."""
    turns = np.arange(sample_rate) / sample_rate
    noise = np.random.default_rng(0).normal(size=sample_rate)
    sound = tone(330, 330 * turns, sample_rate, "sawtooth") + 0.01 * noise
    return np.stack([sound * (1 + channel) / 2 for channel in range(channels)]).astype(np.float32)


@pytest.mark.parametrize("sample_rate", [16_000, 44_100])
def test_they_are_the_tracker_and_the_loudness_of_the_mean(sample_rate: int) -> None:
    samples = recording(sample_rate)
    fields, rate = f0(samples, sample_rate)
    levels, level_rate = loudness(samples, sample_rate)
    assert rate == level_rate == 250
    assert fields.keys() == {"f0", "f0_confidence"}
    assert all(one.shape == (250,) and one.dtype == np.float32 for one in (*fields.values(), levels))
    mean = as_sound(samples.mean(0, dtype=np.float32))
    found = track_f0(mean, sample_rate)
    assert np.array_equal(fields["f0"], found.f0.values[0])
    assert np.array_equal(fields["f0_confidence"], found.confidence.values[0])
    assert np.array_equal(levels, loudness_curve(mean, sample_rate).values[0])


def test_low_sample_rates_silence_and_nothing_have_their_rows() -> None:
    for sample_rate, num in ((4000, 4000), (16_000, 0), (16_000, 3), (8000, 800)):
        fields, _ = f0(np.zeros((1, num), np.float32), sample_rate)
        levels, _ = loudness(np.zeros((1, num), np.float32), sample_rate)
        due = -(-num * 250 // sample_rate)
        assert [len(one) for one in (*fields.values(), levels)] == [due] * 3
        assert (levels == -80).all()


def test_the_samples_are_left_as_they_are_and_no_setting_is_touched() -> None:
    samples = recording(16_000)
    samples.flags.writeable = False
    before = samples.copy(), torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()
    f0(samples, 16_000)
    loudness(samples, 16_000)
    assert np.array_equal(before[0], samples)
    assert (torch.get_num_threads(), torch.is_grad_enabled(), torch.get_default_dtype()) == before[1:]


def test_a_mistake_is_one_sentence() -> None:
    for make in (f0, loudness):
        with pytest.raises(ValueError, match=r"samples has shape \(5,\); it must be \(channel, time\)"):
            make(np.zeros(5, np.float32), 16_000)
        with pytest.raises(ValueError, match="not finite"):
            make(np.full((1, 5), np.nan, np.float32), 16_000)


@pytest.mark.heavy
def test_the_bytes_are_the_same_in_other_processes_with_other_threads() -> None:
    fields, _ = f0(recording(44_100), 44_100)
    rows = [fields["f0"], fields["f0_confidence"], loudness(recording(44_100), 44_100)[0]]
    here = hashlib.sha256(b"".join(one.tobytes() for one in rows)).hexdigest()
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", PROGRAM, threads]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [here, threads]
