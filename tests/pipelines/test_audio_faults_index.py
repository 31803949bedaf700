"""What an index says of a recording is compared with the header that is read anyway."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines import AudioIterator, ExampleError, FolderSource, make_shards, open_source
from pipelines.decode.audio.audio_decoder import AudioDecoder
from pipelines.decode.audio.recording_reader import RecordingReader
from pipelines.order.clip_arithmetic import ClipSpec
from pipelines.order.randomness import Place
from pipelines.sources.clips import Clip, ClipSource
from pipelines.storage.index import Record

from .recordings import encoded, melody, write_folder

RATE = 8000


def clip_with(folder: Path, kind: str, spec: ClipSpec, reader: RecordingReader, **damage: Any) -> Clip:
    """The first clip of a recording of 3,000 frames at 8 kHz in mono, its record changed."""
    suffix = {"s16": "wav", "vorbis": "ogg"}.get(kind, kind)
    write_folder(folder, {f"a.{suffix}": encoded(melody(3000, rate=RATE), kind, rate=RATE)})
    (clip,) = ClipSource(FolderSource(folder, modality="audio"), spec, reader).read([0])
    assert isinstance(clip, Clip)
    clip.record = clip.record._replace(**damage)
    return clip


@pytest.mark.parametrize("kind", ["s16", "flac", "vorbis", "mp3"])
@pytest.mark.parametrize("sample_rate", [None, 16_000, Fraction(8001)])
@pytest.mark.parametrize("channels", [1, None])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ({"rate_numerator": 16_000}, "16,000 Hz, its header 8,000"),
        ({"rate_numerator": -8000}, "-8,000 Hz, its header 8,000|too far"),
        ({"rate_denominator": 0}, "8,000/0 Hz, its header 8,000|no sample rate"),
        ({"rate_denominator": 2}, "8,000/2 Hz, its header 8,000"),
        ({"channels": 2}, "2 channels, its header 1"),
        ({"channels": -1}, "-1 channels"),
    ],
)
def test_a_record_that_contradicts_the_header_is_refused(
    kind: str, sample_rate: Any, channels: int | None, damage: dict[str, int], reason: str, tmp_path: Path
) -> None:
    spec, reader = ClipSpec(1000, 1000, sample_rate), RecordingReader()
    clip = clip_with(tmp_path, kind, spec, reader, **damage)
    decoder = AudioDecoder(reader, spec, channels=channels)
    out = np.empty((1, 1000), np.float32)
    with pytest.raises(ExampleError, match=reason):
        decoder.decode_into(clip, out, Place(0, 0, 0)) if channels else decoder.decode(clip, Place(0, 0, 0))


@pytest.mark.parametrize("frames", [2500, 2999, 3001, 7096, 1 << 40, 1 << 62, -1, -2, -(1 << 62)])
@pytest.mark.parametrize("sample_rate", [None, 16_000])
def test_frames_that_are_not_those_of_a_wav_are_refused(frames: int, sample_rate: Any, tmp_path: Path) -> None:
    spec, reader = ClipSpec(1000, 1000, sample_rate), RecordingReader()
    clip = clip_with(tmp_path, "s16", spec, reader, frames=frames)
    reason = f"says {frames:,} frames, its header 3,000" if frames > 0 else "has changed since"
    with pytest.raises(ExampleError, match=reason):
        AudioDecoder(reader, spec).decode_into(clip, np.empty((1, 1000), np.float32), Place(0, 0, 0))


def test_a_record_that_does_not_know_rate_or_channels_is_believed(tmp_path: Path) -> None:
    spec, reader = ClipSpec(1000, 1000), RecordingReader()
    clip = clip_with(tmp_path, "s16", spec, reader, rate_numerator=0, rate_denominator=0, channels=0)
    out, _ = AudioDecoder(reader, spec, channels=None).decode(clip, Place(0, 0, 0))
    assert out.shape == (1, 1000)
    twice = clip.record._replace(rate_numerator=2 * RATE, rate_denominator=2, channels=1)
    clip.record = twice
    again, _ = AudioDecoder(RecordingReader(), spec, channels=None).decode(clip, Place(0, 0, 0))
    np.testing.assert_array_equal(out, again)


@pytest.mark.parametrize("kind", ["s16", "flac"])
def test_channels_that_an_index_does_not_know_are_those_of_the_header(kind: str, tmp_path: Path) -> None:
    samples, suffix = melody(3000, 2, rate=RATE), {"s16": "wav"}.get(kind, kind)
    write_folder(tmp_path, {f"a.{suffix}": encoded(samples, kind, rate=RATE)})
    spec, reader = ClipSpec(1000, 1000), RecordingReader()
    (clip,) = ClipSource(FolderSource(tmp_path, modality="audio"), spec, reader).read([0])
    assert isinstance(clip, Clip)
    clip.record = clip.record._replace(channels=0)
    out, _ = AudioDecoder(reader, spec, channels=None).decode(clip, Place(0, 0, 0))
    np.testing.assert_allclose(out.T, samples[:1000], atol=2**-15)


@pytest.mark.parametrize("kind", ["s16", "flac"])
@pytest.mark.parametrize("change", ["rate", "channels"])
def test_a_recording_that_is_replaced_while_its_folder_is_open_is_named(
    kind: str, change: str, tmp_path: Path
) -> None:
    suffix = {"s16": "wav"}.get(kind, kind)
    for name in "ab":
        (tmp_path / f"{name}.{suffix}").write_bytes(encoded(melody(1000), kind, rate=RATE))
    spec, reader = ClipSpec(1000, 1000), RecordingReader()
    clips, decoder = ClipSource(FolderSource(tmp_path, modality="audio"), spec, reader), AudioDecoder(reader, spec)
    out = np.empty((1, 1000), np.float32)
    decoder.decode_into(clips.read([0])[0], out, Place(0, 0, 0))
    other = melody(1000, 2 if change == "channels" else 1)
    (tmp_path / f"b.{suffix}").write_bytes(encoded(other, kind, rate=RATE * 2 if change == "rate" else RATE))
    with pytest.raises(ExampleError, match=r"b\.\w+: example 'b@0' .*one is damaged, or the file was replaced"):
        decoder.decode_into(clips.read([1])[0], out, Place(0, 0, 0))


@pytest.mark.parametrize("frames", [2500, 1 << 50])
def test_every_clip_of_a_packed_wav_whose_index_lies_is_refused_and_the_others_play(
    frames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "source", {f"{i}.wav": encoded(melody(3000, seed=i), rate=RATE) for i in range(3)})
    make_shards(tmp_path / "source", tmp_path / "out", workers=0, shuffle=None)
    source = open_source(tmp_path / "out", modality="audio")
    records = np.array(source.records(0, RecordingReader()))
    records["frames"][1] = frames
    monkeypatch.setattr(source, "records", lambda shard, probe: records)
    spec, reader = ClipSpec(1000, 1000), RecordingReader()
    clips, decoder = ClipSource(source, spec, reader), AudioDecoder(reader, spec)
    out = np.empty((1, 1000), np.float32)
    assert len(clips) == 6 - -frames // 1000
    for index in (0, 1, 2, len(clips) - 1):
        decoder.decode_into(clips.read([index])[0], out, Place(0, 0, 0))
    for index in (3, 4, 5):
        with pytest.raises(ExampleError, match=f"says {frames:,} frames, its header 3,000"):
            decoder.decode_into(clips.read([index])[0], out, Place(0, 0, 0))


def test_a_curve_of_a_recording_whose_rate_is_unknown_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.f0.npy", np.zeros(38, np.float32))
    spec, reader = ClipSpec(1000, 1000), RecordingReader()
    clip = clip_with(tmp_path, "s16", spec, reader, rate_numerator=0, rate_denominator=0)
    decoder = AudioDecoder(reader, spec, curves={"f0.npy": 100})
    with pytest.raises(ExampleError, match="no sample rate, by which its curves are cut"):
        decoder.decode_into(clip, np.empty((1, 1000), np.float32), Place(0, 0, 0))


@pytest.mark.parametrize("numerator", [0, -1, 8000])
@pytest.mark.parametrize("denominator", [0, -1])
def test_a_rate_that_is_no_number_is_an_unknown_one(numerator: int, denominator: int) -> None:
    record = Record(frames=3000, rate_numerator=numerator, rate_denominator=denominator)
    assert record.rate is None
    spec = ClipSpec(1000, 1000, 16_000)
    assert spec.output_length(record) >= 0
    assert spec.key("a", 5, record).startswith("a@")


def test_a_clip_of_a_thousand_claimed_channels_is_refused_before_it_is_made(tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros((4, 1024), np.int16), 8000, format="WAV")
    (tmp_path / "a.wav").write_bytes(file.getvalue())
    with pytest.raises(ExampleError, match="1,024 channels make a clip of 4,294,967,296 bytes: choose some"):
        next(iter(AudioIterator(tmp_path, window=1 << 20, channels=None, batch_size=1)))
    batch = next(iter(AudioIterator(tmp_path, window=1 << 10, channels=None, batch_size=1)))
    assert batch.data[0].shape == (1024, 1024)
