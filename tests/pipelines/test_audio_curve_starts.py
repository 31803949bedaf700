"""The field NAME@start says, for every clip and exactly, where the first row of a curve stands.

Recordings hold the time, so that a clip says by itself at which sample it begins, and curves hold the time of each row.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines import AudioIterator, Batch, MixedIterator, curve_start, mix
from pipelines.decode.audio.audio_decoder import AudioDecoder
from pipelines.decode.audio.recording_reader import RecordingReader
from pipelines.order.clip_arithmetic import ClipSpec
from pipelines.order.randomness import Place
from pipelines.sources import FolderSource
from pipelines.sources.clips import Clip, ClipSource
from pipelines.torch_bridge import TorchLoader

from .recordings import encoded, write_folder

NAME, START = "clock.npy", "clock.npy@start"
STORED = (8000, 16_000, 22_050, 44_100)


def timed(
    *, rate: int, curve_rate: Fraction, seconds: float = 1.3, curve: bool = True, name: str
) -> dict[str, bytes]:
    """A recording whose samples are the time in eighths of a second, and a curve of the seconds of its rows."""
    samples = (np.arange(round(seconds * rate)) / rate / 8).astype(np.float32)
    rows = io.BytesIO()
    np.save(rows, np.arange(round(seconds * curve_rate)) / float(curve_rate))
    beside = {f"{name}.{NAME}": rows.getvalue()} if curve else {}
    return {f"{name}.wav": encoded(samples[:, None], "f32", rate=rate), **beside}


def folder_of(path: Path, rates: Iterable[int], curve_rate: Fraction = Fraction(250)) -> Path:
    """Recordings of these rates, named by them, and one more of the first rate."""
    for number, rate in enumerate([*rates, next(iter(rates))]):
        write_folder(path, timed(rate=rate, curve_rate=curve_rate, name=f"{number}-{rate}"))
    return path


def frame_heard(samples: NDArray[np.float32], rate: Fraction) -> int:
    """The frame of its recording, at the clip's rate, with which a clip begins, by the times in its samples."""
    middle = np.arange(len(samples) // 4, 3 * len(samples) // 4)  # away from the ends, where resampling rings
    frames = float(np.median(samples[middle] * 8.0 * float(rate) - middle))
    assert abs(frames - round(frames)) < 0.3, "not heard exactly enough"
    return round(frames)


def nearest_row(second: Fraction, rate: Fraction) -> int:
    """By trial: the nearest to a second, the later one of two."""
    rows = range(int(second * rate) + 3)
    return max(rows, key=lambda row: (-abs(row / rate - second), row))


def clips(batches: Iterable[Batch]) -> Iterator[tuple[str, NDArray[np.float32], float, NDArray[np.float64]]]:
    for batch in batches:
        starts = batch.fields[START]
        assert isinstance(starts, np.ndarray)
        assert (starts.shape, starts.dtype) == ((len(batch),), np.float64)
        yield from zip(batch.keys, batch.data[:, 0], starts.tolist(), batch.fields[NAME], strict=True)


@pytest.mark.filterwarnings("ignore:.*in one batch")
@pytest.mark.parametrize(
    ("stored", "curve_rate", "playing"),
    [
        ((16_000,), 250, {"hop": 1001}),
        ((16_000,), 250, {"random_offset": True}),
        ((44_100,), 250, {"hop": 3001}),
        ((44_100,), 250, {"random_offset": True, "shuffle": True}),
        ((44_100,), Fraction(11_025, 128), {"random_offset": True}),
        ((44_100,), 250, {"sample_rate": 16_000, "random_offset": True}),
        ((44_100,), 250, {"sample_rate": 16_000, "hop": 777}),
        ((8000,), 250, {"sample_rate": 48_000, "random_offset": True, "shuffle": "files"}),
        ((16_000,), 100, {"sample_rate": 44_100, "random_offset": True}),
        ((16_000,), 250, {"sample_rate": Fraction(24_000_000, 1001), "random_offset": True}),
        (STORED, 250, {"sample_rate": 16_000, "random_offset": True, "shuffle": True}),
        (STORED, 250, {"sample_rate": 32_000, "hop": 1111, "shuffle": True}),
        (STORED, 250, {"random_offset": True, "shuffle": True}),
    ],
    ids=str,
)
def test_the_first_row_stands_where_the_clip_says(
    stored: tuple[int, ...], curve_rate: Fraction, playing: dict[str, Any], tmp_path: Path
) -> None:
    rate_of_rows = Fraction(curve_rate)
    folder = folder_of(tmp_path, stored, rate_of_rows)
    sample_rate = playing.get("sample_rate")
    window = round(0.1 * (sample_rate or stored[0]))
    found = []
    for seed in range(2):
        audio = AudioIterator(
            folder, window=window, short="skip", batch_size=7, curves={NAME: curve_rate}, seed=seed, **playing
        )
        found += list(clips(audio))
    for key, samples, start, rows in found:
        rate = Fraction(sample_rate or int(key.split("@")[0].split("-")[1]))
        second = frame_heard(samples, rate) / rate
        exact = nearest_row(second, rate_of_rows) / rate_of_rows - second
        assert -Fraction(1, 2) < exact * rate_of_rows <= Fraction(1, 2)
        assert start == float(exact), key
        assert rows[0] == pytest.approx(float(second) + start, abs=1e-9), key
    assert len({start for _, _, start, _ in found}) > 5, "clips begin at various moments between two rows"


def test_a_key_tells_less_than_the_field_where_clips_are_resampled_to_a_higher_rate(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, [8000])
    audio = AudioIterator(
        folder, window=4800, sample_rate=48_000, random_offset=True, short="skip", curves={NAME: 250}, batch_size=30
    )
    differences = {
        round(48_000 * (start - float(curve_start(int(key.split("@")[1]), 250, 48_000, stored_rate=8000))), 3)
        for key, _, start, _ in clips(audio)
    }
    assert any(differences), "a sixth of a stored frame each"
    assert all(value == round(value) for value in differences)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "timed", [8000, 44_100, 16_000])


