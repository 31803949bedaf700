"""Pitch trackers side by side, on recordings whose pitch is known: this library's, librosa's pYIN and swift-f0.

    OMP_NUM_THREADS=1 python benchmarks/f0.py --recordings FOLDER [--peers librosa swift-f0] [--every 8] [--rounds 5]

notes     the 64 saxophone notes in FOLDER/saxophone (Karoryfer Weresax; they sound an octave above the note in their
          name), clean and with white noise 10 dB below them: median error in cents; errors above 50 cents and octave
          errors in percent of the rows that a tracker is sure of, and of those of them that are loud (the clean note is
          above −40 dB there); how many of the loud rows it is sure of
phrases   FOLDER/phrases: how far each is from pYIN where both hear a pitch, the median in cents
speed     seconds of sound per second of CPU on one core, at 16 kHz and 250 rows per second unless said otherwise, of 16
          sounds of 4 seconds and of one; the best of the rounds, because other work on the machine only adds

Recordings are resampled to 16 kHz for all. pYIN and swift-f0 have rows of their own every 16 ms, so their speed is
that of 62.5 rows per second. A peer that is not installed is named. librosa is slow: --every 8 takes every eighth note.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dirvae.ddsp import loudness_curve, track_f0
from dirvae.ddsp.pitch import track_f0_swift

SAMPLE_HZ, PEER_HOP = 16_000, 256
SEMITONES = {"c": 0, "db": 1, "d": 2, "eb": 3, "e": 4, "f": 5, "gb": 6, "g": 7, "ab": 8, "a": 9, "bb": 10, "b": 11}
PEERS = {"librosa": "librosa", "swift-f0": "swift_f0"}
"""Name on the command line → module."""

Found = tuple[Any, Any, float]
"""f0 in Hz and confidence, (row,) each, and rows per second."""

Track = Callable[[Any], Found]


@dataclass(frozen=True)
class Note:
    """A recording at 16 kHz and what it sounds like."""

    name: str
    hz: float
    samples: Any


def ours(samples: Any, rate: float = 250) -> Found:
    """This library's, as it comes."""
    found = track_f0(torch.from_numpy(samples)[None], SAMPLE_HZ, rate=rate)
    return found.f0.values[0].numpy(), found.confidence.values[0].numpy(), rate


def pyin(samples: Any) -> Found:
    """librosa's pYIN over the same range of pitches, with its defaults and rows 16 ms apart."""
    import librosa

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f0, voiced, _ = librosa.pyin(samples, fmin=40, fmax=2400, sr=SAMPLE_HZ, hop_length=PEER_HOP)
    return np.nan_to_num(f0, nan=1.0), voiced.astype(np.float32), SAMPLE_HZ / PEER_HOP


def swift(samples: Any) -> Found:
    """swift-f0's own rows, 16 ms apart, in one thread."""
    found = track_f0_swift(torch.from_numpy(samples)[None], SAMPLE_HZ, rate=SAMPLE_HZ / PEER_HOP)
    return found.f0.values[0].numpy(), found.confidence.values[0].numpy(), SAMPLE_HZ / PEER_HOP


def read(path: Path) -> Any:
    """(time,) float32 at 16 kHz."""
    samples, rate = soundfile.read(path, dtype="float32")
    return samples if rate == SAMPLE_HZ else soxr.resample(samples, rate, SAMPLE_HZ)


def read_notes(folder: Path, every: int) -> list[Note]:
    """The saxophone's notes, each `every`-th of them."""
    notes = []
    for path in sorted(folder.glob("*.wav"))[::every]:
        name = re.match(r"([a-g]b?)(\d)_", path.name)
        if name is None:
            raise SystemExit(f"{path}: is not named after its pitch, as ab3_f_rr1_cnd.wav is. Name another folder.")
        midi = SEMITONES[name[1]] + 12 * (int(name[2]) + 1) + 12
        notes.append(Note(path.stem, 440.0 * 2 ** ((midi - 69) / 12), read(path)))
    return notes


