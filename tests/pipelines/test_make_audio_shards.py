"""Recordings from folder to finished shards: every byte, every sample, every fact, read back by others."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from pipelines import AudioIterator
from pipelines.samples.sounds import make_sample_sounds
from pipelines.sharding import make_shards
from pipelines.storage.index import load_index
from pipelines.storage.manifest import Manifest

from .conftest import Pack
from .wav_files import ENCODINGS, Forms, encoded, members, noise, packed, parts_of, read, tone, wav


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "audio"
    folder.mkdir(parents=True)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def fill(folder: Path) -> dict[str, bytes]:
    """A recording of each format and depth; name → file."""
    files = {}
    for (encoding, channels), form in zip(
        itertools.product(ENCODINGS, (1, 2)), itertools.cycle(Forms), strict=False
    ):
        raw = noise(encoding, 1500 + channels, channels)
        files[f"{encoding}_{channels}.wav"] = wav(raw, encoding, channels, 16_000, form)
    for kind, subtype in (("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("MP3", None)):
        name = f"{subtype or 'layer3'}.{kind.lower()}"
        files[name] = encoded(tone(0.5, 44_100, 2), 44_100, kind, subtype)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return files


def test_every_file_comes_back_byte_for_byte_with_its_facts_in_the_index(
    source: Path, tmp_path: Path, pack: Pack
) -> None:
    files = fill(source)
    (source / "s16_1.json").write_text('{"speaker": 3}')
    report, out = pack(), tmp_path / "out"
    assert (report.examples, report.failures, report.skipped) == (len(files), (), 0)
    found = packed(out)
    for name, content in files.items():
        key, suffix = name.split(".")
        assert found[key][suffix] == content, name
    assert found["s16_1"]["json"] == b'{"speaker": 3}'
    manifest = Manifest.load(out)
    assert (manifest.modality, manifest.shards.name) == ("audio", ["audio-000000.tar"])
    keys = [json.loads(line)[0] for line in (out / "manifest.names.jsonl").read_text().splitlines()]
    tar = (out / "audio-000000.tar").read_bytes()
    for key, row in zip(keys, load_index(out / "audio-000000.tar.index.npy"), strict=True):
        media = tar[row["data_offset"] : row["data_offset"] + row["data_length"]]
        samples, rate = read(media)
        facts = (row["frames"], row["channels"], row["rate_numerator"], row["rate_denominator"], row["width"])
        assert facts == (*samples.shape, rate, 1, 0), key


def test_formats_are_told_by_content(source: Path, tmp_path: Path, pack: Pack) -> None:
    (source / "really_flac.wav").write_bytes(encoded(tone(0.1), 16_000, "FLAC"))
    (source / "no_suffix").write_bytes(wav(noise("s16", 10, 1), "s16", 1))
    (source / "WAVE.WAVE").write_bytes(wav(noise("s16", 10, 1), "s16", 1))
    (source / "text.mp3").write_text("no sound")
    (source / "empty.ogg").write_bytes(b"")
    (source / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (source / "broken.flac").write_bytes(b"fLaC" + bytes(50))
    (source / "silent.wav").write_bytes(wav(b"", "s16", 1))
    report = pack()
    assert {key: list(found) for key, found in packed(tmp_path / "out").items()} == {
        "WAVE": ["wave"],
        "no_suffix": ["wav"],
        "really_flac": ["flac"],
    }
    reasons = {failure.path: failure.reason for failure in report.failures}
    assert reasons.keys() == {"broken.flac", "empty.ogg", "silent.wav", "text.mp3"}
    assert reasons["text.mp3"] == "not a recording: it does not begin like one"
    assert reasons["empty.ogg"] == "an empty file"
    assert reasons["silent.wav"] == "a recording without a whole sample"
    assert reasons["broken.flac"]
    assert report.skipped == 1


@pytest.mark.parametrize("form", Forms)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("channels", [1, 2])
def test_segments_of_a_wav_join_to_its_samples_bit_by_bit(
    source: Path, tmp_path: Path, pack: Pack, encoding: str, form: str, channels: int
) -> None:
    frames = 5 * 1600 + 7
    raw = noise(encoding, frames, channels)
    (source / "a.wav").write_bytes(wav(raw, encoding, channels, 16_000, form))
    assert pack(segment=0.1).examples == 6
    parts = parts_of(packed(tmp_path / "out"), "a")
    dtype = {"f32": "float32", "f64": "float64"}.get(encoding, "int32")
    joined = np.concatenate([read(part["wav"], dtype)[0] for part in parts])
    whole, _ = read((source / "a.wav").read_bytes(), dtype)
    assert [len(read(part["wav"])[0]) for part in parts] == [1600] * 5 + [7]
    assert joined.tobytes() == whole.tobytes()
    for part in parts:
        content = part["wav"]
        assert len(content) == 8 + int.from_bytes(content[4:8], "little")
        assert len(content) % 2 == 0, "chunks of a RIFF file are padded to even lengths"


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
@pytest.mark.parametrize("codec", ["keep", "wav", "flac"])
def test_segments_of_a_flac_join_to_its_samples_bit_by_bit(
    source: Path, tmp_path: Path, pack: Pack, subtype: str, codec: str
) -> None:
    samples = np.frombuffer(noise("s32", 9_001, 2), "<i4").reshape(-1, 2)
    (source / "a.flac").write_bytes(encoded(samples, 44_100, "FLAC", subtype))
    pack(segment=0.05, codec=codec)
    suffix = "wav" if codec == "wav" else "flac"
    parts = parts_of(packed(tmp_path / "out"), "a")
    joined = np.concatenate([read(part[suffix], "int32")[0] for part in parts])
    assert np.array_equal(joined, read((source / "a.flac").read_bytes(), "int32")[0])
    assert {soundfile.info(_file(tmp_path, part[suffix])).subtype for part in parts} == {subtype}


@pytest.mark.parametrize("kind", ["OGG", "MP3"])
def test_segments_of_a_lossy_file_join_to_what_is_decoded_from_it(
    source: Path, tmp_path: Path, pack: Pack, kind: str
) -> None:
    (source / f"a.{kind.lower()}").write_bytes(encoded(tone(1.3, 44_100, 2), 44_100, kind))
    whole, _ = read((source / f"a.{kind.lower()}").read_bytes())
    for codec, suffix, error in (("wav", "wav", 1e-6), ("keep", "flac", 2**-16)):
        pack(segment=0.25, codec=codec, overwrite=True)
        joined = np.concatenate([read(part[suffix])[0] for part in parts_of(packed(tmp_path / "out"), "a")])
        assert joined.shape == whole.shape
        assert np.abs(joined - whole).max() <= error


def test_codecs_keep_integers_exactly_and_refuse_what_does_not_fit(
    source: Path, tmp_path: Path, pack: Pack
) -> None:
    for encoding in ("u8", "s16", "s24", "s32", "f32"):
        (source / f"{encoding}.wav").write_bytes(wav(noise(encoding, 3000, 1), encoding, 1))
    (source / "from.flac").write_bytes(encoded(tone(0.2), 16_000, "FLAC", "PCM_24"))
    report = pack(codec="flac")
    assert [tuple(failure) for failure in report.failures] == [
        ("s32.wav", "its samples of 32 bits do not fit flac: use --codec wav")
    ]
    flacs = packed(tmp_path / "out")
    for encoding in ("u8", "s16", "s24"):
        original = read((source / f"{encoding}.wav").read_bytes(), "int32")[0]
        assert np.array_equal(read(flacs[encoding]["flac"], "int32")[0], original)
    original = np.clip(read((source / "f32.wav").read_bytes())[0], -1, 1 - 2**-23)
    assert np.abs(read(flacs["f32"]["flac"])[0] - original).max() <= 2**-24
    assert flacs["from"]["flac"] == (source / "from.flac").read_bytes()
    pack(codec="wav", overwrite=True)
    wavs = packed(tmp_path / "out")
    assert all(wavs[key]["wav"] == (source / f"{key}.wav").read_bytes() for key in ("u8", "s32", "f32"))
    assert np.array_equal(read(wavs["from"]["wav"], "int32")[0], read(flacs["from"]["flac"], "int32")[0])


def test_resampled_and_mixed_recordings_are_what_soxr_and_the_mean_make_of_the_whole(
    source: Path, tmp_path: Path, pack: Pack
) -> None:
    samples = tone(3.0, 44_100, 2)
    (source / "a.wav").write_bytes(encoded(samples, 44_100, "WAV", "PCM_24"))
    (source / "f.wav").write_bytes(encoded(samples, 44_100, "WAV", "FLOAT"))
    original, _ = read((source / "a.wav").read_bytes())
    expected = soxr.resample(original.mean(axis=1), 44_100, 16_000)
    pack(sample_rate=16_000, channels=1)
    found = packed(tmp_path / "out")
    for key, error in (("a", 2**-23), ("f", 2e-6)):
        whole, rate = read(found[key]["wav"])
        assert rate == 16_000
        assert whole.shape == (48_000, 1)
        assert np.abs(whole[:, 0] - expected).max() <= error
    pack(sample_rate=16_000, channels=1, segment=0.7, overwrite=True)
    parts = parts_of(packed(tmp_path / "out"), "a")
    joined = np.concatenate([read(part["wav"])[0] for part in parts])
    assert [len(read(part["wav"])[0]) for part in parts] == [11_200] * 4 + [3_200]
    assert np.array_equal(joined, read(found["a"]["wav"])[0])


def test_channels_are_averaged_repeated_or_the_first_ones(source: Path, tmp_path: Path, pack: Pack) -> None:
    for channels in (1, 2, 4):
        (source / f"{channels}.wav").write_bytes(encoded(tone(0.1, 16_000, channels), 16_000, "WAV", "FLOAT"))
    report = pack(channels=2)
    found = {key: read(one["wav"])[0] for key, one in packed(tmp_path / "out").items()}
    assert np.array_equal(found["1"], np.repeat(tone(0.1), 2, axis=1))
    assert np.array_equal(found["4"], tone(0.1, 16_000, 4)[:, :2])
    assert packed(tmp_path / "out")["2"]["wav"] == (source / "2.wav").read_bytes()
    assert report.failures == ()
    failures = pack(channels=3, overwrite=True).failures
    assert [tuple(failure) for failure in failures] == [
        ("2.wav", "it has 2 channels, and 3 cannot be made of them")
    ]
    assert pack(channels=1, overwrite=True).examples == 3
    mono = read(packed(tmp_path / "out")["4"]["wav"])[0]
    assert np.abs(mono - tone(0.1, 16_000, 4).mean(axis=1, keepdims=True)).max() < 1e-7


def test_segments_have_keys_of_their_own_whatever_the_files_are_called(
    source: Path, tmp_path: Path, pack: Pack
) -> None:
    raw = noise("s16", 3000, 1)
    for name in ("a.wav", "a-00000.wav", "a-00001.wav", "a-00000-00001.wav", "b.c.wav", "b_c.wav"):
        (source / name).write_bytes(wav(raw, "s16", 1))
    report = pack(segment=0.1)
    found = packed(tmp_path / "out")
    assert len(found) == report.examples == 12
    assert {"a-00000", "a-00001", "a-00000-00000", "a-00000-00001-00000", "b_c-00001", "b_c~2-00001"} < set(found)
    lines = (tmp_path / "out" / "manifest.names.jsonl").read_text().splitlines()
    assert [json.loads(line)[0] for line in lines] == list(found)
    assert {json.loads(line)[1] for line in lines} == {path.name for path in source.iterdir()}


@pytest.mark.parametrize("settings", [{}, {"segment": 0.04}, {"sample_rate": 8_000, "codec": "flac"}])
def test_bytes_do_not_depend_on_workers_or_place(source: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    fill(source)
    make_shards(source, tmp_path / "0", workers=0, shard_examples=5, **settings)
    shutil.copytree(source, tmp_path / "copy" / "audio")
    for workers in (1, 2, 3):
        make_shards(
            tmp_path / "copy" / "audio", tmp_path / str(workers), workers=workers, shard_examples=5, **settings
        )
        assert contents(tmp_path / str(workers)) == contents(tmp_path / "0")
    assert str(tmp_path).encode() not in b"".join(path.read_bytes() for path in (tmp_path / "0").iterdir())


def test_append_adds_recordings_and_leaves_what_is_there(source: Path, tmp_path: Path, pack: Pack) -> None:
    for number in range(4):
        (source / f"{number}.wav").write_bytes(wav(noise("s16", 4000, 1, number), "s16", 1))
    pack(segment=0.1)
    before = contents(tmp_path / "out")
    (source / "new.wav").write_bytes(wav(noise("s16", 4000, 1, 9), "s16", 1))
    report = pack(segment=0.1, append=True)
    assert (report.examples, report.new_shards) == (15, 1)
    after = contents(tmp_path / "out")
    assert {name: digest for name, digest in before.items() if ".tar" in name}.items() <= after.items()
    assert len(packed(tmp_path / "out")) == 15
    assert pack(segment=0.1).was_complete
    (source / "0.flac").write_bytes(encoded(tone(0.1), 16_000, "FLAC"))
    pack(segment=0.1, append=True)
    assert list(packed(tmp_path / "out")["0~2-00000"]) == ["flac"], "the key of its file is taken by 0.wav"
    (source / "3.wav").write_bytes(wav(noise("s16", 5000, 1, 3), "s16", 1))
    (source / "newer.wav").write_bytes(wav(noise("s16", 4000, 1, 10), "s16", 1))
    with pytest.raises(Exception, match="packed already, or a sidecar file of one, has changed"):
        pack(segment=0.1, append=True)


def test_append_refuses_a_kept_recording_of_another_size(source: Path, pack: Pack) -> None:
    (source / "a.wav").write_bytes(wav(noise("s16", 4000, 1), "s16", 1))
    pack()
    (source / "a.wav").write_bytes(wav(noise("s16", 4001, 1), "s16", 1))
    (source / "b.wav").write_bytes(wav(noise("s16", 4000, 1), "s16", 1))
    with pytest.raises(Exception, match=r"a\.wav: has another size"):
        pack(append=True)


def test_damage_is_found_when_everything_is_decoded(source: Path, tmp_path: Path, pack: Pack) -> None:
    content = encoded(np.frombuffer(noise("s16", 60_000, 1), "<i2"), 16_000, "FLAC")
    (source / "whole.flac").write_bytes(content)
    (source / "cut.flac").write_bytes(content[: len(content) // 2])
    assert pack().examples == 2
    row = load_index(tmp_path / "out" / "audio-000000.tar.index.npy")
    assert sorted(row["frames"].tolist())[1] == 60_000
    assert 20_000 < sorted(row["frames"].tolist())[0] < 40_000
    report = pack(decode=True, overwrite=True)
    assert [failure.path for failure in report.failures] == ["cut.flac"]
    assert "of 60,000 frames can be decoded" in report.failures[0].reason


def test_iterators_find_the_same_samples_and_curves_in_segments_as_in_whole_recordings(
    source: Path, tmp_path: Path, pack: Pack
) -> None:
    make_sample_sounds(source, num=5)
    curves = {"f0.npy": 250, "loudness.npy": 250}
    pack(segment=1, curves=curves)

    def windows(place: Path) -> dict[str, tuple[Any, ...]]:
        sounds = AudioIterator(place, window=3200, batch_size=3, fields=tuple(curves), curves=curves)
        found = {}
        for batch in sounds:
            for row, key in enumerate(batch.keys):
                found[key] = (batch.data[row], *(batch.fields[name][row] for name in curves))
        return found

    whole, cut = windows(source), windows(tmp_path / "out")
    assert len(whole) == len(cut) > 40
    for key, expected in whole.items():
        name, start = key.split("@")
        part, place = divmod(int(start), 16_000)
        for ours, theirs in zip(cut[f"{name}-{part:05d}@{place}"], expected, strict=True):
            assert np.array_equal(ours, theirs), key


@pytest.mark.slow
def test_all_the_real_recordings_come_back(shared_data: Path, tmp_path: Path) -> None:
    audio = shared_data / "audio"
    report = make_shards(audio, tmp_path / "out", workers=2)
    files = sorted(path for path in audio.rglob("*") if path.suffix == ".wav")
    assert (report.examples, report.failures) == (len(files), ())
    found = {name: content for tar in (tmp_path / "out").glob("*.tar") for name, content in members(tar).items()}
    assert found == {str(path.relative_to(audio)): path.read_bytes() for path in files}
    make_shards(audio, tmp_path / "cut", workers=2, segment=0.3)
    parts = packed(tmp_path / "cut")
    for path in files[::3]:
        key = str(path.relative_to(audio).with_suffix(""))
        joined = np.concatenate([read(part["wav"], "int32")[0] for part in parts_of(parts, key)])
        assert np.array_equal(joined, read(path.read_bytes(), "int32")[0])


def _file(folder: Path, content: bytes) -> Path:
    path = folder / "one"
    path.write_bytes(content)
    return path
