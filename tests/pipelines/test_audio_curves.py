"""Curves beside a recording are cut to its clips, by an explicit rate."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipelines import AudioIterator, ExampleError
from pipelines.decode.audio.curves import curve_rows, cut_curve, tolerated_rows
from pipelines.decode.errors import UndecodableError
from pipelines.sources.located import READ_CLOCK, Member

from .recordings import encoded, melody, reader, write_folder, write_tar


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def part_of(content: bytes, log: list[tuple[int, int]] | None = None) -> Member:
    return Member(reader(content, log), len(content))


def recording(frames: int = 32_000, *, rate: int = 16_000, curve_rate: int = 250) -> dict[str, bytes]:
    """A recording whose curve f0.npy holds the time of each row in seconds, and whose loudness.npy two columns."""
    rows = np.arange(frames * curve_rate // rate)
    return {
        "a.f0.npy": npy((rows / curve_rate).astype(np.float32)),
        "a.json": b'{"instrument": "flute"}',
        "a.loudness.npy": npy(np.stack([rows, -rows], axis=1)),
        "a.wav": encoded(melody(frames, rate=rate), rate=rate),
    }


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_curves_are_cut_to_the_clip_and_other_fields_are_whole(kind: str, tmp_path: Path) -> None:
    files = recording()
    source = write_folder(tmp_path / "a", files) if kind == "folder" else write_tar(tmp_path / "a.tar", files)
    audio = AudioIterator(
        source, window=4096, hop=1000, batch_size=40, fields="json", curves={"f0.npy": 250, "loudness.npy": 250}
    )
    batch = next(iter(audio))
    assert batch.fields["json"] == [{"instrument": "flute"}] * len(batch)
    f0, loudness = batch.fields["f0.npy"], batch.fields["loudness.npy"]
    assert f0.shape == (len(batch), 64)
    assert loudness.shape == (len(batch), 64, 2)
    for slot, key in enumerate(batch.keys):
        seconds = int(key.split("@")[1]) / 16_000
        whole = int(np.sum(f0[slot] < 2 - 1 / 250 - 1e-6))  # behind the end the last row is repeated
        np.testing.assert_allclose(f0[slot, :whole], seconds + np.arange(whole) / 250, atol=0.5 / 250 + 1e-5)
        assert (f0[slot, whole:] == np.float32(1.996)).all()
        np.testing.assert_array_equal(loudness[slot, :, 0], -loudness[slot, :, 1])


def test_a_curve_follows_a_random_offset_and_another_sample_rate(tmp_path: Path) -> None:
    write_folder(tmp_path, recording(44_100 * 2, rate=44_100))
    audio = AudioIterator(
        tmp_path, window=3200, sample_rate=16_000, random_offset=True, batch_size=4, curves={"f0.npy": 250}
    )
    starts = set()
    for batch in audio:
        assert batch.fields["f0.npy"].shape == (len(batch), 50)
        for key, curve in zip(batch.keys, batch.fields["f0.npy"], strict=True):
            start = int(key.split("@")[1])
            starts.add(start % 8820)
            assert abs(curve[0] - start / 44_100) <= 0.5 / 250 + 1e-4
    assert len(starts) > 3


def test_curves_of_recordings_of_different_rates_have_the_rows_of_their_own_time(tmp_path: Path) -> None:
    files = recording()
    other = {f"b{name[1:]}": content for name, content in recording(16_000, rate=8000).items()}
    write_folder(tmp_path, {**files, **other})
    audio = AudioIterator(tmp_path, window=8000, batch_size=1, curves={"f0.npy": 250})
    assert {(batch.keys[0][0], batch.fields["f0.npy"].shape) for batch in audio} == {
        ("a", (1, 125)),
        ("b", (1, 250)),
    }


def test_a_recording_without_the_curve_has_none(tmp_path: Path) -> None:
    write_folder(tmp_path, {**recording(), "b.wav": encoded(melody(16_000))})
    batch = next(iter(AudioIterator(tmp_path, window=16_000, batch_size=3, curves={"f0.npy": 250})))
    assert [value is None for value in batch.fields["f0.npy"]] == [False, False, True]


@pytest.mark.parametrize(
    ("rate", "content", "reason"),
    [
        (100, None, "it has 500 rows, where 200 are as long as the recording"),
        (250, b"no array at all", "it is not an npy array"),
        (250, npy(np.zeros((500, 2), order="F")), "row after row"),
        (250, npy(np.float32(3)), "row after row"),
        (250, npy(np.zeros(500))[:-100], "it ends 100 bytes early"),
        (250, npy(np.zeros((500, 0))), "it has 500 rows"),
    ],
)
def test_a_curve_that_does_not_fit_is_refused_by_name(
    rate: float, content: bytes | None, reason: str, tmp_path: Path
) -> None:
    files = recording()
    write_folder(tmp_path, {**files, "a.f0.npy": content or files["a.f0.npy"]})
    audio = AudioIterator(tmp_path, window=16_000, batch_size=2, curves={"f0.npy": rate})
    with pytest.raises(ExampleError, match=r"curve 'f0\.npy' does not fit") as error:
        list(audio)
    assert reason in str(error.value)


def test_a_rate_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, recording())
    with pytest.raises(ValueError, match=r"curves\['f0\.npy'\] is -250"):
        AudioIterator(tmp_path, curves={"f0.npy": -250})


def test_a_wrong_rate_shows_in_the_number_of_rows() -> None:
    assert [tolerated_rows(Fraction(rows)) for rows in (0, 500, 2000, 30_000)] == [4, 4, 10, 16]
    content = npy(np.arange(120 * 250))
    for rate in (240, 249, 251, 260):
        with pytest.raises(UndecodableError, match="30,000 rows"):
            cut_curve(part_of(content), range(10), whole=Fraction(120 * rate))
    for whole in (29_984, 30_016):
        assert len(cut_curve(part_of(content), range(10), whole=Fraction(whole))) == 10


def test_the_rows_of_neighbouring_clips_join_when_they_can() -> None:
    rates = {"curve_rate": Fraction(250), "sample_rate": Fraction(16_000)}
    rows = [curve_rows(start, 6400, **rates) for start in range(0, 64_000, 6400)]
    assert [row for span in rows for row in span] == list(range(1000))
    assert len(curve_rows(0, 10, **rates)) == 1, "never none"


def test_only_the_rows_of_a_clip_are_read() -> None:
    content = npy(np.arange(2_000_000, dtype=np.int32))
    log: list[tuple[int, int]] = []
    READ_CLOCK.take()
    found = cut_curve(part_of(content, log), range(1_000_000, 1_000_500), whole=Fraction(2_000_000))
    np.testing.assert_array_equal(found, np.arange(1_000_000, 1_000_500))
    assert READ_CLOCK.take()[1] == sum(length for _, length in log) < 15_000


@pytest.mark.parametrize("descr", ["'|O'", "'<f4', 'x': 1", "__import__('os').getcwd()"])
def test_a_header_that_wants_more_than_numbers_is_refused(descr: str) -> None:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (500,), }}".ljust(117) + "\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(4000)
    with pytest.raises(UndecodableError):
        cut_curve(part_of(content), range(10), whole=Fraction(500))
