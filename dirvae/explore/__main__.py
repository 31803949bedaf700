"""`python -m dirvae.explore RUN`: the latents of a run as strips, sheets, sounds and charts, or in a local application.

flags ──▶ registry ──▶ run and its examples ──▶ sheet or chart ──▶ decoded ──▶ PNG, GIF, WAV or SVG
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dirvae.command_line import exit_code_of, parse_flags, require_packages, spelled
from dirvae.explore.flags import (
    chosen_exploration,
    flag_of,
    given_parameters,
    listed,
    make_parser,
    values_of,
)
from dirvae.explore.registry import EXPLORATIONS
from dirvae.explore.sheet import Chart, ExplorationError
from dirvae.run.folder import is_run
from dirvae.training.errors import TrainingError
from pipelines.errors import PipelineError
from pipelines.terminal import escape_unencodable, print_or_end

if TYPE_CHECKING:
    from dirvae.explore.sheet import Sheet
    from dirvae.run.explored_run import ExploredRun

__all__ = ["main"]

SHEETS = {".png": "a picture", ".gif": "an animation of clips or of a path of pictures", ".wav": "sounds"}
CHARTS = {".png": "a picture", ".svg": "a drawing"}


def main(argv: Sequence[str] | None = None) -> int:
    """Explore a run: 0, 1 for an error, 2 for a mistake in the flags, 130 after Ctrl-C, 141 for a closed pipe."""
    escape_unencodable()
    options = parse_flags(make_parser(), spelled(sys.argv[1:] if argv is None else argv))
    if options.list:
        return print_or_end("\n".join(listed()))
    return exit_code_of(lambda: _explore(options), (ExplorationError, TrainingError, PipelineError))


def _explore(options: argparse.Namespace) -> int:
    if not options.run:
        raise ExplorationError("no run is named. Name the folder of a run, such as runs/image.")
    for run in options.run:
        if not is_run(run):
            raise ExplorationError(
                f"{run}: is not a run. Name a folder that dirvae.train wrote, such as runs/image."
            )
    exploration = chosen_exploration(options)
    if exploration is None:
        return _serve(options)
    values = values_of(options, exploration)
    _refuse_several(options)
    out = Path(f"{exploration.name}.png") if options.out is None else options.out
    _check_out(out)
    require_packages()
    from dirvae.run.explored_run import open_explored_run

    explored = open_explored_run(
        options.run[0],
        checkpoint=(options.checkpoint or ["best"])[0],
        source=options.source,
        most=options.most,
        device=options.device,
    )
    made = exploration.run(explored, **values)
    content = _chart_file(made, out) if isinstance(made, Chart) else _sheet_file(explored, made, out)
    from pipelines.storage.durable_files import write_durably

    write_durably(out, content)
    return print_or_end(f"{made.caption}\nwritten: {out}")


def _serve(options: argparse.Namespace) -> int:
    """Serve the application until Ctrl-C."""
    given = [*given_parameters(options), *(["out"] if options.out is not None else [])]
    if given:
        raise ExplorationError(
            f"--{given[0]} is given, but not what to write. Add one of {', '.join(map(flag_of, EXPLORATIONS))}."
        )
    require_packages(extra="explore")
    explorer = importlib.import_module("dirvae.explorer")
    explorer.serve_run(
        options.run,
        checkpoints=options.checkpoint or ["best"],
        source=options.source,
        most=options.most,
        device=options.device,
        host=options.host,
        port=options.port,
    )
    return 0


def _refuse_several(options: argparse.Namespace) -> None:
    if len(options.run) > 1 or len(options.checkpoint or ()) > 1:
        what = "runs" if len(options.run) > 1 else "checkpoints"
        raise ExplorationError(f"{what}: one file shows one of them. Name one, or leave out what to write.")


def _check_out(out: Path) -> None:
    known = dict.fromkeys([*SHEETS, *CHARTS])
    if out.suffix.lower() not in known:
        raise ExplorationError(f"{out}: what to write follows from the name. Let it end with {', '.join(known)}.")
    if not out.absolute().parent.is_dir():
        raise ExplorationError(f"{out}: there is no such folder. Make it first.")


def _sheet_file(explored: ExploredRun, sheet: Sheet, out: Path) -> bytes:
    from dirvae.drawing.explored_files import sheet_gif, sheet_png, sheet_wav

    write = {".png": sheet_png, ".gif": sheet_gif, ".wav": sheet_wav}.get(out.suffix.lower())
    if write is None:
        raise ExplorationError(_other_suffix(out, "a sheet", SHEETS))
    try:
        return write(sheet, explored.cells(sheet))
    except ValueError as error:
        raise ExplorationError(f"{out}: {error}. Give it a name that ends with .png.") from error


def _chart_file(chart: Chart, out: Path) -> bytes:
    from dirvae.drawing.explored_files import chart_png, chart_svg

    if out.suffix.lower() not in CHARTS:
        raise ExplorationError(_other_suffix(out, "a chart", CHARTS))
    if out.suffix.lower() == ".svg":
        return chart_svg(chart.svg, chart.caption)
    return chart_png(chart.draw, chart.caption, inches=chart.inches)


def _other_suffix(out: Path, what: str, known: dict[str, str]) -> str:
    offered = ", ".join(f"{suffix} ({meaning})" for suffix, meaning in known.items())
    return f"{out}: {what} is not written as {out.suffix}. Give it a name that ends with {offered}."


if __name__ == "__main__":
    sys.exit(main())
