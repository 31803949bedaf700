"""The flags of make_shards, in groups: what is packed, by whom, what is done to a set that is there, and of media."""

from __future__ import annotations

import argparse
from typing import Any

from ..modality import Modality, packed_modalities
from ..terminal import add_import_flag
from .engines import ENGINES
from .wording import plurals

__all__ = ["make_parser"]

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
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
    add(
        "--out",
        help="where the shards go: a folder, or s3://bucket/set (default: the last name in SOURCE, below ./shards)",
    )
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
    _add_engine_options(parser)
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
    _add_set_flags(parser)
    add_import_flag(parser)
    _add_media_options(parser)
    return parser


def _add_set_flags(parser: argparse.ArgumentParser) -> None:
    """What may be done to a set that is there, and whether anything is done."""
    known = parser.add_mutually_exclusive_group()
    known.add_argument(
        "--append", action="store_true", help="add files that are new to a finished set, in new shards"
    )
    known.add_argument("--overwrite", action="store_true", help="remove the shards that are there; make all again")
    parser.add_argument(
        "--retry-failed",
        action="store_true",
        help="of a finished set, try the files again that could not be packed, and no others (with --append: and new)",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="pack nothing; say how many shards and bytes there would be, and how long it would take",
    )


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Who packs: none of it decides the bytes."""
    add = parser.add_argument
    add(
        "--workers",
        type=int,
        metavar="NUM",
        help="processes (default: one per core; 0: none but this one); with --engine ray, most shards at a time "
        "(default: one per CPU of the cluster)",
    )
    add("--engine", choices=ENGINES, help="processes of this machine (default), or a Ray cluster that runs already")
    add(
        "--ray-address",
        metavar="HOST:PORT",
        help="that cluster (default: RAY_ADDRESS, or what `ray start` began on this machine)",
    )


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
