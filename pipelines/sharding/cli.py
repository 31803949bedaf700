"""python tools/make_shards.py SOURCE: what can be asked for on a command line, and the report at the end."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PipelineError
from ..modality import find_modality
from ..terminal import (
    escape_unencodable,
    find_modules_here,
    import_named_modules,
    print_to_nowhere,
    terminate_like_interrupt,
)
from .cli_flags import make_parser
from .wording import counted, printable

if TYPE_CHECKING:
    from ..storage.walk import Failure
    from .request import PackReport
    from .set_job import SetReport

__all__ = ["looking_command", "main"]

SHOWN_FAILURES = 20
OF_PACKING = ["dry_run", "out", "workers", "strict", "append", "overwrite", "retry_failed", "engine", "ray_address"]
"""Flags that do not change what is explained."""
MODULE_COMMAND = "python -m pipelines.show_batch"


def main(argv: Sequence[str] | None = None) -> int:
    """Pack a folder, and say how it went: 0 done, 1 could not finish, 2 refused, 130 interrupted, 141 if not read."""
    escape_unencodable()
    import_named_modules("make_shards", argv)
    options = vars(make_parser().parse_args(argv))
    source, _ = options.pop("source"), options.pop("imports")
    if "features" in options:
        find_modules_here()
    try:
        return _run(source, options)
    except BrokenPipeError:
        print_to_nowhere()
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return _complain("Interrupted. Finished shards are kept; the same command continues from there.", 130)


def _run(source: str, options: dict[str, Any]) -> int:
    from .api import make_shards
    from .source_reader import PackingStoppedError

    try:
        with terminate_like_interrupt():
            if options.pop("explain", False):
                return _explain(source, options)
            if options.pop("dry_run", False):
                return _forecast(source, options)
            report = make_shards(source, progress=True, **options)
    except PackingStoppedError as error:
        _print_failures(error.failures, "")
        return _complain(str(error), 1)
    except (PipelineError, ValueError) as error:
        return _complain(str(error), 2)
    _print_report(report)
    sys.stdout.flush()
    return 0


def _explain(source: str, options: dict[str, Any]) -> int:
    from .explaining import explain_folder

    for name in OF_PACKING:
        options.pop(name, None)
    for line in explain_folder(source, **options):
        print(line, flush=True)
    return 0


def _forecast(source: str, options: dict[str, Any]) -> int:
    from .forecast import forecast_shards
    from .forecast_report import forecast_lines

    forecast = forecast_shards(source, **options)
    for line in forecast_lines(forecast):
        print(line)
    _print_failures(tuple(failure for one in forecast.sets for failure in one.failures), "")
    sys.stdout.flush()
    refused = next((one for one in forecast.sets if one.refusal), None)
    return _complain(refused.refusal, 1 if refused.would_stop else 2) if refused else 0


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


def looking_command(shards: Path | str, program: str) -> str:
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
