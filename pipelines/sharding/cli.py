"""python tools/make_shards.py SOURCE: what can be asked for on a command line, and what is told at the end."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType

from ..errors import PipelineError
from ..storage.walk import Failure
from .api import PackReport, make_shards
from .set_job import SetReport
from .settings import PACKED_KINDS
from .source_reader import PackingStoppedError
from .wording import FILE_OF, a_kind, counted, printable

__all__ = ["main"]

SHOWN_FAILURES = 20
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def main(argv: Sequence[str] | None = None) -> int:
    """Pack a folder, and say how it went: 0 done, 1 could not finish, 2 refused, 130 interrupted."""
    options = vars(_parser().parse_args(argv))
    source = options.pop("source")
    if "curves" in options:
        options["curves"] = dict(options["curves"])
    try:
        with _terminate_like_interrupt():
            report = make_shards(source, progress=True, **options)
    except PackingStoppedError as error:
        _print_failures(error.failures, "")
        return _complain(str(error), 1)
    except (PipelineError, ValueError) as error:
        return _complain(str(error), 2)
    except KeyboardInterrupt:
        return _complain("Interrupted. Finished shards are kept; the same command goes on from there.", 130)
    _print_report(report)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make_shards",
        description="Pack a folder of images or recordings into webdataset tar shards with an index. Killed and "
        "started again, it goes on where it was and ends in the same bytes.",
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    add("source", help="folder of images, of recordings, of both, or of the folders image and audio")
    add("--out", help="where the shards go (default: the last part of SOURCE below ./shards)")
    add("--only", choices=PACKED_KINDS, help="pack this kind of media alone")
    order = parser.add_mutually_exclusive_group()
    order.add_argument("--shuffle", type=int, metavar="SEED", help="seed of the order (default: 0)")
    order.add_argument(
        "--no-shuffle", dest="shuffle", action="store_const", const=None, help="pack in the order of the paths"
    )
    add(
        "--shard-bytes",
        type=_parse_bytes,
        metavar="BYTES",
        help="source bytes in a shard, such as 256M (default: a sixteenth of all, between 16M and 256M)",
    )
    add("--shard-examples", type=int, metavar="NUM", help="most source files in a shard (default: 10000)")
    add("--workers", type=int, metavar="NUM", help="processes (default: one a core; 0: none but this one)")
    add("--classes", action="store_true", help="number the sub-folders: the field cls, and classes.json")
    add("--decode", action="store_true", help="decode every file whole, to find damaged ones")
    add("--strict", action="store_true", help="any file that cannot be packed is an error")
    known = parser.add_mutually_exclusive_group()
    known.add_argument(
        "--append", action="store_true", help="add files that are new to a finished set, in new shards"
    )
    known.add_argument("--overwrite", action="store_true", help="remove the shards that are there; make all anew")
    _add_media_options(parser)
    return parser


def _add_media_options(parser: argparse.ArgumentParser) -> None:
    image = parser.add_argument_group("images").add_argument
    image("--resize", type=int, metavar="PIXELS", help="make upright RGB JPEGs with this shorter side")
    image("--quality", type=int, metavar="1-95", help="JPEG quality with --resize (default: 90)")
    audio = parser.add_argument_group("recordings").add_argument
    audio("--segment", type=float, metavar="SECONDS", help="cut into examples of this length, the last shorter")
    audio("--sample-rate", type=int, metavar="HZ", help="resample to this rate")
    audio("--channels", type=int, metavar="NUM", help="1 is their mean, more are the first of them or one repeated")
    audio("--codec", choices=("keep", "wav", "flac"), help="what is packed (default: keep, files as they are)")
    audio(
        "--curve",
        dest="curves",
        type=_parse_curve,
        action="append",
        metavar="FIELD=ROWS",
        help="with --segment: an npy field that is cut as well, and its rows a second: f0.npy=250",
    )


def _parse_curve(text: str) -> tuple[str, float]:
    name, _, rate = text.partition("=")
    try:
        return name, float(rate)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no field with its rows a second, such as f0.npy=250"
        ) from None


def _parse_bytes(text: str) -> int:
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in UNITS else (text, "")
    if not number.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes, such as 1000000 or 256M")
    return int(number) * UNITS.get(unit, 1)


def _print_report(report: PackReport) -> None:
    for note in report.notes:
        print(note)
    for one in report.sets:
        _print_set(one)
    if report.skipped:
        kinds = ", ".join(a_kind(one.modality) for one in report.sets)
        print(f"{counted(report.skipped, 'file')} passed over: neither {kinds} nor a sidecar file of one.")
    _print_failures(report.failures, " All of them are in manifest.json.")


def _print_set(one: SetReport) -> None:
    noun = "segment" if one.is_cut else FILE_OF[one.modality]
    size = f"{counted(one.examples, noun)} in {counted(one.shards, 'shard')}, {one.bytes / 1e6:,.1f} MB"
    if one.was_complete:
        print(f"{one.out}: complete already: {size}.")
    else:
        print(f"{one.out}: {size}; {counted(one.new_shards, 'shard')} made in {one.seconds:.1f} s.")


def _print_failures(failures: tuple[Failure, ...], where: str) -> None:
    if failures:
        print(f"{counted(len(failures), 'file')} could not be packed:")
    for failure in failures[:SHOWN_FAILURES]:
        print(f"  {printable(failure.path)}: {failure.reason}")
    if len(failures) > SHOWN_FAILURES:
        print(f"  and {len(failures) - SHOWN_FAILURES:,} more.{where}")


def _complain(sentence: str, code: int) -> int:
    print(f"make_shards: {sentence}", file=sys.stderr)
    return code


@contextlib.contextmanager
def _terminate_like_interrupt() -> Iterator[None]:
    """SIGTERM ends the program as Ctrl-C does: children stopped, parts removed, the lock freed."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
