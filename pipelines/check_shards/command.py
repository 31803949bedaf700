"""python tools/check_shards.py SOURCE: what can be asked for on a command line, and how it ends."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import PipelineError
from ..terminal import (
    add_import_flag,
    escape_unencodable,
    import_named_modules,
    print_or_end,
    terminate_like_interrupt,
)

__all__ = ["main"]

SHOWN = 10
FINE, DAMAGED, FAILED, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Check, and print what was found: 0 sound, 1 damage, 2 could not check, 130 interrupted, 141 if not read."""
    escape_unencodable()
    import_named_modules("check_shards", argv)
    parser = _parser()
    options = parser.parse_args(argv)
    _refuse_what_makes_no_sense(parser, options)
    try:
        with terminate_like_interrupt():
            shows_one = options.example is not None or options.position is not None
            code, text = _show(options) if shows_one else _check(options)
    except (PipelineError, ValueError, ImportError) as error:
        print(f"check_shards: {error}", file=sys.stderr)
        return FAILED
    except OSError as error:
        print(f"check_shards: {error.filename or options.source}: {error.strerror or error}.", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("check_shards: Interrupted.", file=sys.stderr)
        return INTERRUPTED
    return print_or_end(text) or code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="check_shards",
        description="Compare the tars, indexes, manifest, names and tables of a set of shards with each other, and say "
        "what it holds. Or show one example: with --example or --position.",
        epilog="exit status: 0 sound, 1 damage found, 2 it could not be checked",
    )
    add = parser.add_argument
    add(
        "source",
        help="a folder of shards, or of several sets; a tar; a pattern; or a URL of shards (s3://, https://, …)",
    )
    add("--decode", action="store_true", help="decode every example whole too")
    add(
        "--repair",
        action="store_true",
        help="make again what follows from the tars or the manifest; no tar is touched",
    )
    add(
        "--json", action="store_true", help="print one JSON document: findings, their true numbers, and the summary"
    )
    add(
        "--most",
        type=int,
        default=SHOWN,
        metavar="NUM",
        help=f"findings of a kind that are shown (default: {SHOWN})",
    )
    add(
        "--threads",
        type=int,
        metavar="NUM",
        help="shards that are read at a time (default: one per core, up to 16)",
    )
    one = parser.add_argument_group("one example")
    one.add_argument("--example", metavar="KEY", help="show the example with this key")
    one.add_argument("--position", type=int, metavar="NUM", help="show the example at this position of an epoch")
    one.add_argument("--epoch", type=int, metavar="NUM", help="of --position (default: 0)")
    one.add_argument(
        "--seed", type=int, help="of --position: the order of shuffle=True with this seed (default: as stored)"
    )
    one.add_argument("--out", type=Path, metavar="FILE", help="write the picture, the sound (.wav) or a film strip")
    one.add_argument(
        "--type", default="image", metavar="NAME", help="which set of a folder of several (default: image)"
    )
    add_import_flag(parser)
    return parser


def _refuse_what_makes_no_sense(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    shows_one = options.example is not None or options.position is not None
    if options.example is not None and options.position is not None:
        parser.error("--example and --position: name one of them.")
    if shows_one and (options.decode or options.repair):
        parser.error("--example and --position show one example. Leave out --decode and --repair.")
    if options.out is not None and not shows_one:
        parser.error("--out is for one example. Name it by --example or --position.")
    if options.position is None and (options.epoch is not None or options.seed is not None):
        parser.error("--epoch and --seed belong to --position.")
    if options.most < 1:
        parser.error("--most must be at least 1.")


def _check(options: argparse.Namespace) -> tuple[int, str]:
    from .checking import CheckOptions, check_shards
    from .report import report_lines

    chosen = CheckOptions(decode=options.decode, repair=options.repair, threads=options.threads)
    report = check_shards(options.source, chosen, progress=True)
    if options.json:
        text = json.dumps(report.to_json(), indent=1)
    else:
        text = "\n".join(report_lines(report, most=options.most))
    return FINE if report.is_sound else DAMAGED, text


def _show(options: argparse.Namespace) -> tuple[int, str]:
    from .example_file import write_example
    from .one_example import Place, example_json, example_lines, find_example

    place = Place(key=options.example, position=options.position, epoch=options.epoch or 0, seed=options.seed)
    shown = find_example(options.source, place, options.type)
    try:
        text = json.dumps(example_json(shown), indent=1) if options.json else "\n".join(example_lines(shown))
        if options.out is not None:
            said = write_example(shown, options.out)
            text += "" if options.json else f"\n  written    {options.out}: {said}"
    finally:
        shown.close()
    return FINE, text
