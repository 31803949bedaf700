"""Recordings that lie about their length or are damaged: reasons in plain words, and playing and packing agree."""

from __future__ import annotations

import io
import resource
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pipelines import AudioIterator, make_shards
from pipelines.decode.audio import reasons
from pipelines.decode.audio.compressed import CompressedStream
from pipelines.decode.audio.recording import probe_recording
from pipelines.decode.errors import UndecodableError
from pipelines.errors import PipelineError

from .recordings import encoded, melody, reader

NONSENSE = ("internal", "system error", "unspecified", "pipe", "psf", "pointer", "unknown error", "write", "malloc")
FRAMES = 50_000


def flac_that_claims(frames: int, samples: np.ndarray) -> bytes:
    content = bytearray(encoded(samples, "flac"))
    content[21] = content[21] & 0xF0 | frames >> 32
    content[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(content)


def num_played(folder: Path) -> int:
    batches = AudioIterator(folder, window=1000, batch_size=16)
    return sum(16_000 if b.lengths is None and len(b) == 16 else _length(b) for b in batches)


def _length(batch: object) -> int:
    lengths = batch.lengths  # type: ignore[attr-defined]
    return 1000 * len(batch) if lengths is None else int(lengths.sum())  # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{}, {"decode": True}, {"codec": "wav"}, {"codec": "flac", "segment": 0.7}])
def test_a_flac_that_was_streamed_without_a_length_is_played_and_packed(settings: dict, tmp_path: Path) -> None:
    samples = melody(FRAMES, 2)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a.flac").write_bytes(flac_that_claims(0, samples))
    report = make_shards(tmp_path / "source", tmp_path / "out", workers=0, **settings)
    assert report.failures == ()
    assert num_played(tmp_path / "source") == num_played(tmp_path / "out") == FRAMES
    whole = next(iter(AudioIterator(tmp_path / "source", window=FRAMES, channels=2, batch_size=1))).data[0]
    np.testing.assert_allclose(whole.T, samples, atol=2**-15)


@pytest.mark.parametrize(
    ("claim", "truth"),
    [(1, 1), (20_000, 20_000), (FRAMES - 1, FRAMES - 1), (FRAMES + 1, FRAMES), (1 << 35, FRAMES)],
)
def test_a_flac_that_claims_another_length_is_the_same_played_and_packed(
    claim: int, truth: int, tmp_path: Path
) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source/a.flac").write_bytes(flac_that_claims(claim, melody(FRAMES)))
    make_shards(tmp_path / "source", tmp_path / "out", workers=0)
    assert num_played(tmp_path / "source") == num_played(tmp_path / "out") == truth
    if claim > truth:
        with pytest.raises(PipelineError, match=f"damaged: {truth:,} of {claim:,} frames can be decoded"):
            make_shards(tmp_path / "source", tmp_path / "whole", workers=0, decode=True)


def test_no_reason_of_libsndfile_that_means_nothing_to_a_user_comes_through() -> None:
    snd, ffi = soundfile._snd, soundfile._ffi
    known = set()
    for code in range(1, 184):
        error = soundfile.LibsndfileError(code)
        reason = reasons.reason_of(error)
        assert reason
        assert reason == reason.strip(". ")
        assert not reason.startswith(("E", "Error", "error"))
        assert not any(word in reason.lower() for word in NONSENSE), (code, reason)
        if reason.startswith("damaged: "):
            assert reason[9:14] in ffi.string(snd.sf_error_number(code)).decode()
            known.add(code)
    assert len(known) > 80
    assert reasons.reason_of(soundfile.LibsndfileError(71)) == "damaged: WAV file: No 'data' chunk marker"
    assert reasons.reason_of(RuntimeError("whatever")) == "damaged"


def seeds() -> dict[str, bytes]:
    """A small file of every format libsndfile writes and this library plays."""
    made = {}
    for kind in ("s16", "flac", "vorbis", "opus", "mp3", "aiff", "ulaw"):
        made[kind] = encoded(melody(5000), kind)
    for name in ("AU", "CAF", "W64", "NIST"):
        file = io.BytesIO()
        soundfile.write(file, melody(3000), 16_000, format=name, subtype="PCM_16")
        made[name] = file.getvalue()
    return made


def damaged(content: bytes, chance: np.random.Generator) -> bytes:
    """Bytes flipped in the head or anywhere, numbers that lie, cut off, or joined with itself."""
    found, way = bytearray(content), int(chance.integers(5))
    for _ in range(int(chance.integers(1, 6))):
        place = int(chance.integers(min(len(found), 100 if way else len(found))))
        if way == 2:
            lie = int(chance.choice(np.array([0, 1, 1025, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])))
            found[place : place + 4] = lie.to_bytes(4, "little" if chance.random() < 0.5 else "big")
        else:
            found[place] = int(chance.integers(256))
    if way == 3:
        del found[int(chance.integers(len(found))) :]
    if way == 4:
        cut = int(chance.integers(len(found)))
        found = found[:cut] + found[int(chance.integers(len(found))) :]
    return bytes(found)


def outcome(content: bytes) -> str:
    """Look at bytes in every way; the reason where that is refused."""
    try:
        probe_recording(reader(content), len(content))
        stream = CompressedStream(reader(content), len(content))
        num = stream.count()
        for start in (0, num // 2, max(0, num - 9)):
            assert len(stream.read(start, start + 700)) <= 700
    except UndecodableError as error:
        return str(error)
    assert 0 <= num < 1 << 33
    return ""


@pytest.mark.parametrize("kind", seeds())
def test_whatever_bytes_come_in_only_own_errors_come_out(kind: str) -> None:
    content, chance = seeds()[kind], np.random.default_rng(len(kind))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(25):
        began = time.monotonic()
        reason = outcome(damaged(content, chance))
        assert not any(word in reason.lower() for word in NONSENSE), reason
        assert time.monotonic() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 500 << 10


def test_a_stretch_far_behind_the_end_of_a_small_file_takes_no_memory() -> None:
    content = encoded(melody(300), "flac")
    stream = CompressedStream(reader(content), len(content))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(stream.read(100, 1 << 40)) == 200
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 100 << 10


def streamed_silence(num_blocks: int, channels: int) -> bytes:
    """A flac of unknown length, of blocks of 65,535 zeros: the most frames that bytes can hold. By RFC 9639."""
    bits = (44_100 << 44 | channels - 1 << 41 | 15 << 36).to_bytes(8, "big")
    blocks = [b"fLaC\x80\0\0\x22\xff\xff\xff\xff" + bytes(6) + bits + bytes(16)]
    for number in range(num_blocks):
        head = b"\xff\xf8\x70" + bytes([channels - 1 << 4 | 8]) + chr(number).encode() + b"\xff\xfe"
        block = head + bytes([checksum(head, 8, 0x07)]) + b"\0\0\0" * channels
        blocks.append(block + checksum(block, 16, 0x8005).to_bytes(2, "big"))
    return b"".join(blocks)


def checksum(content: bytes, bits: int, polynomial: int) -> int:
    value = 0
    for byte in content:
        value ^= byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value >> bits - 1 else 0)) & (1 << bits) - 1
    return value


@pytest.mark.parametrize("channels", [1, 8])
def test_a_few_bytes_of_silence_are_counted_in_little_time_and_memory(channels: int) -> None:
    content, began = streamed_silence(40, channels), time.monotonic()
    assert len(content) < 1500
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = probe_recording(reader(content), len(content))
    assert (found.frames, found.channels) == (40 * 65_535, channels)
    assert time.monotonic() - began < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most < 100 << 10
