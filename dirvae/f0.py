"""`python -m dirvae.f0 FILE`: the pitch, its confidence and the loudness of recordings, as CSV on standard output."""

from __future__ import annotations

import argparse
import csv
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from dirvae.choices import CONTROL_RATE, HIGHEST_HZ, LOWEST_HZ
from dirvae.command_line import MissingPackageError, parse_flags, require_packages, spelled
from pipelines.errors import PipelineError
from pipelines.terminal import escape_unencodable, print_to_nowhere

if TYPE_CHECKING:
    import torch

    from dirvae.ddsp.pitch import Pitch, Tracker

__all__ = ["main"]

TRACKERS = ("dirvae", "swift-f0")
COLUMNS = ("seconds", "f0_hz", "confidence", "loudness_db")


class UsageError(Exception):
    """What the user can put right; its text is the whole message."""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the rows of all files.

    Returns 0, 1 where one of several files has no rows or they cannot be written, 2 for a mistake, 130 after Ctrl-C,
    141 if the reader closed the pipe.
    """
    escape_unencodable()
    options = parse_flags(_parser(), spelled(sys.argv[1:] if argv is None else argv))
    try:
        require_packages(also="audio")
    except MissingPackageError as error:
        return _complain(str(error), 2)
    from dirvae.recordings import RecordingError

    try:
        _check_range(options)
        files = [file for path in options.files for file in _files(path)]
        return 1 if _print_rows(files, options) else 0
    except (UsageError, RecordingError, PipelineError, ImportError) as error:
        return _complain(str(error), 2)
    except BrokenPipeError:
        print_to_nowhere()
        return 128 + signal.SIGPIPE
    except OSError as error:
        print_to_nowhere()
        return _complain(f"{error.filename or 'standard output'}: {error.strerror or error}.", 1)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _complain(sentence: str, code: int) -> int:
    print(f"f0: {sentence}", file=sys.stderr)
    return code


def _print_rows(files: Sequence[Path], options: argparse.Namespace) -> int:
    """A line of names, then the rows; a column names the file unless one alone is asked for. How many have no rows."""
    from dirvae.recordings import RecordingError

    writer = csv.writer(sys.stdout, lineterminator="\n")
    is_one = len(options.files) == 1 and not options.files[0].is_dir()
    failed = 0
    names: tuple[str, ...] = COLUMNS if is_one else ("file", *COLUMNS)
    for file in files:
        try:
            rows = list(_rows(file, options))
        except RecordingError as error:
            if is_one:
                raise
            failed += _complain(str(error), 1)
            continue
        if names:
            writer.writerow(names)
            names = ()
        writer.writerows(rows if is_one else ((str(file), *row) for row in rows))
    sys.stdout.flush()
    return failed


def _rows(file: Path, options: argparse.Namespace) -> Iterator[tuple[str, str, str, str]]:
    import torch

    from dirvae.ddsp.loudness import loudness_curve
    from dirvae.recordings import RecordingError, read_recording

    samples, sample_rate = read_recording(file)
    if not len(samples):
        return
    sound = torch.from_numpy(samples)[None]
    try:
        pitch = _tracker(options, sample_rate)(sound, sample_rate, rate=options.rate)
        level = loudness_curve(sound, sample_rate, rate=options.rate)
    except ValueError as error:
        raise RecordingError(f"{file}: {error}") from error
    columns = (pitch.f0.seconds(), pitch.f0.values[0], pitch.confidence.values[0], level.values[0])
    for seconds, f0, confidence, decibel in zip(*(column.tolist() for column in columns), strict=True):
        yield f"{seconds:.6f}", f"{f0:.3f}", f"{confidence:.4f}", f"{decibel:.2f}"


def _tracker(options: argparse.Namespace, sample_rate: int) -> Tracker:
    from dirvae.ddsp.pitch import track_f0, track_f0_swift
    from dirvae.ddsp.pitch.tracking import highest_pitch

    if options.tracker == "swift-f0":
        return track_f0_swift
    lowest, highest = _range(options)
    highest = highest_pitch(sample_rate, highest)

    def track(samples: torch.Tensor, sample_rate: Fraction | float, *, rate: Fraction | float = 250) -> Pitch:
        return track_f0(samples, sample_rate, rate=rate, lowest=lowest, highest=highest)

    return track


def _range(options: argparse.Namespace) -> tuple[float, float]:
    """The lowest and the highest pitch, in Hz."""
    lowest = LOWEST_HZ if options.lowest is None else options.lowest
    return lowest, HIGHEST_HZ if options.highest is None else options.highest


def _check_range(options: argparse.Namespace) -> None:
    """Raise `UsageError` for a range that no recording could have, or that the tracker does not heed."""
    lowest, highest = _range(options)
    if options.tracker == "swift-f0" and (options.lowest, options.highest) != (None, None):
        name = "--highest" if options.lowest is None else "--lowest"
        raise UsageError(f"{name} is not heeded by --tracker swift-f0. Leave it out, or use --tracker dirvae.")
    if not 10 <= lowest < highest:
        raise UsageError(
            f"lowest is {lowest} and highest {highest}; they must be pitches in Hz, 10 or more, the lower one first."
        )


def _files(path: Path) -> list[Path]:
    """A file itself; of a folder what is a recording, or named like one, in it and below, by their names."""
    if not path.is_dir():
        if not path.exists():
            raise UsageError(f"{path}: there is no such file. Name a recording.")
        return [path]
    found = [file for file in sorted(path.rglob("*")) if file.is_file() and _is_recording(file)]
    if not found:
        raise UsageError(f"{path}: holds no recordings. Name a recording, or a folder with some.")
    return found


def _is_recording(file: Path) -> bool:
    """Whether it is one, or is named like one and begins like nothing known: then it is damaged."""
    from pipelines.storage.media_types import is_media_name, sniff_file

    modality = sniff_file(file)
    is_named_so = is_media_name(file.name, "audio") and not file.name.startswith(".")
    return modality == "audio" or (modality is None and is_named_so)


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


def _rate(text: str) -> Fraction:
    """Rows per second as they are written, a fraction as well."""
    try:
        value = Fraction(text) if "/" in text else Fraction(str(_positive("rows per second")(text)))
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rows per second above 0")
    return value


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
    add(
        "--rate",
        type=_rate,
        default=CONTROL_RATE,
        metavar="RATE",
        help="rows per second, such as 250 or 250/3 (default: 250)",
    )
    add("--lowest", type=_positive("Hz"), metavar="HZ", help=f"lowest pitch in Hz (default: {LOWEST_HZ:g})")
    add("--highest", type=_positive("Hz"), metavar="HZ", help=f"highest pitch in Hz (default: {HIGHEST_HZ:g})")
    add("--tracker", choices=TRACKERS, default=TRACKERS[0], help="dirvae (default), or the swift-f0 package")
    return parser


if __name__ == "__main__":
    sys.exit(main())
