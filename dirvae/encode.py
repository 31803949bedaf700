"""`python -m dirvae.encode RUN --shards PATH --out latents.zarr`: a set as the model of a run sees it, as arrays."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dirvae.command_line import (
    FlagParser,
    checkpoint_name,
    exit_code_of,
    fail,
    parse_flags,
    require_packages,
    spelled,
)
from dirvae.run.encode_config import EncodeConfig
from dirvae.run.folder import is_run
from dirvae.training.errors import TrainingError
from pipelines.errors import PipelineError
from pipelines.terminal import escape_unencodable, print_or_end, terminate_like_interrupt

__all__ = ["main"]

DEFAULT_OUT = "latents.zarr"

EXAMPLES = """examples:
  python -m dirvae.encode runs/image
  python -m dirvae.encode runs/image --shards shards/image --out latents.zarr --fields json cls
  python -m dirvae.encode runs/audio --shards s3://bucket/sounds --out sounds.zarr --samples 8
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Encode a set: 0 done, 1 for an error, 2 for a mistake in the flags, 130 after Ctrl-C or SIGTERM."""
    escape_unencodable()
    given = vars(parse_flags(_parser(), spelled(sys.argv[1:] if argv is None else argv)))
    run, out = given.pop("run"), given.pop("out")
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show_warning
        return exit_code_of(
            lambda: _encode(run, out, given),
            (TrainingError, PipelineError),
            memory_remedy="Use --device cpu, or a smaller --batch-size.",
            interrupted="interrupted. Finished shards are kept; the same command continues from there.",
        )


def _encode(run: Path, out: Path | None, given: dict[str, Any]) -> int:
    if not is_run(run):
        return fail(f"{run}: is not a run. Name a folder that dirvae.train wrote, such as runs/image.")
    require_packages(also="arrays")
    from dirvae.run.encode_run import encode_run

    config = EncodeConfig(source=given.pop("shards"), fields=tuple(given.pop("fields")), **given)
    with terminate_like_interrupt():
        report = encode_run(run, run / DEFAULT_OUT if out is None else out, config, stream=sys.stderr)
    lines = [f"{name:<24} {' x '.join(f'{size:,}' for size in shape)}" for name, shape in report.arrays.items()]
    done = "was complete" if not report.new else f"{report.new:,} of {report.examples:,} examples encoded"
    return print_or_end("\n".join([f"{report.out}: {done}", *lines]))


def _show_warning(message: Warning | str, *place: object, **more: object) -> None:
    print(f"warning: {message}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    default = EncodeConfig()
    parser = FlagParser(
        prog="python -m dirvae.encode",
        description="Encode a set with the model of a run: parameters, mean and draws of every posterior, keys and "
        "fields, as arrays of a zarr group. Stop it at any time: the same command continues, with the same bytes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run", type=Path, metavar="RUN", help="run folder, such as runs/image")
    add("--shards", metavar="PATH", help="shards, a folder or a URL; the run's own data by default")
    add("--out", type=Path, metavar="GROUP", help=f"the zarr group to write (default: RUN/{DEFAULT_OUT})")
    add("--samples", type=int, default=default.samples, metavar="NUM", help="draws of each posterior (default 1)")
    add(
        "--fields",
        nargs="+",
        default=[],
        metavar="NAME",
        help="members of the examples to keep, such as json or cls; none by default",
    )
    add("--batch-size", type=int, default=default.batch_size, metavar="NUM", help="examples at once (default 32)")
    add(
        "--shard-examples",
        type=int,
        metavar="NUM",
        help="examples in a shard of the arrays, from which an encoding continues; a multiple of the batch size "
        "(default: 64 MiB, at most 4096)",
    )
    add("--threads", type=int, metavar="NUM", help="threads that decode; those of the run by default")
    add(
        "--which",
        "--checkpoint",
        dest="which",
        type=checkpoint_name,
        default=default.which,
        metavar="STEP",
        help="checkpoint: best (default), last, or a step",
    )
    add(
        "--weights", choices=("ema", "raw"), help="averaged weights (default, if there are any) or the trained ones"
    )
    add("--device", default=default.device, metavar="DEVICE", help="cpu (default), cuda or auto")
    add("--seed", type=int, default=default.seed, metavar="NUM", help="what the draws follow from (default 0)")
    add(
        "--on-error",
        choices=("raise", "substitute"),
        default=default.on_error,
        help="what to do with an example that cannot be decoded (default raise)",
    )
    add("--overwrite", action="store_true", help="replace an encoding that is there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
