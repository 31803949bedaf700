"""Windows at another sample rate are those of the whole recording, resampled at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soxr
from scipy.signal import resample_poly

from pipelines import AudioIterator
from pipelines.decode.audio.resampling import resample_window, source_stretch

from .recordings import decoded, encoded, melody, write_folder

RATES = [
    (44_100, 16_000),
    (16_000, 44_100),
    (48_000, 16_000),
    (44_100, 48_000),
    (8000, 48_000),
    (96_000, 8000),
    (44_101, 16_000),
    (44_100, 15_999),
]


@pytest.mark.parametrize(("from_rate", "to_rate"), RATES)
def test_windows_are_those_of_the_whole_resampled_at_once(from_rate: int, to_rate: int, tmp_path: Path) -> None:
    samples = melody(4 * from_rate, rate=from_rate, seed=from_rate % 97)
    write_folder(tmp_path, {"a.wav": encoded(samples, "f32", rate=from_rate)})
    whole = soxr.resample(samples, from_rate, to_rate)
    audio = AudioIterator(tmp_path, window=4000, hop=3777, sample_rate=to_rate, batch_size=5)
    num, frames = 0, 0
    for batch in audio:
        for slot in range(len(batch)):
            start = 3777 * num
            length = int(batch.lengths[slot]) if batch.lengths is not None else 4000
            np.testing.assert_allclose(batch.data[slot, 0, :length], whole[start : start + length, 0], atol=2e-6)
            num, frames = num + 1, start + length
    assert frames == len(whole) == 4 * to_rate


def test_the_phase_is_that_of_an_independent_resampler() -> None:
    samples = melody(60_000, rate=48_000)
    whole = resample_poly(samples.astype(np.float64), 1, 3, window=("kaiser", 12.0))
    for start in (1000, 1001, 7777):
        found = resample_window(
            lambda begin, end: samples[begin:end], start, 500, frames=60_000, from_rate=48_000, to_rate=16_000
        )
        slow = whole[start : start + 500]
        shifted = [np.abs(found - whole[start + k : start + k + 500]).max() for k in (-1, 1)]
        error = np.abs(found - slow).max()
        assert error < 0.1
        assert min(shifted) > 3 * error, "a frame earlier or later fits worse"


@pytest.mark.parametrize(("from_rate", "to_rate"), [*RATES, (7, 5), (5, 7)])
def test_a_stretch_begins_on_a_whole_frame_of_both_rates_and_covers_the_window(
    from_rate: int, to_rate: int
) -> None:
    for start in (0, 1, 999, 123_456_789):
        begin, end = source_stretch(start, 100, from_rate, to_rate)
        assert begin * to_rate % from_rate == 0
        assert begin * to_rate <= start * from_rate
        assert end * to_rate >= (start + 100) * from_rate


def test_keys_tell_where_a_window_begins_in_the_recording_itself(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.wav": encoded(melody(88_200, rate=44_100), rate=44_100)})
    batch = next(iter(AudioIterator(tmp_path, window=8000, sample_rate=16_000, batch_size=9)))
    assert batch.keys == ["a@0", "a@22050", "a@44100", "a@66150"]
    assert batch.lengths is None


def test_recordings_of_the_rate_that_is_asked_for_are_not_touched(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.wav": encoded(melody(5000)), "b.wav": encoded(melody(5000, rate=8000), rate=8000)})
    batch = next(iter(AudioIterator(tmp_path, window=5000, sample_rate=16_000, batch_size=2)))
    np.testing.assert_array_equal(batch.data[0, 0], decoded((tmp_path / "a.wav").read_bytes())[:, 0])
    assert batch.keys == ["a@0", "b@0"]


def test_only_the_window_and_a_margin_are_read(tmp_path: Path) -> None:
    spans: list[tuple[int, int]] = []
    samples = melody(441_000, 2, rate=44_100)

    def read(begin: int, end: int) -> np.ndarray:
        spans.append((begin, end))
        return samples[begin:end]

    found = resample_window(read, 50_000, 16_000, frames=441_000, from_rate=44_100, to_rate=16_000)
    assert found.shape == (16_000, 2)
    ((begin, end),) = spans
    assert end - begin < 44_100 * 1.1


def test_channels_are_resampled_each_and_mixed_alike(tmp_path: Path) -> None:
    stereo = melody(20_000, 2)
    write_folder(tmp_path, {"a.wav": encoded(stereo, "f32")})
    whole = soxr.resample(stereo, 16_000, 11_025)
    for channels, expected in ((2, whole), (1, whole.mean(axis=1, keepdims=True)), (None, whole)):
        audio = AudioIterator(tmp_path, window=13_000, sample_rate=11_025, channels=channels, batch_size=1)
        found = next(iter(audio)).data[0]
        np.testing.assert_allclose(found.T, expected[:13_000], atol=2e-6)


def test_random_offsets_are_those_of_the_output_rate(tmp_path: Path) -> None:
    samples = melody(44_100, rate=44_100)
    write_folder(tmp_path, {"a.wav": encoded(samples, "f32", rate=44_100)})
    whole = soxr.resample(samples, 44_100, 16_000)[:, 0]
    audio = AudioIterator(tmp_path, window=1000, sample_rate=16_000, random_offset=True, shuffle=True, batch_size=4)
    for batch in audio:
        for key, window in zip(batch.keys, batch.data[:, 0], strict=True):
            source_frame = int(key.split("@")[1])
            about = source_frame * 16_000 // 44_100
            near = [
                np.abs(whole[s : s + 1000] - window).max()
                for s in range(max(0, about - 1), about + 2)
                if s <= 15_000
            ]
            assert min(near) < 2e-6


def test_without_soxr_another_rate_is_explained_and_the_own_one_works() -> None:
    code = (
        "import sys; sys.modules['soxr'] = None\n"
        "from pipelines.order.clip_arithmetic import ClipSpec\n"
        "from pipelines.decode.audio.audio_decoder import AudioDecoder\n"
        "from pipelines.decode.audio.recording_reader import RecordingReader\n"
        "AudioDecoder(RecordingReader(), ClipSpec(10, 10))\n"
        "try:\n    AudioDecoder(RecordingReader(), ClipSpec(10, 10, 16000))\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "pip install soxr" in done.stdout
