"""Recordings of every format: how long they really are, and stretches of them whoever read them before."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from pipelines.decode.audio.compressed import CompressedStream
from pipelines.decode.audio.recording import probe_recording
from pipelines.decode.errors import UndecodableError

from .recordings import COMPRESSED, decoded, encoded, melody, reader

FRAMES = 80_000


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """One recording of 80,000 frames at 16 kHz in every format."""
    return {kind: encoded(melody(FRAMES, 2 if kind in ("flac", "mp3") else 1), kind) for kind in COMPRESSED}


def frames_of(content: bytes) -> int:
    return probe_recording(reader(content), len(content)).frames


def stream_of(content: bytes) -> CompressedStream:
    return CompressedStream(reader(content), len(content))


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_whole_file_of_any_format_has_the_frames_soundfile_decodes(kind: str, files: dict[str, bytes]) -> None:
    found = probe_recording(reader(files[kind]), len(files[kind]))
    assert found.frames == len(decoded(files[kind]))
    assert (found.sample_rate, found.channels) == (16_000, decoded(files[kind]).shape[1])
    assert not found.is_pcm


def test_a_wav_of_plain_pcm_is_known_by_its_header() -> None:
    content = encoded(melody(1234, 2), "s24")
    log: list[tuple[int, int]] = []
    found = probe_recording(reader(content, log), len(content))
    assert (found.frames, found.sample_rate, found.channels, found.is_pcm) == (1234, 16_000, 2, True)
    assert sum(length for _, length in log) <= 512


@pytest.mark.parametrize("share", [0.6, 0.9, 0.995])
@pytest.mark.parametrize("kind", COMPRESSED)
def test_of_a_file_that_is_cut_off_the_frames_that_can_be_decoded_count(
    kind: str, share: float, files: dict[str, bytes]
) -> None:
    cut = files[kind][: int(len(files[kind]) * share)]
    num = frames_of(cut)
    assert (share - 0.4) * FRAMES < num < FRAMES  # a page of ogg is about a second
    samples = stream_of(cut).read(0, num)
    assert len(samples) == num
    np.testing.assert_allclose(samples, decoded(files[kind])[:num], atol=1e-6)


@pytest.mark.parametrize("claim", [0, (1 << 36) - 1, FRAMES + 5])
def test_a_flac_that_lies_about_its_length_or_does_not_know_it_is_counted(
    claim: int, files: dict[str, bytes]
) -> None:
    lying = bytearray(files["flac"])
    lying[21] = lying[21] & 0xF0 | claim >> 32
    lying[22:26] = (claim & 0xFFFFFFFF).to_bytes(4, "big")
    assert frames_of(bytes(lying)) == FRAMES


@pytest.mark.parametrize("kind", ["vorbis", "opus"])
@pytest.mark.parametrize("factor", [1.02, 2, 1e9])
def test_an_ogg_whose_last_page_lies_is_counted(kind: str, factor: float, files: dict[str, bytes]) -> None:
    content = files[kind]
    last = content.rfind(b"OggS")
    page = bytearray(content[last:])
    (claimed,) = struct.unpack_from("<q", page, 6)
    struct.pack_into("<q", page, 6, int(claimed * factor))
    struct.pack_into("<I", page, 22, 0)
    struct.pack_into("<I", page, 22, ogg_checksum(bytes(page)))
    num = frames_of(content[:last] + bytes(page))
    assert FRAMES <= num < FRAMES + 3000  # of the last packet, which the claim would have cut


def ogg_checksum(page: bytes) -> int:
    """CRC-32 as Ogg has it: polynomial 0x04c11db7, not reflected, from 0."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value >> 31 else value << 1) & 0xFFFFFFFF
    return value


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_stretch_is_the_same_bits_whoever_read_before_it(kind: str, files: dict[str, bytes]) -> None:
    chance = np.random.default_rng(1)
    used, whole, end = stream_of(files[kind]), decoded(files[kind]), 0
    for _ in range(12):
        start = end if chance.random() < 0.5 else int(chance.integers(0, FRAMES - 9000))
        end = min(start + int(chance.integers(1, 9000)), FRAMES - 1)
        found = used.read(start, end)
        np.testing.assert_array_equal(found, stream_of(files[kind]).read(start, end))
        np.testing.assert_allclose(found, whole[start:end], atol=1e-6 if kind != "opus" else 5e-3)
        if kind not in ("mp3", "opus"):
            np.testing.assert_array_equal(found, whole[start:end])


