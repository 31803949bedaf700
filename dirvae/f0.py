"""`python -m dirvae.f0 FILE`: the pitch, its confidence and the loudness of recordings, as CSV on standard output."""

from __future__ import annotations

import argparse
import csv
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from dirvae.ddsp.loudness import loudness_curve
from dirvae.ddsp.pitch import Pitch, Tracker, track_f0, track_f0_swift
from pipelines import PipelineError
from pipelines.decode.audio.channels import to_channels
from pipelines.decode.audio.compressed import CompressedStream
from pipelines.decode.audio.recording import probe_recording
from pipelines.decode.audio.wav import pcm_to_float
from pipelines.decode.errors import UndecodableError
from pipelines.storage.blob import LocalFile
from pipelines.storage.media_types import sniff_file
from pipelines.terminal import escape_unencodable

__all__ = ["main"]

TRACKERS = ("dirvae", "swift-f0")
HIGHEST_SHARE = 0.45
"""Of the sample rate, below which pitches are looked for where it is low."""

COLUMNS = ("seconds", "f0_hz", "confidence", "loudness_db")


class UsageError(Exception):
    """What the user can put right; its text is the whole message."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the rows of all files: 0, 2 for a mistake, 130 after Ctrl-C, 141 if the reader closed the pipe."""
    escape_unencodable()
    options = _parser().parse_args(argv)
    try:
        files = [file for path in options.files for file in _files(path)]
        _print_rows(files, options)
    except (UsageError, PipelineError, ImportError) as error:
        print(f"f0: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())  # or Python would fail again when it ends
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _print_rows(files: Sequence[Path], options: argparse.Namespace) -> None:
    """A line of names, then the rows; with a column for the file's name where there are several."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    is_one = len(files) == 1
    for number, file in enumerate(files):
        rows = list(_rows(file, options))
        if number == 0:
            writer.writerow(COLUMNS if is_one else ("file", *COLUMNS))
        writer.writerows(rows if is_one else ((str(file), *row) for row in rows))
    sys.stdout.flush()


def _rows(file: Path, options: argparse.Namespace) -> Iterator[tuple[str, str, str, str]]:
    samples, sample_rate = _read(file)
    if not np.isfinite(samples).all():
        raise UsageError(f"{file}: holds samples that are not finite. Make it again, or leave it out.")
    if not len(samples):
        return
    sound = torch.from_numpy(samples)[None]
    try:
        pitch = _tracker(options, sample_rate)(sound, sample_rate, rate=options.rate)
        level = loudness_curve(sound, sample_rate, rate=options.rate)
    except ValueError as error:
        raise UsageError(f"{file}: {error}") from error
    columns = (pitch.f0.seconds(), pitch.f0.values[0], pitch.confidence.values[0], level.values[0])
    for seconds, f0, confidence, decibel in zip(*(column.tolist() for column in columns), strict=True):
        yield f"{seconds:.6f}", f"{f0:.3f}", f"{confidence:.4f}", f"{decibel:.2f}"


def _tracker(options: argparse.Namespace, sample_rate: int) -> Tracker:
    if options.tracker == "swift-f0":
        return track_f0_swift
    highest = min(options.highest, HIGHEST_SHARE * sample_rate)

    def track(samples: torch.Tensor, sample_rate: Fraction | float, *, rate: Fraction | float = 250) -> Pitch:
        return track_f0(samples, sample_rate, rate=rate, lowest=options.lowest, highest=highest)

    return track


def _files(path: Path) -> list[Path]:
    """A file itself; of a folder the recordings in it and below, in the order of their names."""
    if not path.is_dir():
        return [path]
    found = [file for file in sorted(path.rglob("*")) if file.is_file() and sniff_file(file) == "audio"]
    if not found:
        raise UsageError(f"{path}: holds no recordings. Name a recording, or a folder with some.")
    return found


def _read(file: Path) -> tuple[NDArray[np.float32], int]:
    """The mean of a recording's channels, (time,), and its sample rate in Hz. Raises `UsageError`."""
    if not file.exists():
        raise UsageError(f"{file}: there is no such file. Name a recording.")
    blob = LocalFile(file)
    try:
        found = probe_recording(blob.read, blob.size)
        if found.wav is not None:
            raw = blob.read(found.wav.data_offset, found.frames * found.wav.frame_bytes)
            samples = pcm_to_float(raw, found.wav)
        else:
            stream = CompressedStream(blob.read, blob.size)
            samples = stream.read(0, found.frames)
            stream.close()
    except UndecodableError as error:
        raise UsageError(f"{file}: cannot be decoded: {error}. Name a recording.") from error
    return np.ascontiguousarray(to_channels(samples, 1)[:, 0]), found.sample_rate


def _positive(unit: str) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {unit} above 0")
        return value

    return read


class _OneSentence(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"f0: {message}. See --help.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _OneSentence(
        prog="python -m dirvae.f0",
        description="Print the pitch and the loudness of recordings as CSV: seconds, f0 in Hz, confidence, dB.",
    )
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE", help="recording, or folder of recordings")
    add("--rate", type=_positive("rows per second"), default=250, help="rows per second (default: 250)")
    add("--lowest", type=_positive("Hz"), default=40.0, help="lowest pitch in Hz (default: 40)")
    add("--highest", type=_positive("Hz"), default=2400.0, help="highest pitch in Hz (default: 2400)")
    add("--tracker", choices=TRACKERS, default=TRACKERS[0], help="dirvae (default), or the swift-f0 package")
    return parser


if __name__ == "__main__":
    sys.exit(main())
