"""Settings of audio iterators that make no sense are refused in one sentence, and rates are never mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines import AudioIterator, ImageIterator, SourceError, make_shards, mix, open_source

from .recordings import encoded, melody, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings of different rates."""
    low, high = (encoded(melody(3000, rate=rate), rate=rate) for rate in (16_000, 44_100))
    return write_folder(tmp_path / "takes", {"high.wav": high, "low.wav": low})


def test_recordings_of_different_rates_in_one_batch_are_warned_of_once(folder: Path) -> None:
    said = r"'high@0' has 44100 Hz and 'low@0' has 16000 Hz, in one batch\. sample_rate=…"
    audio = AudioIterator(folder, window=3000)
    with pytest.warns(UserWarning, match=said):
        assert len(next(iter(audio))) == 2
    assert len(next(iter(audio))) == 2  # a second warning would be an error here
    assert len(next(iter(AudioIterator(folder, window=3000, sample_rate=16_000)))) == 2
    assert [len(batch) for batch in AudioIterator(folder, window=3000, batch_size=1)] == [1, 1]


def test_a_mixture_of_different_sample_rates_is_refused(folder: Path) -> None:
    rates = (None, 16_000)
    with pytest.raises(ValueError, match=r"sample_rate=None and 16000; a mixture needs one\."):
        mix([AudioIterator(folder, window=3000, sample_rate=rate) for rate in rates])


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"curves": 3}, TypeError, r"curves is 3; it must give the rows per second"),
        ({"curves": [3]}, TypeError, r"curves has 3; it must be names"),
        ({"curves": {"f0.npy": "x"}}, ValueError, r"curves\['f0.npy'\] is 'x'; it must be a number"),
        ({"curves": {"f0.npy": float("nan")}}, ValueError, r"curves\['f0.npy'\] is nan; "),
        ({"window": 10**12}, ValueError, r"window is 1,000,000,000,000 frames, .* Give a shorter window\."),
        ({"random_offset": 1}, TypeError, r"random_offset is 1; it must be True or False\."),
        ({"windw": 5}, TypeError, r"AudioIterator has no setting 'windw'\. Did you mean window\?"),
        ({"bathc_size": 5}, TypeError, r"AudioIterator has no setting 'bathc_size'\. Did you mean batch_size\?"),
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_named(
    settings: dict[str, Any], error: type[Exception], said: str, folder: Path
) -> None:
    with pytest.raises(error, match=f"^{said}"):
        AudioIterator(folder, **settings)


@pytest.mark.parametrize("data", [3, None, [3]], ids=str)
def test_what_is_no_data_is_named(data: Any) -> None:
    with pytest.raises(TypeError, match=r"3; it must|3\b.*paths|None; it must"):
        AudioIterator(data)
    with pytest.raises(TypeError, match="'takes'; it takes iterators"):
        mix(["takes"])  # type: ignore[list-item]


def test_media_of_another_kind_are_named(folder: Path) -> None:
    with pytest.raises(SourceError, match=r'no image files in it, but audio files\. .*modality="audio"'):
        open_source(folder)
    make_shards(folder, folder.parent / "shards")
    with pytest.raises(SourceError, match=r"it holds audio data\. Name images instead\."):
        ImageIterator(folder.parent / "shards")


def test_a_clip_is_shown_without_its_content(folder: Path) -> None:
    with pytest.warns(UserWarning, match=r"`list\(open_source\(data\)\[0\]\.fields\)` shows"):
        next(iter(AudioIterator(folder, window=1000, batch_size=1, fields="txt")))
    clip = AudioIterator(folder, window=1000).source[1]
    assert repr(clip) == f"Clip(1, 'high@1000', 0 bytes of '{folder / 'high.wav'}', fields=[])"
