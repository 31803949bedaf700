"""The sample rate of a set: that of its first recording that can be read."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from pipelines import SourceError, hold_out, make_shards, open_source
from pipelines.decode.audio.wav_writing import encode_wav
from pipelines.iterators.audio import first_sample_rate


def write(folder: Path, *rates: int) -> Path:
    folder.mkdir(parents=True)
    for number, rate in enumerate(rates):
        wav = encode_wav(np.full((400, 1), 0.1, np.float32), rate, "s16")
        (folder / f"{number}.wav").write_bytes(wav if rate > 1 else b"RIFF" + bytes(60))
    return folder


def test_it_is_that_of_the_first_one_that_can_be_read(tmp_path: Path) -> None:
    assert first_sample_rate(open_source(write(tmp_path / "a", 11_025, 8000), modality="audio")) == 11_025
    assert first_sample_rate(open_source(write(tmp_path / "b", 1, 44_100), modality="audio")) == Fraction(44_100)
    make_shards(tmp_path / "a", tmp_path / "shards", workers=0, progress=False)
    shards = open_source(tmp_path / "shards", modality="audio")
    assert first_sample_rate(shards) == {"0": 11_025, "1": 8000}[shards[0].key]
    assert {first_sample_rate(part) for part in hold_out(shards, 0.5)} == {8000, 11_025}


def test_a_set_without_any_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no recording of its first shard can be read"):
        first_sample_rate(open_source(write(tmp_path / "a", 1), modality="audio"))
