"""What command lines share."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

__all__ = [
    "add_import_flag",
    "escape_unencodable",
    "find_modules_here",
    "import_named_modules",
    "print_or_end",
    "print_to_nowhere",
    "terminate_like_interrupt",
]


def escape_unencodable() -> None:
    """From now on, print characters that the encoding of a terminal or log lacks as escapes, such as `\\u65e5`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_to_nowhere() -> None:
    """From now on, after nobody read what was printed: Python would fail again when it ends."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def print_or_end(text: str) -> int:
    """Print a text: 0, or 141 if a reader such as `head` has closed the pipe before the end."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        print_to_nowhere()
        return 128 + signal.SIGPIPE
    return 0


def find_modules_here() -> None:
    """From now on, find modules in the working folder as well, after all others."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)


def add_import_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--import MODULE`, which `import_named_modules` has followed already."""
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        default=[],
        metavar="MODULE",
        help="import this module first, found also in this folder: it registers modalities of its own",
    )


def import_named_modules(prog: str, argv: Sequence[str] | None) -> None:
    """Import the modules that `--import` names, before choices and flags are made of the table of modalities.

    Ends the program with one sentence for a module that is not found.
    """
    parser = argparse.ArgumentParser(
        prog=prog, usage=f"{prog} … --import MODULE …", add_help=False, allow_abbrev=False
    )
    add_import_flag(parser)
    names = parser.parse_known_args(argv)[0].imports
    if names:
        find_modules_here()
    for name in names:
        if not name:
            parser.error("--import needs the name of a module.")
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            parser.error(f"--import {name}: {error}")


@contextlib.contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """Within the block SIGTERM raises `KeyboardInterrupt`, so that children, files and locks are cleaned up."""

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