def test_the_end_of_a_vorbis_is_found_where_a_plain_seek_misses_it() -> None:
    missed = 0
    for seed in range(3):
        content = encoded(melody(150_000 + 7777 * seed, seed=seed), "vorbis")
        whole = decoded(content)
        for start in range(len(whole) - 20_000, len(whole) - 300, 1501):
            np.testing.assert_array_equal(stream_of(content).read(start, start + 300), whole[start : start + 300])
            plain = soundfile.read(io.BytesIO(content), 300, start, dtype="float32", always_2d=True)[0]
            missed += not np.array_equal(plain, whole[start : start + 300])
    assert missed, "a plain seek is right, too: what avoids it is not needed any more"


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_window_late_in_a_long_mp3_is_sought_by_its_frames(rate: int) -> None:
    content = encoded(np.tile(melody(rate, rate=rate), (120, 1)), "mp3", rate=rate)
    log: list[tuple[int, int]] = []
    stream = CompressedStream(reader(content, log), len(content))
    stream.read(50 * rate, 51 * rate)
    log.clear()
    found = stream.read(100 * rate, 101 * rate)
    np.testing.assert_allclose(found, decoded(content)[100 * rate : 101 * rate], atol=1e-6)
    assert len(log) < 500, "a plain seek walks over the headers of thousands of frames"


def with_noise(content: bytes) -> bytes:
    return content[:3000] + bytes(700) + content[3000:]


def with_tags(content: bytes) -> bytes:
    return b"ID3\x04\0\0\0\0\x07\x68" + bytes(1000) + content + b"TAG" + bytes(125)


@pytest.mark.parametrize(
    "change", [with_noise, with_tags, lambda content: content[:-50], lambda content: content * 2]
)
def test_an_mp3_as_it_should_not_be_is_played_as_soundfile_plays_it(change: Callable[[bytes], bytes]) -> None:
    content = change(encoded(melody(150_000, rate=44_100), "mp3", rate=44_100))
    num, whole = frames_of(content), decoded(content)
    assert num == len(whole) > 100_000
    for start in range(0, num - 5000, 17_777):
        np.testing.assert_allclose(
            stream_of(content).read(start, start + 5000), whole[start : start + 5000], atol=1e-6
        )


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (44_100, 2), (16_000, 1), (24_000, 2)])
def test_an_mp3_without_lengths_is_played_to_its_end(rate: int, channels: int) -> None:
    loud, quiet = melody(2 * rate, channels, rate=rate), 1e-3 * melody(8 * rate, channels, rate=rate)
    file = io.BytesIO()
    settings = {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": 0.3}
    soundfile.write(file, np.concatenate([loud, quiet]), rate, **settings)
    content = file.getvalue()
    bare = content[content.index(content[:2], 4) :]  # without the info frame, and the gaps it tells of
    assert len(decoded(bare)) < 9 * rate, "soundfile guesses from the first frame, and stops too early"
    num, begin = frames_of(bare), decoded(bare)
    assert 0 <= num - len(decoded(content)) < 4 * 1152
    played = stream_of(bare).read(0, num)
    assert len(played) == num
    np.testing.assert_allclose(played[: len(begin)], begin, atol=1e-6)
    assert np.abs(played[-rate:]).max() > 1e-4, "the quiet part is not silence"
    for start in (1, 3 * rate, num - 5000):
        np.testing.assert_allclose(
            stream_of(bare).read(start, start + 4000), played[start : start + 4000], atol=1e-6
        )


def test_an_mp3_without_lengths_and_with_noise_in_it_is_played_as_soundfile_plays_it() -> None:
    file = io.BytesIO()
    settings = {"format": "MP3", "bitrate_mode": "CONSTANT", "compression_level": 0.5}
    soundfile.write(file, melody(200_000, rate=44_100), 44_100, **settings)
    whole_file = file.getvalue()
    content = with_noise(whole_file[whole_file.index(whole_file[:2], 4) :])
    assert b"Info" not in content[:400]
    num, whole = frames_of(content), decoded(content)
    assert num == len(whole) > 190_000
    np.testing.assert_allclose(stream_of(content).read(150_000, 160_000), whole[150_000:160_000], atol=1e-6)


@pytest.mark.parametrize("kind", ["flac", "vorbis", "ulaw"])
def test_listening_on_reads_each_byte_of_a_long_file_about_once(kind: str, files: dict[str, bytes]) -> None:
    log: list[tuple[int, int]] = []
    stream = CompressedStream(reader(files[kind], log), len(files[kind]))
    opened = sum(length for _, length in log)
    for start in range(0, FRAMES, 1000):
        assert len(stream.read(start, start + 1000)) == 1000
    assert sum(length for _, length in log) - opened < 1.2 * len(files[kind]) + 20_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"\xff\xd8\xff\xe0 a picture" * 50, "not a recording: it does not begin like one"),
        (b"fLaC" + bytes(300), ""),
        (encoded(melody(9000), "flac")[:86] + bytes(9000), ""),  # a sound header, and nothing behind it
        (b"RIFF" + struct.pack("<I", 4) + b"WAVE", ""),
    ],
)
def test_what_is_no_recording_is_refused_with_a_plain_reason(content: bytes, reason: str) -> None:
    with pytest.raises(UndecodableError) as error:
        probe_recording(reader(content), len(content))
    assert reason in str(error.value)
    assert str(error.value)
    assert "<" not in str(error.value)
    assert "0x" not in str(error.value)


