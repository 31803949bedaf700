"""mp3s that do not begin with a frame: played and packed as soundfile plays them by their path."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from pipelines import AudioIterator, ExampleError, SourceError, make_shards
from pipelines.decode.audio.compressed import CompressedStream
from pipelines.decode.audio.mp3 import first_frame, frame_bytes
from pipelines.decode.audio.recording import probe_recording
from pipelines.decode.errors import UndecodableError
from pipelines.storage.media_types import sniff_file

from .recordings import melody, reader


def id3(length: int) -> bytes:
    size = bytes(length >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + b"TIT2" + bytes(length - 4)


def noise(length: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(length)


def mp3(rate: int, channels: int, *, seconds: float = 3, level: float = 0.4) -> bytes:
    file = io.BytesIO()
    samples = melody(int(rate * seconds), channels, rate=rate)
    soundfile.write(file, samples, rate, format="MP3", bitrate_mode="VARIABLE", compression_level=level)
    return file.getvalue()


JUNK = {
    "a byte": b"\0",
    "zeros": bytes(1000),
    "noise": noise(60_000),
    "sync words": b"\xff\xfb\x90\x64" * 50 + b"\xff" * 99,
    "a tag and zeros": id3(40) + bytes(500),
    "tags with zeros between": id3(40) + bytes(100) + id3(60),
    "tags and noise": id3(200_000) + id3(40) + noise(300),
}


def by_path(folder: Path, content: bytes) -> NDArray[np.float32]:
    """What soundfile plays of a file of this name."""
    (folder / "a.mp3").write_bytes(content)
    samples: NDArray[np.float32] = soundfile.read(folder / "a.mp3", dtype="float32", always_2d=True)[0]
    return samples


def played(content: bytes, start: int, stop: int) -> NDArray[np.float32]:
    return CompressedStream(reader(content), len(content)).read(start, stop)


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2)])
def test_an_mp3_behind_other_bytes_is_what_soundfile_plays_by_its_name(
    junk: str, rate: int, channels: int, tmp_path: Path
) -> None:
    content = JUNK[junk] + mp3(rate, channels)
    expected = by_path(tmp_path, content)
    assert len(expected) == 3 * rate
    assert probe_recording(reader(content), len(content)).frames == 3 * rate
    np.testing.assert_allclose(played(content, 0, 3 * rate), expected, atol=2e-7)
    for start in range(5, 3 * rate - 4000, 7919):
        window = played(content, start, start + 2000)
        np.testing.assert_allclose(window, expected[start : start + 2000], atol=2e-7)
        if rate == 44_100:
            np.testing.assert_array_equal(window, expected[start : start + 2000])


@pytest.mark.parametrize("cut", [50, 777, 1234, 5000])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2)])
@pytest.mark.parametrize("tail", [b"", b"TAG" + bytes(125)])
def test_an_mp3_cut_out_of_a_stream_ends_where_soundfile_guesses(
    cut: int, rate: int, channels: int, tail: bytes, tmp_path: Path
) -> None:
    content = mp3(rate, channels)[cut:] + tail
    expected = by_path(tmp_path, content)
    num = probe_recording(reader(content), len(content)).frames
    assert num == len(expected) > rate // 4
    np.testing.assert_allclose(played(content, 0, num), expected, atol=2e-7)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16_000, 1), (44_100, 2), (48_000, 1)])
def test_a_first_frame_that_refers_to_what_was_cut_off_is_no_bang(rate: int, channels: int, tmp_path: Path) -> None:
    content = mp3(rate, channels)
    loudest = np.abs(by_path(tmp_path, content)).max()
    place = 0
    for _ in range(12):
        place += frame_bytes(content[place:])
        begin = by_path(tmp_path, content[place:])[: rate // 4]
        found = played(content[place:], 0, len(begin))
        np.testing.assert_allclose(found, begin, atol=2e-7)
        assert np.abs(found).max() < 1.1 * loudest


@pytest.mark.parametrize("junk", JUNK)
def test_a_folder_and_packing_take_an_mp3_behind_other_bytes(junk: str, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a.mp3").write_bytes(JUNK[junk] + mp3(16_000, 1))
    assert sniff_file(tmp_path / "source/a.mp3") == "audio"
    report = make_shards(tmp_path / "source", tmp_path / "out", workers=0)
    assert (report.examples, report.failures) == (1, ())
    folder, shards = (
        next(iter(AudioIterator(tmp_path / name, window=48_000, batch_size=1))) for name in ("source", "out")
    )
    np.testing.assert_array_equal(folder.data, shards.data)
    assert folder.lengths is None


def test_other_bytes_are_searched_only_in_what_is_named_like_a_recording(tmp_path: Path) -> None:
    for name, modality in (("a.mp3", "audio"), ("a.wav", "audio"), ("a.bin", None), ("a.jpg", None)):
        (tmp_path / name).write_bytes(bytes(100) + mp3(16_000, 1))
        assert sniff_file(tmp_path / name) == modality


@pytest.mark.parametrize("seed", range(4))
def test_noise_and_lone_frames_are_no_mp3(seed: int, tmp_path: Path) -> None:
    lone = b"\1" + noise(500, seed) + mp3(44_100, 1)[:900] + noise(70_000, seed + 9)
    words = np.random.default_rng(seed).choice([255, 251, 144, 100, 0], 60_000).astype(np.uint8).tobytes()
    for content in (b"\1" + noise(90_000, seed), lone, b"\1" + words, b"\1" + b"\xff\xfb\x90\x64" * 16_000):
        assert first_frame(reader(content), len(content)) is None
        with pytest.raises(UndecodableError, match=r"^not a recording: it does not begin like one$"):
            probe_recording(reader(content), len(content))
    (tmp_path / "a.mp3").write_bytes(b"\1" + noise(90_000, seed))
    assert sniff_file(tmp_path / "a.mp3") is None
    with pytest.raises(ExampleError, match="not a recording: it does not begin like one"):
        next(iter(AudioIterator(tmp_path)))
    with pytest.raises(SourceError, match="does not begin like one"):
        make_shards(tmp_path, tmp_path / "out", workers=0)


def test_the_search_reads_no_more_than_mpg123_passes_over() -> None:
    log: list[tuple[int, int]] = []
    content = bytes(70_000) + mp3(16_000, 1)
    assert first_frame(reader(content, log), len(content)) is None
    assert sum(length for _, length in log) < 80_000
    assert first_frame(reader(content[5000:]), len(content) - 5000) == 65_000


def info_frames() -> dict[str, bytes]:
    """mp3s whose info frame is cut off, hides another, claims a size at its very end, or is not silent."""
    content = mp3(16_000, 1)
    frame, place = (
        frame_bytes(content),
        content.index(b"Info") if b"Info" in content[:100] else content.index(b"Xing"),
    )
    hidden = content[: frame - 6] + b"Info\0\0" + content[frame:]
    short = b"\xff\xf3\x14\xc4" + bytes(9) + b"Info\0\0\0\0" + bytes(60)
    loud = content[:7] + b"\1" + content[8:]
    return {
        "ends in the tag": content[: place + 6],
        "ends behind the tag": content[: place + 9],
        "hides another": hidden,
        "is short": short[:24] + content[frame:],
        "is not silent": loud,
    }


@pytest.mark.parametrize("kind", info_frames())
def test_an_info_frame_that_is_none_makes_no_foreign_error(kind: str, tmp_path: Path) -> None:
    content = info_frames()[kind]
    try:
        num = probe_recording(reader(content), len(content)).frames
    except UndecodableError:
        return
    whole = played(content, 0, num)
    assert len(whole) == num
    for start in range(0, num - 2000, 9001):
        np.testing.assert_allclose(played(content, start, start + 1500), whole[start : start + 1500], atol=2e-7)


def test_frames_that_hold_nothing_are_refused_before_they_are_tried(tmp_path: Path) -> None:
    for content in (b"\xff\xfb\x00\x00" * 100_000, b"ID3\x03\0\0\0\0\0\0" + b"\xff\xfb\x00\x00" * 1000):
        with pytest.raises(UndecodableError, match=r"^damaged: its frames hold nothing$"):
            CompressedStream(reader(content), len(content))
