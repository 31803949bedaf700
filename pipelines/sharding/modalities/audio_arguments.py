"""The flags of `AudioSettings` on the command line."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["add_arguments"]


def add_arguments(group: Any) -> None:
    """The flags of these settings."""
    add = group.add_argument
    add("--segment", type=float, metavar="SECONDS", help="cut into examples of this length, the last shorter")
    add("--sample-rate", type=int, metavar="HZ", help="resample to this rate")
    add("--channels", type=int, metavar="NUM", help="1 is their mean, more are the first of them or one repeated")
    add("--codec", metavar="NAME", help="pack all as wav or flac (default: keep, files as they are)")
    add(
        "--curve",
        dest="curves",
        type=_parse_curve,
        action=_AddCurve,
        metavar="FIELD=ROWS",
        help="with --segment: an npy field that is cut as well, and its rows per second: f0.npy=250",
    )
    add(
        "--features",
        action="append",
        metavar="NAMES",
        help="compute these of each recording: names that installed packages announce, module:function or "
        "NAME=module:function, with commas between them",
    )
    add("--overwrite-features", action="store_true", help="also where a file has their name")


class _AddCurve(argparse.Action):
    """Collects the curves, as `AudioSettings` has them."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        name, rate = values
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest, None) or {}), name: rate})


def _parse_curve(text: str) -> tuple[str, float]:
    name, _, rate = text.partition("=")
    try:
        return name, float(rate)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a field with its rows per second, such as f0.npy=250"
        ) from None
