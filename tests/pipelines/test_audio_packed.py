"""Recordings that were packed: lengths from the index, windows and curves as from the folder they came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines import AudioIterator, ShardError, hold_out, make_shards, open_source
from pipelines.decode.audio.recording_reader import RecordingReader
from pipelines.samples.sounds import make_sample_sounds

from .recordings import album, encoded, melody, write_folder

KINDS = ("s16", "flac", "f32", "vorbis", "u8", "mp3")


def test_packed_recordings_play_as_their_folder_does(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "takes", album(9, kinds=KINDS, frames=9000))
    make_shards(folder, tmp_path / "shards", shard_bytes=60_000, workers=0)
    assert len(list((tmp_path / "shards").glob("*.tar"))) > 1
    for settings in ({"window": 2500}, {"window": 1000, "sample_rate": 11_025, "channels": 2}):
        loose = {
            key: window
            for batch in AudioIterator(folder, batch_size=7, **settings)  # type: ignore[arg-type]
            for key, window in zip(batch.keys, batch.data, strict=True)
        }
        packed = AudioIterator(tmp_path / "shards", batch_size=7, shuffle=True, **settings)  # type: ignore[arg-type]
        num = 0
        for batch in packed:
            for key, window in zip(batch.keys, batch.data, strict=True):
                np.testing.assert_array_equal(window, loose[key])
                num += 1
        assert num == len(loose)


def test_the_lengths_of_packed_recordings_come_from_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "takes", album(5, kinds=KINDS))
    make_shards(folder, tmp_path / "shards", workers=0)
    monkeypatch.setattr(RecordingReader, "measure", None)  # a recording that is looked at fails
    assert len(AudioIterator(tmp_path / "shards", window=1000).source) > 20
    with pytest.raises(TypeError):
        AudioIterator(folder, window=1000)


def test_a_damaged_byte_is_found_where_checksums_are_verified(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "takes", {"a.wav": encoded(melody(5000))})
    make_shards(folder, tmp_path / "shards", workers=0)
    tar = next((tmp_path / "shards").glob("*.tar"))
    damaged = bytearray(tar.read_bytes())
    damaged[5000] ^= 1
    tar.write_bytes(damaged)
    assert len(next(iter(AudioIterator(tmp_path / "shards", window=1000)))) == 5
    with pytest.raises(ShardError, match="fails its checksum"):
        next(iter(AudioIterator(open_source(tmp_path / "shards", verify=True), window=1000)))


def test_joined_segments_are_the_recording(tmp_path: Path) -> None:
    samples = melody(50_000, 2, seed=5)
    folder = write_folder(tmp_path / "takes", {"a.wav": encoded(samples, "s24")})
    make_shards(folder, tmp_path / "shards", segment=1, workers=0)
    pieces = []
    for batch in AudioIterator(tmp_path / "shards", window=16_000, channels=2, batch_size=1):
        length = batch.data.shape[2] if batch.lengths is None else int(batch.lengths[0])
        pieces.append(batch.data[0, :, :length])
    whole = next(iter(AudioIterator(folder, window=50_000, channels=2, batch_size=1))).data[0]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)


def test_holding_out_segments_warns_that_a_recording_may_be_on_both_sides(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "takes", album(9, kinds=KINDS, frames=9000))
    make_shards(folder, tmp_path / "whole", workers=0)
    hold_out(open_source(tmp_path / "whole"), 0.3)
    make_shards(folder, tmp_path / "cut", segment=0.1, codec="wav", workers=0)
    with pytest.warns(UserWarning, match="segments of one recording may be on both sides"):
        hold_out(open_source(tmp_path / "cut"), 0.3)


def test_curves_of_segments_are_those_of_the_recording(tmp_path: Path) -> None:
    make_sample_sounds(tmp_path / "sounds", num=4)
    rates = {"f0.npy": 250, "loudness.npy": 250}
    make_shards(tmp_path / "sounds", tmp_path / "shards", segment=1, curves=rates, workers=0)
    whole = {
        key: curve
        for batch in AudioIterator(tmp_path / "sounds", window=16_000, short="skip", curves=rates)
        for key, curve in zip(batch.keys, batch.fields["f0.npy"], strict=True)
    }
    found = {
        key: curve
        for batch in AudioIterator(tmp_path / "shards", window=16_000, short="skip", curves=rates)
        for key, curve in zip(batch.keys, batch.fields["f0.npy"], strict=True)
    }
    assert len(found) == len(whole) >= 8
    for key, curve in found.items():
        name, _, number = key.removesuffix("@0").rpartition("-")
        np.testing.assert_array_equal(curve, whole[f"{name}@{16_000 * int(number)}"])
