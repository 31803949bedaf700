"""The six instruments of the sample sounds differ in their spectra, not in pitch or loudness."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from inspect import signature
from itertools import combinations

import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray

from pipelines.decode.audio.loudness import loudness_curve
from pipelines.samples.instruments import INSTRUMENTS, formant_gain
from pipelines.samples.sound_synthesis import CONTROL_HZ, LEVELS_DB, SAMPLE_HZ, Sound, sound_of, synthesise
from pipelines.samples.sounds import make_sample_sounds

PAIRS = list(combinations(INSTRUMENTS, 2))
NUM = 60  # what `make_sample_sounds` makes if nobody says otherwise
HARMONICS = 12
FLOOR_DB = -50.0


@cache
def heard(seed: int = 0) -> list[tuple[Sound, NDArray[np.float64], NDArray[np.float64]]]:
    """Sounds, with their samples and pitch."""
    return [(sound, *synthesise(sound)) for sound in (sound_of(seed, index) for index in range(NUM))]


def of_each(values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Numbers of all sounds, (sound, ...), by instrument."""
    names = np.array([sound.instrument for sound, _, _ in heard()])
    return {name: values[names == name] for name in INSTRUMENTS}


def spectra(seed: int = 0) -> NDArray[np.float64]:
    """(sound, harmonic): those early in its notes, then those late in them, for a string loses the upper ones."""
    return np.array([np.concatenate([harmonics_db(*one, share) for share in (0.25, 0.75)]) for one in heard(seed)])