def test_an_error_in_reading_comes_out_as_itself(files: dict[str, bytes]) -> None:
    broken = False

    def read(offset: int, length: int) -> bytes:
        if broken:
            raise ConnectionError("the line is dead")
        return files["flac"][offset : offset + length]

    stream = CompressedStream(read, len(files["flac"]))
    broken = True
    with pytest.raises(ConnectionError, match="the line is dead"):
        stream.read(FRAMES // 2, FRAMES // 2 + 100)


def test_without_soundfile_pcm_is_read_and_the_rest_explained() -> None:
    code = (
        "import sys, io, wave; sys.modules['soundfile'] = None\n"
        "from pipelines.decode.audio.recording import probe_recording\n"
        "file = io.BytesIO()\n"
        "with wave.open(file, 'wb') as out:\n"
        "    out.setnchannels(1); out.setsampwidth(2); out.setframerate(8000); out.writeframes(bytes(200))\n"
        "def probe(content): return probe_recording(lambda o, n: content[o:o + n], len(content))\n"
        "print(probe(file.getvalue()).frames)\n"
        "try:\n    probe(b'fLaC' + bytes(100))\n"
        "except ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[0] == "100"
    assert "pip install soundfile" in done.stdout


FLAC_HEADS = {
    "too small a largest block": b"\x10\0\x04\0",
    "too wide bounds": b"\0\x10\xff\xff",
    "true": b"\x10\0\x10\0",
}


@pytest.mark.parametrize("kind", [*FLAC_HEADS, "two joined"])
@pytest.mark.parametrize("counted", [False, True])
def test_where_a_flacs_seek_fails_or_misses_it_is_decoded_from_the_start(kind: str, counted: bool) -> None:
    samples = np.random.default_rng(0).integers(-20_000, 20_000, 30_000).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="FLAC")
    flac = file.getvalue()
    content = flac[:8] + FLAC_HEADS.get(kind, flac[8:12]) + flac[12:] + (flac if kind == "two joined" else b"")
    expected, _ = soundfile.read(io.BytesIO(content), dtype="float32")  # from its start to its end, without a seek
    assert np.array_equal(expected, samples / np.float32(32_768))
    for first in range(0, 30_000, 1000):
        stream = CompressedStream(lambda offset, length: content[offset : offset + length], len(content))
        if counted:
            assert stream.count() == 30_000
        for start in (first, (first + 17_000) % 30_000, (first + 5_000) % 30_000):
            assert np.array_equal(stream.read(start, start + 1000)[:, 0], expected[start : start + 1000])
        stream.close()