def compare_notes(trackers: dict[str, Track], notes: Sequence[Note], noise_db: float | None) -> None:
    """A line for each tracker."""
    condition = "clean" if noise_db is None else f"white noise {noise_db:g} dB below"
    print(f"\n{len(notes)} saxophone notes, {condition}")
    print(
        f"{'':10} {'cents':>7} {'gross %':>8} {'octave %':>9} {'gross, loud %':>14} {'sure, loud %':>13} "
        f"{'s sound/s CPU':>14}"
    )
    for name, track in trackers.items():
        errors, loud_errors, sure, seconds, cpu = [], [], [], 0.0, 0.0
        rng = np.random.default_rng(0)
        for note in notes:
            samples = note.samples
            if noise_db is not None:
                power = np.mean(samples**2) * 10 ** (-noise_db / 10)
                samples = samples + (np.sqrt(power) * rng.normal(size=len(samples))).astype(np.float32)
            begin = time.process_time()
            f0, confidence, rate = track(samples)
            cpu += time.process_time() - begin
            seconds += len(samples) / SAMPLE_HZ
            level = loudness_curve(torch.from_numpy(note.samples)[None], SAMPLE_HZ, rate=rate).values[0].numpy()
            num = min(len(f0), len(level))
            is_sure, is_loud = confidence[:num] >= 0.5, level[:num] > -40
            sure.append(is_sure[is_loud])
            away = 1200 * np.log2(f0[:num] / note.hz)
            errors.append(away[is_sure])
            loud_errors.append(away[is_sure & is_loud])
        error, loud_error = np.concatenate(errors), np.concatenate(loud_errors)
        octaves = np.rint(error / 1200)
        wrong_octave = (octaves != 0) & (np.abs(error - 1200 * octaves) < 50)
        print(
            f"{name:10} {np.median(np.abs(error)):7.2f} {100 * (np.abs(error) > 50).mean():8.3f} "
            f"{100 * wrong_octave.mean():9.3f} {100 * (np.abs(loud_error) > 50).mean():14.3f} "
            f"{100 * np.concatenate(sure).mean():13.1f} {seconds / cpu:14.1f}"
        )


def compare_phrases(trackers: dict[str, Track], folder: Path) -> None:
    """How far every other tracker is from pYIN."""
    print(
        "\nphrases: cents from pYIN where both hear a pitch, the median, and the share of pYIN's rows that is heard"
    )
    for path in sorted(folder.glob("*.wav")):
        samples = read(path)
        truth, voiced, rate = pyin(samples)
        parts = []
        for name, track in trackers.items():
            if track is pyin:
                continue
            f0, confidence, _ = ours(samples, rate) if track is ours else track(samples)
            num = min(len(f0), len(truth))
            both = (voiced[:num] >= 0.5) & (confidence[:num] >= 0.5)
            away = np.median(np.abs(1200 * np.log2(f0[:num][both] / truth[:num][both])))
            parts.append(f"{name} {away:6.2f} ({100 * both.sum() / max(1, (voiced[:num] >= 0.5).sum()):.0f} %)")
        print(f"{path.stem:20} {'   '.join(parts)}")


def compare_speed(trackers: dict[str, Track], rounds: int) -> None:
    """Seconds of sound per second of CPU."""
    print(f"\nspeed: seconds of sound per second of CPU, one thread, best of {rounds} rounds")
    turns = np.arange(4 * SAMPLE_HZ) / SAMPLE_HZ
    rng = np.random.default_rng(0)
    notes = [sum(np.sin(2 * np.pi * k * hz * turns) / k for k in range(1, 20)) for hz in np.geomspace(60, 700, 16)]
    sounds = np.stack([0.2 * note + 0.01 * rng.normal(size=len(turns)) for note in notes]).astype(np.float32)
    rows: dict[str, tuple[Callable[[], object], float]] = {
        "ours, 16 × 4 s": (lambda: track_f0(torch.from_numpy(sounds), SAMPLE_HZ), 64.0),
        "ours, 1 × 4 s": (lambda: ours(sounds[0]), 4.0),
        "ours, 16 × 4 s, 125 rows per second": (
            lambda: track_f0(torch.from_numpy(sounds), SAMPLE_HZ, rate=125),
            64.0,
        ),
        "ours, 16 × 4 s, lowest=80": (lambda: track_f0(torch.from_numpy(sounds), SAMPLE_HZ, lowest=80), 64.0),
        "loudness, 16 × 4 s": (lambda: loudness_curve(torch.from_numpy(sounds), SAMPLE_HZ), 64.0),
    }
    rows |= {
        f"{name}, 1 × 4 s": (lambda t=track: t(sounds[0]), 4.0)
        for name, track in trackers.items()
        if track is not ours
    }
    for name, (run, seconds) in rows.items():
        run()
        spent = []
        for _ in range(rounds):
            begin = time.process_time()
            run()
            spent.append(time.process_time() - begin)
        print(f"{name:40} {seconds / min(spent):8.1f}")


def main(argv: list[str] | None = None) -> int:
    """Measure and print the tables."""
    options = _parser().parse_args(argv)
    torch.set_num_threads(1)
    trackers: dict[str, Track] = {"ours": ours}
    for peer, track in {"librosa": pyin, "swift-f0": swift}.items():
        if peer not in options.peers:
            continue
        if importlib.util.find_spec(PEERS[peer]) is None:
            print(f"{peer} is not installed, and left out: pip install {peer}.")
            continue
        trackers[peer] = track
    if options.recordings is not None:
        notes = read_notes(options.recordings / "saxophone", options.every)
        compare_notes(trackers, notes, None)
        compare_notes(trackers, notes, 10.0)
        if "librosa" in trackers:
            compare_phrases(trackers, options.recordings / "phrases")
    compare_speed(trackers, options.rounds)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument(
        "--recordings", type=Path, help="folder with saxophone/ and phrases/; only the speed without it"
    )
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--every", type=int, default=1, help="take every so many notes only (default: all)")
    parser.add_argument("--rounds", type=int, default=5)
    return parser


if __name__ == "__main__":
    sys.exit(main())