def make(folder: Path, **changes: Any) -> AudioIterator:
    settings = {"window": 4096, "sample_rate": 48_000, "batch_size": 8, "shuffle": True, "random_offset": True}
    return AudioIterator(folder, curves={NAME: 250}, **{**settings, "seed": 4, "threads": 2, **changes})


def starts(batches: Iterable[Batch]) -> list[list[float]]:
    found = []
    for batch in batches:
        assert batch.fields[START].dtype == np.float64
        found.append(batch.fields[START].tolist())
    return found


def test_worker_processes_and_other_threads_bring_the_same_starts(folder: Path) -> None:
    expected = starts(make(folder))
    assert len(expected) > 5
    assert len({start for batch in expected for start in batch}) > 30
    assert starts(make(folder, threads=1)) == expected
    assert starts(TorchLoader(make(folder, threads=1), 0)) == expected
    assert starts(TorchLoader(make(folder, threads=1), 2, multiprocessing_context="fork")) == expected


def test_a_resumed_run_brings_the_same_starts_and_the_next_epoch_others(folder: Path) -> None:
    expected = starts(make(folder))
    for taken in range(1, len(expected)):
        stopped = make(folder)
        assert starts(islice(stopped, taken)) == expected[:taken]
        resumed = make(folder, threads=1)
        resumed.load_state_dict(stopped.state_dict())
        assert starts(resumed) == expected[taken:]
        assert starts(resumed) != expected


def test_a_mixture_brings_the_starts_of_its_parts(folder: Path) -> None:
    mixture: MixedIterator = mix([make(folder), make(folder, seed=5)], batch_size=8)
    found = {start for batch in starts(mixture) for start in batch}
    parts = [{start for batch in starts(make(folder, seed=seed)) for start in batch} for seed in (4, 5)]
    assert len(found & parts[0]) > 20
    assert len(found & parts[1]) > 20
    with pytest.raises(ValueError, match="different fields"):
        mix([make(folder), AudioIterator(folder, window=4096, sample_rate=48_000, fields=NAME)])


def test_what_is_substituted_or_fills_a_batch_up_has_its_own_start(folder: Path) -> None:
    write_folder(folder, {"broken.wav": b"RIFF no more than that"})
    padded = {"tail": "pad", "rank": 0, "world_size": 1}
    batches = list(make(folder, on_error="substitute", short="skip", **padded))
    assert batches[-1].mask is not None
    assert sum(int(batch.substituted.sum()) for batch in batches if batch.substituted is not None)
    for _, samples, start, rows in clips(batches):
        second = Fraction(frame_heard(samples, Fraction(48_000)), 48_000)
        assert start == float(nearest_row(second, Fraction(250)) / Fraction(250) - second)
        assert rows[0] == pytest.approx(float(second) + start, abs=1e-9)


def test_a_recording_without_the_curve_has_a_start_all_the_same(tmp_path: Path) -> None:
    for name, curve in (("a", True), ("b", False)):
        write_folder(tmp_path, timed(rate=44_100, curve_rate=Fraction(250), name=name, curve=curve))
    batch = next(iter(AudioIterator(tmp_path, window=5000, batch_size=24, curves={NAME: 250})))
    assert {key[0]: value is None for key, value in zip(batch.keys, batch.fields[NAME], strict=True)} == {
        "a": False,
        "b": True,
    }
    found = {(key[0], key[2:]): start for key, start in zip(batch.keys, batch.fields[START].tolist(), strict=True)}
    assert {start for (name, _), start in found.items() if name == "b"} == {
        float(curve_start(number * 5000, 250, 44_100)) for number in range(12)
    }
    assert all(found["a", key] == found["b", key] for _, key in found)


def test_a_recording_without_a_sample_rate_has_no_start(tmp_path: Path) -> None:
    write_folder(tmp_path, timed(rate=16_000, curve_rate=Fraction(250), name="a", curve=False))
    spec, reader = ClipSpec(1000, 1000), RecordingReader()
    clip = ClipSource(FolderSource(tmp_path, modality="audio"), spec, reader).read([0])[0]
    assert isinstance(clip, Clip)
    clip.record = clip.record._replace(rate_numerator=0, rate_denominator=0)
    decoder = AudioDecoder(reader, spec, curves={NAME: 250})
    details = decoder.decode_into(clip, np.empty((1, 1000), np.float32), Place(0, 0, 0))
    assert details.fields[NAME] is None
    assert details.fields[START].dtype == np.float64
    assert np.isnan(details.fields[START])


def test_each_curve_has_its_start_and_no_curve_may_have_the_name_of_one(folder: Path) -> None:
    batch = next(iter(AudioIterator(folder, window=3001, batch_size=2, curves={NAME: 250}, fields=(START, NAME))))
    assert list(batch.fields) == [START, NAME]
    with pytest.warns(UserWarning, match=r"no example of the first batch has a field 'f0\.npy'"):
        batch = next(iter(AudioIterator(folder, window=3001, batch_size=2, curves={NAME: 250, "f0.npy": 100})))
    assert list(batch.fields) == [NAME, "f0.npy", START, "f0.npy@start"]
    with pytest.raises(ValueError, match=r"curves has 'clock\.npy' and 'clock\.npy@start', which is made of it"):
        AudioIterator(folder, curves={NAME: 250, START: 250})
