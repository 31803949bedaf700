"""`python -m dirvae.report RUN`: the report of a run again, or of several runs one page that compares them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from dirvae.command_line import (
    FlagParser,
    exit_code_of,
    parse_flags,
    require_packages,
    spelled,
)
from dirvae.run.folder import is_run
from dirvae.training.errors import TrainingError, TrainingWarning
from pipelines.errors import PipelineError
from pipelines.terminal import escape_unencodable, print_or_end

__all__ = ["main"]

COMPARISON = Path("comparison.html")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page and print its path: 0, 1 for an error, 130 after Ctrl-C, 141 if the reader closed the pipe."""
    escape_unencodable()
    given = parse_flags(_parser(), spelled(sys.argv[1:] if argv is None else argv))
    with warnings.catch_warnings():
        warnings.simplefilter("always", TrainingWarning)
        warnings.showwarning = _show_warning
        return exit_code_of(
            lambda: _report(given.runs, given.out, given.device, given.label), (TrainingError, PipelineError)
        )


def _report(runs: Sequence[Path], out: Path | None, device: str, label: str | None) -> int:
    path = _write(runs, out, device, label)
    return print_or_end(f"{'report' if len(runs) == 1 else 'comparison'}: {path}")


def _write(runs: Sequence[Path], out: Path | None, device: str, label: str | None) -> Path:
    from dirvae.training.errors import ConfigError

    for run in runs:
        if not is_run(run):
            raise ConfigError(f"{run}: is not a run. Name folders that dirvae.train wrote, such as runs/image.")
    if len(runs) == 1 and out is not None:
        raise ConfigError(f"--out {out}: the report of one run is written into its folder. Leave --out out.")
    if len(runs) > 1 and label is not None:
        raise ConfigError(f"--label {label}: colours the report of one run. Leave --label out.")
    require_packages()
    if len(runs) == 1:
        from dirvae.run.report import write_run_report

        return write_run_report(runs[0], device=device, label=label)
    from dirvae.run.comparison import write_comparison

    return write_comparison(runs, COMPARISON if out is None else out, device=device)


def _show_warning(message: Warning | str, *place: object, **more: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _parser() -> FlagParser:
    parser = FlagParser(
        prog="python -m dirvae.report",
        description="Write the report of a run again, or a page that compares several runs.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder, such as runs/image")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"page of several runs (default {COMPARISON}); that of one run is report.html in its folder",
    )
    parser.add_argument(
        "--label", metavar="NAME", help="factor or category that colours the report of one run; that of the run"
    )
    parser.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu (default), cuda or auto")
    return parser


if __name__ == "__main__":
    sys.exit(main())
