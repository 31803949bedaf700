"""Where the samples of a wav lie: against soundfile, for every encoding, and for headers that lie."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from pipelines.decode.audio.wav import WavHeader, pcm_to_float, read_wav_header

from .recordings import SUBTYPES, chunk, decoded, encoded, melody, pcm_format, reader, riff

FOUR = np.array([0, 1, -32768, 32767], "<i2").tobytes()
KSDATAFORMAT = bytes.fromhex("000000001000800000aa00389b71")


def header_of(content: bytes) -> WavHeader | None:
    return read_wav_header(reader(content), len(content))


def samples_of(content: bytes) -> np.ndarray:
    header = header_of(content)
    assert header is not None
    stop = header.data_offset + header.frames * header.frame_bytes
    return pcm_to_float(content[header.data_offset : stop], header)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("encoding", SUBTYPES)
def test_every_encoding_is_scaled_exactly_as_soundfile_scales_it(encoding: str, channels: int) -> None:
    samples = np.concatenate([melody(999, channels), np.full((1, channels), -1), np.full((1, channels), 0.99999)])
    content = encoded(samples.astype(np.float32), encoding, rate=44_100)
    header = header_of(content)
    assert header is not None
    assert (header.encoding, header.channels, header.sample_rate, header.frames) == (
        encoding,
        channels,
        44_100,
        1001,
    )
    found, expected = samples_of(content), decoded(content)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


def test_integers_come_out_from_minus_one_to_just_below_one() -> None:
    content = riff(chunk(b"fmt ", pcm_format()), chunk(b"data", FOUR))
    np.testing.assert_array_equal(samples_of(content)[:, 0], [0, 2**-15, -1, 1 - 2**-15])


def test_floats_beyond_one_are_taken_as_they_are() -> None:
    loud = np.array([0.5, -7.25, 1e9], "<f4").tobytes()
    content = riff(chunk(b"fmt ", pcm_format(bits=32, tag=3)), chunk(b"data", loud))
    np.testing.assert_array_equal(samples_of(content)[:, 0], [0.5, -7.25, np.float32(1e9)])


def test_chunks_of_odd_length_before_and_after_the_data_are_stepped_over() -> None:
    content = riff(
        chunk(b"JUNK", b"odd"), chunk(b"fmt ", pcm_format()), chunk(b"LIST", b"x" * 4099), chunk(b"data", FOUR),
        chunk(b"id3 ", b"after"),
    )  # fmt: skip
    header = header_of(content)
    assert header is not None
    assert header.frames == 4
    np.testing.assert_array_equal(samples_of(content), decoded(content))


def test_a_format_that_stands_behind_the_data_is_found() -> None:
    content = riff(chunk(b"data", FOUR), chunk(b"fmt ", pcm_format()))
    np.testing.assert_array_equal(samples_of(content)[:, 0], [0, 2**-15, -1, 1 - 2**-15])


@pytest.mark.parametrize(("tag", "bits", "encoding"), [(1, 16, "s16"), (1, 24, "s24"), (3, 32, "f32")])
def test_an_extensible_format_is_that_of_its_guid(tag: int, bits: int, encoding: str) -> None:
    plain = pcm_format(2, bits, tag=0xFFFE)
    extended = plain + struct.pack("<HHI", 22, bits, 3) + struct.pack("<H", tag) + KSDATAFORMAT
    raw = bytes(range(2 * bits // 8)) * 3
    content = riff(chunk(b"fmt ", extended), chunk(b"data", raw))
    header = header_of(content)
    assert header is not None
    assert (header.encoding, header.frames) == (encoding, 3)
    np.testing.assert_array_equal(samples_of(content), decoded(content))
    other = riff(chunk(b"fmt ", extended[:-1] + b"\x72"), chunk(b"data", raw))
    assert header_of(other) is None


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
def test_the_64_bit_sizes_of_rf64_and_bw64_count(magic: bytes) -> None:
    sizes = struct.pack("<QQQI", 100, len(FOUR), 4, 0)
    data = chunk(b"data", FOUR + b"trailing", size=0xFFFFFFFF)
    content = riff(chunk(b"ds64", sizes), chunk(b"fmt ", pcm_format()), data, magic=magic, size=0xFFFFFFFF)
    header = header_of(content)
    assert header is not None
    assert header.frames == 4


@pytest.mark.parametrize("claimed", [0xFFFFFFFF, 0])
def test_a_wav_that_was_streamed_goes_to_the_end_of_the_file(claimed: int) -> None:
    parts = chunk(b"fmt ", pcm_format()), chunk(b"data", FOUR * 50, size=claimed)
    header = header_of(riff(*parts, size=claimed))
    assert header is not None
    assert header.frames == 200


def test_an_empty_wav_that_was_closed_is_empty() -> None:
    content = riff(chunk(b"fmt ", pcm_format()), chunk(b"data", b""), chunk(b"LIST", b"only words here"))
    header = header_of(content)
    assert header is not None
    assert header.frames == 0


@pytest.mark.parametrize("lost", [1, 2, 3, 100, 399])
def test_only_frames_whose_bytes_are_there_count(lost: int) -> None:
    content = riff(chunk(b"fmt ", pcm_format()), chunk(b"data", FOUR * 50))[:-lost]
    header = header_of(content)
    assert header is not None
    assert header.frames == (400 - lost) // 2


def test_a_header_that_claims_four_gigabytes_reads_and_allocates_next_to_nothing() -> None:
    content = riff(chunk(b"fmt ", pcm_format()), chunk(b"data", FOUR, size=0xFFFFFFF0), size=0xFFFFFFF8)
    log: list[tuple[int, int]] = []
    header = read_wav_header(reader(content, log), len(content))
    assert header is not None
    assert header.frames == 4
    assert sum(length for _, length in log) < 1000


def test_of_a_long_file_only_its_beginning_is_read() -> None:
    content = encoded(melody(100_000))
    log: list[tuple[int, int]] = []
    assert read_wav_header(reader(content, log), len(content)) is not None
    assert len(log) == 1
    assert log[0] == (0, 512)


def test_endless_chunks_come_to_an_end() -> None:
    content = riff(*[chunk(b"JUNK", b"")] * 50_000, chunk(b"fmt ", pcm_format()), chunk(b"data", FOUR))
    log: list[tuple[int, int]] = []
    assert read_wav_header(reader(content, log), len(content)) is None
    assert len(log) < 2000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF",
        b"fLaC" + bytes(100),
        riff(),
        riff(chunk(b"fmt ", pcm_format())),
        riff(chunk(b"fmt ", pcm_format()[:12]), chunk(b"data", FOUR)),
        riff(chunk(b"fmt ", pcm_format(tag=7, bits=8)), chunk(b"data", FOUR)),  # µ-law
        riff(chunk(b"fmt ", pcm_format(bits=12)), chunk(b"data", FOUR)),
        riff(chunk(b"fmt ", pcm_format(channels=0)), chunk(b"data", FOUR)),
        riff(chunk(b"fmt ", pcm_format(rate=0)), chunk(b"data", FOUR)),
        riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 2, 8000, 32000, 3, 16)), chunk(b"data", FOUR)),  # odd frames
        b"RIFX" + riff(chunk(b"fmt ", pcm_format()), chunk(b"data", FOUR))[4:],  # big-endian
    ],
)
def test_what_is_not_plain_pcm_is_left_to_others(content: bytes) -> None:
    assert header_of(content) is None


def test_every_wav_of_the_shared_data_is_read_as_soundfile_reads_it(shared_data: Path) -> None:
    paths = sorted((shared_data / "audio").rglob("*.wav"))
    assert len(paths) > 150
    for path in paths:
        content = path.read_bytes()
        np.testing.assert_array_equal(samples_of(content), decoded(content), err_msg=path.name)