def harmonics_db(
    sound: Sound, samples: NDArray[np.float64], pitch: NDArray[np.float64], share: float
) -> NDArray[np.float64]:
    """(harmonic,) levels in dB at this share of the way through the notes, the power of all together being 0."""
    hz = np.fft.rfftfreq(1 << 15, 1 / SAMPLE_HZ)
    power = np.zeros(HARMONICS)
    for note in sound.notes:
        middle = round((note.start_seconds + share * note.seconds) * SAMPLE_HZ)
        stretch = samples[middle - 1024 : middle + 1024] * scipy.signal.windows.hann(2048)
        spectrum = np.abs(np.fft.rfft(stretch, 1 << 15)) ** 2
        f0 = pitch[middle * CONTROL_HZ // SAMPLE_HZ]
        numbers = range(1, min(HARMONICS, int(7900 / f0)) + 1)
        found = [spectrum[np.abs(hz / f0 - number) < 0.05].max() for number in numbers]
        power[: len(found)] += np.array(found) / sum(found)
    return np.maximum(10 * np.log10(power / power.sum() + 1e-30), FLOOR_DB)


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """How long the stretch is that two ranges share."""
    return float(min(one.max(), other.max()) - max(one.min(), other.min()))


def share_recognised(features: NDArray[np.float64]) -> float:
    """How many of the sounds have their nearest neighbour, by features (sound, feature), among those of their kind."""
    names = np.array([sound.instrument for sound, _, _ in heard()])
    distances = np.linalg.norm(features[:, None] - features[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    return float(np.mean(names == names[distances.argmin(axis=1)]))


def test_the_default_set_has_equally_many_of_each() -> None:
    assert signature(make_sample_sounds).parameters["num"].default == NUM
    assert Counter(sound.instrument for sound, _, _ in heard()) == dict.fromkeys(INSTRUMENTS, NUM // 6)


def test_each_instrument_is_known_by_its_spectrum_and_none_by_pitch_and_level() -> None:
    assert share_recognised(spectra()) > 0.85
    pitch_and_level = [[12 * np.log2(np.median(pitch)), sound.level_db] for sound, _, pitch in heard()]
    assert share_recognised(np.array(pitch_and_level)) < 0.35


def test_mean_spectra_differ_between_instruments_more_than_between_seeds() -> None:
    means, others = ({n: rows.mean(axis=0) for n, rows in of_each(spectra(seed)).items()} for seed in (0, 1))
    for name, mean in others.items():
        assert min(INSTRUMENTS, key=lambda each: float(np.linalg.norm(means[each] - mean))) == name
    for one, other in PAIRS:
        assert np.abs(means[one] - means[other]).max() > 9, (one, other)


def test_pitches_and_loudness_overlap_between_all_instruments() -> None:
    lowest = of_each(np.array([12 * np.log2(pitch.min()) for _, _, pitch in heard()]))
    highest = of_each(np.array([12 * np.log2(pitch.max()) for _, _, pitch in heard()]))
    levels = of_each(np.array([sound.level_db for sound, _, _ in heard()]))
    loudness = of_each(np.array([loudness_curve(one, SAMPLE_HZ, CONTROL_HZ).max() for _, one, _ in heard()]))
    for one, other in PAIRS:
        pitches = [np.concatenate([lowest[name], highest[name]]) for name in (one, other)]
        assert overlap(*pitches) > 12, "semitones"
        assert overlap(levels[one], levels[other]) > 9, "dB"
        assert overlap(loudness[one], loudness[other]) > 4, "dB(A), of the loudest moments"


def test_levels_are_drawn_evenly_and_alike_for_all() -> None:
    sounds = [sound_of(1, index) for index in range(1800)]
    assert max(LEVELS_DB) - min(LEVELS_DB) == 18
    for name in INSTRUMENTS:
        levels = np.sort([sound.level_db for sound in sounds if sound.instrument == name])
        evenly = np.linspace(*LEVELS_DB, len(levels))
        assert np.abs(levels - evenly).max() < 18 * 1.63 / np.sqrt(len(levels)), "Kolmogorov and Smirnov, 1 percent"
        first = np.array([sound.notes[0].f0_hz for sound in sounds if sound.instrument == name])
        assert first.min() == pytest.approx(130.8, rel=0.01)
        assert first.max() == pytest.approx(784.0, rel=0.07)


@pytest.mark.parametrize("place", range(len(INSTRUMENTS)))
def test_the_level_is_that_of_the_loudest_32_ms(place: int) -> None:
    for sound, samples, _ in heard()[place:24:6]:
        windows = np.lib.stride_tricks.sliding_window_view(samples**2, 512)
        assert 10 * np.log10(windows.mean(axis=1).max()) == pytest.approx(sound.level_db, abs=1e-6)
    assert max(np.abs(samples).max() for _, samples, _ in heard()) < 0.9


def test_a_reed_has_hardly_any_even_harmonics() -> None:
    mean = of_each(spectra())["reed"].mean(axis=0)[:HARMONICS]
    odd, even = mean[0::2], mean[1::2]
    assert (odd - even > 15).all()
    assert (odd[1:] - even[:-1] > 15).all()


def centroid_hz(samples: NDArray[np.float64]) -> float:
    power = np.abs(np.fft.rfft(samples)) ** 2
    return float(np.sum(power * np.fft.rfftfreq(len(samples), 1 / SAMPLE_HZ)) / np.sum(power))


def test_brass_is_brighter_the_louder_it_is_and_the_others_stay_as_they_are() -> None:
    for sound, _, _ in heard()[:12]:
        soft, loud = (synthesise(replace(sound, level_db=level))[0] for level in LEVELS_DB)
        if sound.instrument == "brass":
            assert centroid_hz(loud) > 1.25 * centroid_hz(soft)
        else:
            np.testing.assert_allclose(loud, soft * 10 ** (18 / 20), atol=1e-12)


def test_the_gain_of_a_formant_rises_with_strength_and_falls_on_both_sides() -> None:
    hz = np.linspace(50.0, 7000.0, 500)
    soft, loud = formant_gain(hz, np.zeros(500)), formant_gain(hz, np.ones(500))
    assert (soft > 0).all()
    assert (soft < loud).all()
    assert (loud <= 1).all()
    assert 600 < hz[loud.argmax()] < 1200
    np.testing.assert_allclose(formant_gain(np.array([1200.0]), np.ones(1)), np.exp(-0.6))
