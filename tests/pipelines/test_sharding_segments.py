"""Where recordings and their curves are cut, and how much memory that takes."""

from __future__ import annotations

import io
import tracemalloc
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines import AudioIterator
from pipelines.sharding import PackReport, make_shards
from pipelines.sharding.modalities.audio import AudioSettings
from pipelines.sharding.modalities.segments import cut_blocks, exact_seconds, segment_start
from pipelines.sharding.settings import settings_for
from pipelines.sharding.source_reader import SourceReader

from .wav_files import encoded, noise, packed, parts_of, read, tone, wav


def pack(source: Path, out: Path, **settings: Any) -> PackReport:
    return make_shards(source, out, **{"workers": 0, "overwrite": True, **settings})


def npy(content: bytes) -> NDArray[Any]:
    return np.load(io.BytesIO(content), allow_pickle=False)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ten seconds and a bit of a ramp, with its pitch and loudness at 250 Hz, an embedding, a label and facts."""
    folder = tmp_path / "audio"
    folder.mkdir()
    frames, rows = 10 * 16_000 + 1000, 2516
    ramp = np.arange(frames, dtype=np.float32)[:, None] / frames
    (folder / "a.wav").write_bytes(encoded(ramp, 16_000, "WAV", "FLOAT"))
    np.save(folder / "a.f0.npy", np.arange(rows, dtype=np.float32))
    np.save(folder / "a.loudness.npy", np.asfortranarray(np.arange(2 * rows, dtype=">f8").reshape(rows, 2)))
    np.save(folder / "a.embedding.npy", np.arange(7))
    (folder / "a.cls").write_text("3")
    (folder / "a.json").write_text('{"note": 1}')
    (folder / "a.wav.json").write_text("{}")
    return folder


def test_segments_start_where_the_seconds_say_and_no_error_grows() -> None:
    starts = [segment_start(part, exact_seconds(0.1), 11_025) for part in range(101)]
    assert starts[:4] == [0, 1103, 2205, 3308]
    assert starts[100] == 110_250
    assert {after - before for before, after in pairwise(starts)} == {1102, 1103}
    assert exact_seconds(0.1) == Fraction(1, 10)


@pytest.mark.parametrize("block", [1, 7, 10, 25, 1000])
def test_blocks_are_joined_and_cut_whatever_their_length(block: int) -> None:
    samples = np.arange(103, dtype=np.float32)[:, None]
    blocks = [samples[start : start + block] for start in range(0, 103, block)]
    cut = list(cut_blocks(iter(blocks), exact_seconds(1), 10))
    assert [len(one) for one in cut] == [10] * 10 + [3]
    assert np.array_equal(np.concatenate(cut), samples)
    assert list(cut_blocks(iter([]), exact_seconds(1), 10)) == []


@pytest.mark.parametrize("settings", [{}, {"sample_rate": 22_050, "codec": "flac"}])
def test_curves_are_cut_with_their_recording_and_other_fields_repeated(
    source: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    curves = {"f0.npy": 250, "loudness.npy": 250}
    report = pack(source, tmp_path / "out", segment=4, curves=curves, **settings)
    parts = parts_of(packed(tmp_path / "out"), "a")
    assert report.skipped == 1
    assert [set(part) - {"wav", "flac"} for part in parts] == [
        {"f0.npy", "loudness.npy", "embedding.npy", "cls", "json"}
    ] * 3
    assert [npy(part["f0.npy"]).tolist() for part in parts] == [
        list(range(1000)),
        list(range(1000, 2000)),
        list(range(2000, 2516)),
    ]
    loudness = [npy(part["loudness.npy"]) for part in parts]
    assert np.array_equal(np.concatenate(loudness), np.load(source / "a.loudness.npy"))
    assert loudness[0].dtype == np.dtype(">f8")
    assert all(part["embedding.npy"] == (source / "a.embedding.npy").read_bytes() for part in parts)
    assert all((part["cls"], part["json"]) == (b"3", b'{"note": 1}') for part in parts)
    assert report.notes == (
        "embedding.npy: repeated whole with every segment. Cut a curve with --curve embedding.npy=ROWS.",
    )


def test_row_and_sample_of_a_segment_belong_together(source: Path, tmp_path: Path) -> None:
    pack(source, tmp_path / "out", segment=0.4, curves={"f0.npy": 250})
    frames = 161_000
    for part in parts_of(packed(tmp_path / "out"), "a"):
        first_sample = round(float(read(part["wav"])[0][0, 0]) * frames)
        assert npy(part["f0.npy"])[0] * 64 == first_sample


def test_without_segments_every_field_stays_as_it_is(source: Path, tmp_path: Path) -> None:
    report = pack(source, tmp_path / "out")
    (example,) = packed(tmp_path / "out").values()
    fields = {suffix: content for suffix, content in example.items() if suffix != "wav"}
    paths = {"f0.npy", "loudness.npy", "embedding.npy", "cls", "json"}
    assert fields == {suffix: (source / f"a.{suffix}").read_bytes() for suffix in paths}
    assert report.notes == ()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.zeros(1500), "its f0.npy has 1,500 rows, where 2,516 are as long as the recording"),
        (np.zeros(()), "its f0.npy cannot be read (no array of numbers with a first axis)"),
        (np.array([{}] * 2516), "its f0.npy cannot be read (no array of numbers with a first axis)"),
        (b"\x93NUMPY\1\0\x46\0{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }", "cut off"),
        (b"not an array", "its f0.npy cannot be read"),
    ],
)
def test_a_curve_that_does_not_fit_its_recording_is_a_failure(
    source: Path, tmp_path: Path, content: Any, reason: str
) -> None:
    (source / "b.wav").write_bytes(wav(noise("s16", 100, 1), "s16", 1))
    if isinstance(content, bytes):
        (source / "a.f0.npy").write_bytes(content.ljust(80) + b"\n" + bytes(100))
    else:
        np.save(source / "a.f0.npy", content)
    report = pack(source, tmp_path / "out", segment=4, curves={"f0.npy": 250})
    assert [failure.path for failure in report.failures] == ["a.wav"]
    assert reason in report.failures[0].reason
    assert list(packed(tmp_path / "out")) == ["b-00000"]


def test_a_curve_may_be_some_rows_shorter_or_longer_than_its_recording(source: Path, tmp_path: Path) -> None:
    for rows, last in ((2516 - 12, 512), (2516 - 3, 513), (2516 + 3, 519), (2516 + 12, 519)):
        np.save(source / "a.f0.npy", np.arange(rows))
        report = pack(source, tmp_path / "out", segment=4, curves={"f0.npy": 250})
        assert report.failures == ()
        parts = [npy(part["f0.npy"]) for part in parts_of(packed(tmp_path / "out"), "a")]
        assert [len(part) for part in parts] == [1000, 1000, last]
        assert np.concatenate(parts).tolist() == np.minimum(np.arange(2000 + last), rows - 1).tolist()
    (source / "a.wav").write_bytes(encoded(tone(8.0), 16_000, "WAV"))
    np.save(source / "a.f0.npy", np.arange(2001))
    pack(source, tmp_path / "out", segment=4, curves={"f0.npy": 250})
    assert [len(npy(part["f0.npy"])) for part in parts_of(packed(tmp_path / "out"), "a")] == [1000, 1001]


@pytest.mark.parametrize("surplus", [-12, -5, 0, 5, 12])
@pytest.mark.parametrize("segment", [0.02, 0.4, 4, 10])
def test_a_curve_that_is_packed_can_be_read_from_every_segment(
    source: Path, tmp_path: Path, segment: float, surplus: int
) -> None:
    np.save(source / "a.f0.npy", np.arange(2516 + surplus))
    pack(source, tmp_path / "out", segment=segment, curves={"f0.npy": 250})

    def rows(place: Path) -> list[Any]:
        batches = AudioIterator(place, window=320, batch_size=1, curves={"f0.npy": 250})
        return [batch.fields["f0.npy"][0].tolist() for batch in batches]

    within, cut = np.array(rows(source)), np.array(rows(tmp_path / "out"))
    assert np.array_equal(cut[:503], within[:503]), "all but the window behind the end of the recording"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"segment": 0}, "segment is 0"),
        ({"segment": "4"}, "segment is '4'; it must be a number of seconds"),
        ({"sample_rate": 16_000.5}, "sample_rate is 16000.5; it must be a whole number"),
        ({"channels": "stereo"}, "channels is 'stereo'; it must be a whole number"),
        ({"channels": True}, "channels is True"),
        ({"segment": 1, "curves": ["f0.npy"]}, "it must give fields their rows per second"),
        ({"segment": 1, "curves": {"f0.npy": "fast"}}, "f0.npy='fast'; a rate is a number"),
        ({"segment": float("nan")}, "segment is nan"),
        ({"segment": float("inf")}, "segment is inf"),
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"channels": -1}, "channels is -1"),
        ({"codec": "mp3"}, "codec is 'mp3'"),
        ({"codec": "flac", "channels": 9}, "do not fit flac"),
        ({"codec": "flac", "sample_rate": 1_000_000}, "do not fit flac"),
        ({"curves": {"f0.npy": 250}}, "it needs segment"),
        ({"segment": 1, "curves": {"f0.npy": 0}}, "f0.npy=0"),
        ({"segment": 1, "curves": {"f0.txt": 250}}, "a curve is an npy field"),
        ({"segment": 0.333, "curves": {"f0.npy": 250}}, "83.25 rows of f0.npy"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        settings_for("audio", settings)  # type: ignore[arg-type]


def test_a_whole_number_may_be_written_as_a_float() -> None:
    assert AudioSettings(sample_rate=16_000.0, channels=np.int64(1)) == AudioSettings(
        sample_rate=16_000, channels=1
    )  # type: ignore[arg-type]
    assert type(AudioSettings(sample_rate=16_000.0).sample_rate) is int  # type: ignore[arg-type]


def test_segments_and_rates_that_leave_no_sample_are_failures(tmp_path: Path) -> None:
    source = tmp_path / "audio"
    source.mkdir()
    (source / "low.wav").write_bytes(wav(noise("s16", 50, 1), "s16", 1, rate=2))
    (source / "good.wav").write_bytes(wav(noise("s16", 16_000, 1), "s16", 1))
    report = pack(source, tmp_path / "out", segment=0.25)
    assert [tuple(failure) for failure in report.failures] == [
        ("low.wav", "a segment of 0.25 s is less than a sample at 2 Hz")
    ]
    report = pack(source, tmp_path / "out", sample_rate=16_000)
    assert [tuple(failure) for failure in report.failures] == [
        ("low.wav", "its sample rate of 2 Hz is too far from 16,000 Hz")
    ]
    (source / "short.wav").write_bytes(wav(noise("s16", 1, 1), "s16", 1))
    for settings in ({}, {"segment": 1}):
        report = pack(source, tmp_path / "out", sample_rate=250, **settings)
        assert tuple(report.failures[-1]) == ("short.wav", "too short for a sample at 250 Hz")


def prepared_peak(path: Path, settings: AudioSettings) -> tuple[int, int, int]:
    """Examples, frames and the most bytes held at once while a file is prepared."""
    examples = frames = 0
    tracemalloc.start()
    with SourceReader(path.parent, path.name, path.stat().st_size) as reader:
        for made in settings.prepare(reader, path.suffix[1:], {}):
            examples, frames = examples + 1, frames + made.record.frames
            for _ in made.media if not isinstance(made.media, bytes) else ():
                pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return examples, frames, peak


def sparse_wav(path: Path, seconds: int) -> Path:
    """Two channels of 16-bit silence at 44.1 kHz that take no room on the disk."""
    header = wav(b"", "s16", 2, 44_100)
    size = seconds * 44_100 * 4
    with open(path, "wb") as file:
        file.write(header[:-4] + size.to_bytes(4, "little"))
        file.truncate(len(header) + size)
    return path


def test_a_recording_of_two_hours_is_cut_or_kept_in_a_few_megabytes(tmp_path: Path) -> None:
    path = sparse_wav(tmp_path / "long.wav", 7200)
    assert path.stat().st_size > 1 << 30
    examples, frames, peak = prepared_peak(path, AudioSettings(segment=60))
    assert (examples, frames) == (120, 7200 * 44_100)
    assert peak < 40 << 20
    examples, frames, peak = prepared_peak(path, AudioSettings())
    assert (examples, frames) == (1, 7200 * 44_100)
    assert peak < 8 << 20


def test_resampling_a_long_recording_takes_the_memory_of_a_segment(tmp_path: Path) -> None:
    path = sparse_wav(tmp_path / "long.wav", 600)
    examples, frames, peak = prepared_peak(path, AudioSettings(segment=10, sample_rate=16_000, channels=1))
    assert (examples, frames) == (60, 600 * 16_000)
    assert peak < 64 << 20


def test_an_example_made_anew_is_refused_beyond_a_quarter_of_a_gibibyte(tmp_path: Path) -> None:
    source = tmp_path / "audio"
    source.mkdir()
    sparse_wav(source / "long.wav", 7200)
    (source / "short.wav").write_bytes(encoded(tone(0.1), 16_000, "WAV"))
    report = pack(source, tmp_path / "out", sample_rate=16_000)
    assert [failure.path for failure in report.failures] == ["long.wav"]
    assert "an example of 879 MiB" in report.failures[0].reason
    assert "cut it with --segment" in report.failures[0].reason
