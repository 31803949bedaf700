"""The flags of `python -m dirvae.explore`, made of the registry; nothing heavy is imported."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dirvae.command_line import FlagParser, checkpoint_name
from dirvae.explore.parameters import Parameter
from dirvae.explore.registry import EXPLORATIONS, Exploration
from dirvae.explore.sheet import ExplorationError

__all__ = ["chosen_exploration", "flag_of", "given_parameters", "listed", "make_parser", "values_of"]

DESCRIPTION = """\
Look at the latents of a run. With a flag of the first group a picture, an animation, a sound or a
chart is written; without one the application is served at an address of this machine."""

EXAMPLES = """examples:
  python -m dirvae.explore runs/image
  python -m dirvae.explore runs/image --traverse scene-000003 --components 4 7 --out strip.png
  python -m dirvae.explore runs/image --interpolate scene-000003 scene-000008 --kind aitchison --out path.gif
  python -m dirvae.explore runs/audio --archetypes --out timbres.wav
  python -m dirvae.explore runs/image --usage --out usage.svg
"""

VALUES: dict[str, Callable[[str], Any]] = {
    "keys": str,
    "key": str,
    "components": int,
    "count": int,
    "choice": str,
    "weights": float,
}
METAVARS = {"keys": "KEY", "key": "KEY", "components": "NUMBER", "count": "NUM"}


def chosen_exploration(options: argparse.Namespace) -> Exploration | None:
    """The exploration whose flag was given, or None; the parser allows one."""
    return next((found for found in EXPLORATIONS.values() if getattr(options, found.name) is not None), None)


def given_parameters(options: argparse.Namespace) -> dict[str, Any]:
    """The values of the parameters that were given as flags, by name."""
    return {name: value for name in _flagged_parameters() if (value := getattr(options, name)) is not None}


def values_of(options: argparse.Namespace, exploration: Exploration) -> dict[str, Any]:
    """The values of all given parameters, by name. Raises `ExplorationError` for parameters of other explorations."""
    own = {parameter.name: parameter for parameter in exploration.parameters}
    values = given_parameters(options)
    if foreign := sorted(values.keys() - own):
        takers = [
            flag_of(one.name) for one in EXPLORATIONS.values() if foreign[0] in {p.name for p in one.parameters}
        ]
        raise ExplorationError(
            f"--{foreign[0]} goes with {', '.join(takers)}, but not with {flag_of(exploration.name)}. Leave it out."
        )
    if (first := _value_of_flag(exploration)) is not None and getattr(options, exploration.name):
        if first.name in values:
            raise ExplorationError(
                f"{flag_of(exploration.name)} and --{first.name} both name {first.name}. Give one of them."
            )
        given = getattr(options, exploration.name)
        values[first.name] = given if first.is_list else given[0]
    return values


def _flagged_parameters() -> dict[str, Parameter]:
    """The parameters with a flag. The value of an exploration's first parameter follows its own flag instead."""
    return {one.name: one for found in EXPLORATIONS.values() for one in found.parameters[1:]}


def _value_of_flag(exploration: Exploration) -> Parameter | None:
    """The parameter whose value follows the flag of an exploration; None if it has no parameters."""
    return exploration.parameters[0] if exploration.parameters else None


def flag_of(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def listed() -> list[str]:
    """All explorations with their parameters, as lines of text."""
    lines = []
    for found in EXPLORATIONS.values():
        lines.append(f"{flag_of(found.name)}: {found.summary}")
        for parameter in found.parameters:
            default = "" if parameter.default is None else f" (default {parameter.default})"
            among = f" [{', '.join(parameter.choices)}]" if parameter.choices else ""
            lines.append(f"    --{parameter.name}{among}: {parameter.help}{default}")
    return lines


def make_parser() -> FlagParser:
    """The flags: one per exploration and one per parameter of the registry, and those of the run."""
    parser = FlagParser(
        prog="python -m dirvae.explore",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, nargs="*", metavar="RUN", help="run folder; two for the application")
    parser.add_argument(
        "--list", action="store_true", help="show what can be written, with its parameters, and end"
    )
    group = parser.add_argument_group("what to write").add_mutually_exclusive_group()
    for found in EXPLORATIONS.values():
        first = _value_of_flag(found)
        named: dict[str, Any] = {"dest": found.name, "help": _summary(found)}
        if first is None:
            named |= {"action": "store_const", "const": []}
        elif first.is_list:
            named |= {"nargs": "*", "type": VALUES[first.kind], "metavar": METAVARS[first.kind]}
        else:
            named |= {
                "nargs": "?",
                "const": [],
                "type": _one_of(VALUES[first.kind]),
                "metavar": METAVARS[first.kind],
            }
        group.add_argument(flag_of(found.name), **named)
    _add_parameters(parser)
    _add_run_flags(parser)
    return parser


def _add_parameters(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how", "each goes with some of the flags above; --list says with which")
    for name, parameter in _flagged_parameters().items():
        group.add_argument(
            f"--{name}",
            type=VALUES[parameter.kind],
            nargs="+" if parameter.is_list else None,
            metavar=METAVARS.get(parameter.kind, name.upper()),
            help=_help_of(name),
        )


def _summary(exploration: Exploration) -> str:
    """The help of the flag of an exploration."""
    first, summary = _value_of_flag(exploration), exploration.summary.rstrip(".")
    return (summary if first is None else f"{summary}; {first.help}").replace("%", "%%")


def _one_of(to_value: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """An argparse type that puts the value in a list, for flags whose value may be left out."""
    return lambda text: [to_value(text)]


def _help_of(name: str) -> str:
    """The help of a parameter; if explorations use it differently, all of its meanings."""
    meanings: dict[str, list[str]] = {}
    for found in EXPLORATIONS.values():
        for parameter in found.parameters:
            if parameter.name == name:
                default = "" if parameter.default is None else f", {parameter.default} by default"
                among = f" ({', '.join(parameter.choices)})" if parameter.choices else ""
                meanings.setdefault(f"{parameter.help}{among}{default}", []).append(flag_of(found.name))
    return "; ".join(f"{', '.join(flags)}: {meaning}" for meaning, flags in meanings.items()).replace("%", "%%")


def _add_run_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("run")
    add = group.add_argument
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="file to write: .png; .gif for paths and clips, .wav for sounds, .svg for charts; it is replaced if it "
        "exists (default: the flag's name and .png)",
    )
    add(
        "--checkpoint",
        "--which",
        dest="checkpoint",
        type=checkpoint_name,
        nargs="+",
        metavar="STEP",
        help="best (default), last, or a step; two for the application",
    )
    add("--source", metavar="PATH", help="where the data is, a path or a URL, if it has moved")
    add(
        "--most",
        type=int,
        default=2000,
        metavar="NUM",
        help="examples that are read, held-out ones first (default 2000)",
    )
    add("--device", default="cpu", metavar="DEVICE", help="cpu (default), cuda or auto")
    add(
        "--host",
        default="127.0.0.1",
        metavar="NAME",
        help="of the application (default 127.0.0.1, this machine)",
    )
    add("--port", type=int, default=0, metavar="NUM", help="of the application (default: a free one)")
