"""Sounds and videos on a contact sheet: tones stand at their frequency, frames at their time."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from pipelines import open_source
from pipelines.show_batch import ShowOptions, draw_batch
from pipelines.show_batch.audio_cells import LEFT, audio_cells, nice_step
from pipelines.show_batch.spectrogram import coloured, frequency_ticks, height_of, spectrogram
from pipelines.show_batch.style import MAT
from pipelines.show_batch.video_cells import shown_frames, video_cells

from .numbered_frames import frame_number
from .recordings import encoded, write_folder
from .videos import make_video

RATE = 16_000


def tone(hz: float, seconds: float, rate: int = RATE) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.mark.parametrize("hz", [250, 1000, 3000, 7000])
def test_a_tone_is_a_line_at_its_frequency(hz: float) -> None:
    levels = spectrogram(tone(hz, 2), RATE, (400, 50))
    assert levels.shape == (400, 50)
    assert (levels.max(axis=0) > -3).all()
    loudest = 1 - (levels.argmax(axis=0) + 0.5) / 400
    np.testing.assert_allclose(loudest, height_of(hz, RATE / 2), atol=0.012)
    assert np.median(levels) < -60


def test_silence_is_dark_and_levels_are_relative_to_the_loudest() -> None:
    assert (spectrogram(np.zeros(8000, np.float32), RATE, (20, 10)) == -80).all()
    loud, quiet = (spectrogram(gain * tone(500, 1), RATE, (40, 10)) for gain in (1.0, 0.01))
    np.testing.assert_allclose(loud, quiet, atol=0.1)
    shades = coloured(np.array([-80.0, -40.0, 0.0])).astype(int).sum(axis=1)
    assert list(shades) == sorted(shades)


def test_sounds_shorter_than_an_analysis_window_are_drawn() -> None:
    for num in (1, 3, 100):
        assert np.isfinite(spectrogram(np.ones(num, np.float32), RATE, (10, 20))).all()


def test_ticks_are_round_and_apart() -> None:
    ticks = frequency_ticks(22_050, 0.08)
    assert [label for _, label in ticks][:3] == ["20", "10", "5"]
    shares = [share for share, _ in ticks]
    assert all(one - other >= 0.08 for one, other in itertools.pairwise(shares))
    assert [nice_step(least) for least in (0.3, 1.0, 1.1, 4, 0.021)] == [0.5, 1, 2, 5, 0.05]


def test_the_part_behind_the_end_of_a_recording_is_empty(tmp_path: Path) -> None:
    sounds = {"a.wav": encoded(tone(440, 2.0)[:, None]), "b.wav": encoded(tone(440, 1.0)[:, None])}
    source = open_source(write_folder(tmp_path / "in", sounds), modality="audio")
    whole, half = (np.asarray(cell.picture) for cell in audio_cells(source, ShowOptions(window=2, size=200)).cells)
    assert whole.shape == half.shape
    row, middle = whole.shape[0] // 2, LEFT + (whole.shape[1] - LEFT) // 2
    empty = (half[row] == MAT).all(axis=1)
    assert not empty[LEFT + 4 : middle - 4].any()
    assert empty[middle + 4 :].all()
    assert not (whole[row, LEFT:] == MAT).all(axis=1).any()


def test_recordings_of_several_rates_have_one_axis(tmp_path: Path) -> None:
    sounds = {
        "a.wav": encoded(tone(440, 1.0, RATE)[:, None], rate=RATE),
        "b.wav": encoded(tone(440, 1.0, 8000)[:, None], rate=8000),
    }
    source = open_source(write_folder(tmp_path / "in", sounds), modality="audio")
    cells = audio_cells(source, ShowOptions(window=1, size=200)).cells
    assert [cell.lines[1].text for cell in cells] == ["1.00 s of 1.00 s at 16 kHz", "1.00 s of 1.00 s at 8 kHz"]
    row = cells[1].picture.height // 2
    assert not (np.asarray(cells[1].picture)[row, LEFT:] == MAT).all(axis=1).any()


def test_frames_are_evenly_spaced_and_the_first_and_last_are_shown() -> None:
    assert shown_frames(32, 8).tolist() == [0, 4, 9, 13, 18, 22, 27, 31]
    assert shown_frames(3, 8).tolist() == [0, 1, 2]
    assert shown_frames(1, 8).tolist() == [0]


def test_a_film_strip_shows_the_frames_of_its_clip(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make_video(tmp_path / "in" / "a.mp4", num_frames=40, size=(96, 64))
    source = open_source(tmp_path / "in", modality="video")
    found = video_cells(source, ShowOptions(num=2, clip_frames=20, size=48))
    assert [cell.lines[0].text for cell in found.cells] == ["a@0", "a@20"]
    for first, cell in zip((0, 20), found.cells, strict=True):
        strip = np.asarray(cell.picture)
        assert strip.shape[1] == found.width
        frames = [strip[:64, column * (96 + 6) : column * (96 + 6) + 96] for column in range(8)]
        assert [frame_number(frame) for frame in frames] == [first + number for number in shown_frames(20, 8)]


def test_sheets_of_sounds_and_videos_are_pictures(tmp_path: Path) -> None:
    sounds = write_folder(tmp_path / "sounds", {"a.wav": encoded(tone(440, 0.5)[:, None])})
    (tmp_path / "videos").mkdir()
    make_video(tmp_path / "videos" / "a.mp4", num_frames=10)
    for folder, modality in ((sounds, "audio"), (tmp_path / "videos", "video")):
        sheet = draw_batch(folder, modality, ShowOptions(window=0.5, clip_frames=4))
        assert sheet.mode == "RGB"
        assert min(sheet.size) > 100
