"""python tools/make_shards.py SOURCE: what can be asked for on a command line, and the report at the end."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from ..errors import PipelineError
from ..modality import Modality, find_modality, packed_modalities
from ..terminal import (
    add_import_flag,
    escape_unencodable,
    find_modules_here,
    import_named_modules,
    print_to_nowhere,
)
from .wording import counted, plurals, printable

if TYPE_CHECKING:
    from ..storage.walk import Failure
    from .api import PackReport
    from .set_job import SetReport

__all__ = ["looking_command", "main"]

SHOWN_FAILURES = 20
MODULE_COMMAND = "python -m pipelines.show_batch"
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def main(argv: Sequence[str] | None = None) -> int:
    """Pack a folder, and say how it went: 0 done, 1 could not finish, 2 refused, 130 interrupted, 141 if not read."""
    escape_unencodable()
    import_named_modules("make_shards", argv)
    options = vars(_parser().parse_args(argv))
    source, _ = options.pop("source"), options.pop("imports")
    if "features" in options:
        find_modules_here()
    try:
        return _run(source, options)
    except BrokenPipeError:
        print_to_nowhere()
        return 128 + signal.SIGPIPE


def _run(source: str, options: dict[str, Any]) -> int:
    from .api import make_shards
    from .source_reader import PackingStoppedError

    try:
        with _terminate_like_interrupt():
            if options.pop("explain", False):
                return _explain(source, options)
            report = make_shards(source, progress=True, **options)
    except PackingStoppedError as error:
        _print_failures(error.failures, "")
        return _complain(str(error), 1)
    except (PipelineError, ValueError) as error:
        return _complain(str(error), 2)
    except KeyboardInterrupt:
        return _complain("Interrupted. Finished shards are kept; the same command continues from there.", 130)
    _print_report(report)
    sys.stdout.flush()
    return 0


def _explain(source: str, options: dict[str, Any]) -> int:
    from .explaining import explain_folder

    for name in ("out", "workers", "strict", "append", "overwrite"):
        options.pop(name, None)
    for line in explain_folder(source, **options):
        print(line, flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    packed = packed_modalities()
    parser = argparse.ArgumentParser(
        prog="make_shards",
        description=f"Pack a folder of {plurals(packed, 'or')} into webdataset tar shards with an index. Stop it at "
        "any time: the same command continues where it stopped and gives the same bytes.",
        argument_default=argparse.SUPPRESS,
    )
    add = parser.add_argument
    names = [modality.name for modality in packed]
    what = f"folder of {plurals(packed, 'or')}, of several of these, or of folders {', '.join(names)}"
    add("source", help=f"{what}; or the URL of one (s3, gs, az)")
    add("--out", help="where the shards go (default: the last name in SOURCE, below ./shards)")
    add("--only", choices=names, help="pack this modality alone")
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
    add("--workers", type=int, metavar="NUM", help="processes (default: one per core; 0: none but this one)")
    add("--classes", action="store_true", help="number the sub-folders: the field cls, and classes.json")
    add("--labels", metavar="TABLE", help="CSV or JSON Lines: the row of each file goes into its field json")
    add("--label-key", metavar="COLUMN", help="column of the table that names the files (default: file_name)")
    add("--decode", action="store_true", help="decode every file whole, to find damaged ones")
    add(
        "--strict",
        action="store_true",
        help="any file that cannot be packed is an error, and any fault in annotations or a table",
    )
    add(
        "--explain",
        action="store_true",
        help="pack nothing; say what is in the files, and what a clip of them costs",
    )
    known = parser.add_mutually_exclusive_group()
    known.add_argument(
        "--append", action="store_true", help="add files that are new to a finished set, in new shards"
    )
    known.add_argument("--overwrite", action="store_true", help="remove the shards that are there; make all again")
    add_import_flag(parser)
    _add_media_options(parser)
    return parser


def _add_media_options(parser: argparse.ArgumentParser) -> None:
    owners: dict[str, str] = {}
    for modality in packed_modalities():
        if (add_arguments := modality.part("add_arguments")) is not None:
            add_arguments(_Flags(parser, modality, owners))


class _Flags:
    """An argument group in which a flag that is there already, for all modalities or another one, stays as it is.

    The help of one that is another modality's as well says what it does for each: `images: …; videos: …`.
    """

    def __init__(self, parser: argparse.ArgumentParser, modality: Modality, owners: dict[str, str]) -> None:
        self._parser, self._group = parser, parser.add_argument_group(modality.plural)
        self._plural, self._owners = modality.plural, owners

    def add_argument(self, *flags: str, **settings: Any) -> None:
        """As that of argparse. Values are checked by the settings of the modality that is packed."""
        known = next((self._parser._option_string_actions.get(flag) for flag in flags), None)
        if known is None:
            self._owners[flags[0]] = self._plural
            self._group.add_argument(*flags, **settings)
        elif (owner := self._owners.get(flags[0])) is not None and settings.get("help"):
            said = str(known.help) if str(known.help).startswith(f"{owner}: ") else f"{owner}: {known.help}"
            known.help = f"{said}; {self._plural}: {settings['help']}"


def _parse_bytes(text: str) -> int:
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in UNITS else (text, "")
    if not (number.isascii() and number.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes, such as 1000000 or 256M")
    return int(number) * UNITS.get(unit, 1)


def _print_report(report: PackReport) -> None:
    for note in report.notes:
        print(note)
    for one in report.sets:
        _print_set(one)
    if report.skipped:
        packed = ", ".join(find_modality(one.modality).with_article for one in report.sets)
        print(f"{counted(report.skipped, 'file')} passed over: neither {packed} nor a sidecar file of one.")
    _print_failures(report.failures, " All of them are in manifest.json.")
    for one in report.sets:
        if one.new_shards and find_modality(one.modality).draw_cells is not None:
            print(f"Look at it: {looking_command(one.out, sys.argv[0])}")


def looking_command(shards: Path, program: str) -> str:
    """The command line that draws a batch of a set of shards, by the same way that `program`, this one, was started."""
    started = Path(program)
    if started.name == "make_shards.py" and started.parent.name == "tools":
        command = f"python {shlex.quote(str(started.with_name('show_batch.py')))}"
    else:
        command = "show_batch" if started.stem == "make_shards" and started.suffix != ".py" else MODULE_COMMAND
    return f"{command} {printable(shlex.quote(str(shards)))}"


def _print_set(one: SetReport) -> None:
    modality = find_modality(one.modality)
    noun = modality.piece if one.is_cut else modality.noun
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
    """SIGTERM ends the program as Ctrl-C does: children stopped, unfinished shards removed, the lock freed."""

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
