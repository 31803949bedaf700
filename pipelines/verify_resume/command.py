"""python -m pipelines.verify_resume: what can be asked for on a command line, and the verdict in words."""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import PipelineError
from ..modality import find_modality, modalities
from ..terminal import add_import_flag, escape_unencodable, import_named_modules, print_or_end

if TYPE_CHECKING:
    from .checker import Loader, Make, Verdict

__all__ = ["describe", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Verify one loader, print the verdict: 0 exact, 1 not exact or failing, 2 nothing to verify, 141 if not read."""
    escape_unencodable()
    import_named_modules("verify_resume", argv)
    options = _parser().parse_args(argv)
    from .checker import verify_resume

    try:
        _check(options)
        make, variations = _user_loader(options) if options.loader else _own_loader(options)
        begun = time.perf_counter()
        verdict = verify_resume(
            make,
            kills=options.kills,
            variations=variations,
            ordered=options.groups == 1,
            seed=options.seed,
            progress=lambda line: print(line, file=sys.stderr),
        )
    except (PipelineError, ValueError, ImportError, AttributeError) as error:
        print(f"verify_resume: {error}", file=sys.stderr)
        return 2
    if options.json:
        said = json.dumps({**asdict(verdict), "exact": verdict.is_exact})
    else:
        said = describe(verdict, time.perf_counter() - begun)
    return print_or_end(said) or (0 if verdict.is_exact else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="verify_resume", description="Kill a loader, restore it, and print what was lost or repeated."
    )
    add = parser.add_argument
    add("source", nargs="?", help="a folder, shards, a tar or a pattern")
    add("--modality", choices=_playable(), help="what the source holds (default: what it says)")
    add("--loader", metavar="MODULE:FUNCTION", help="any loader: the function builds it")
    add("--kills", type=int, default=100, help="SIGKILLs (default: 100)")
    add("--size", type=int, default=32, help="pixels of the pictures (default: 32)")
    add("--window", type=int, default=4096, help="frames of the clips of recordings (default: 4096)")
    add("--batch-size", type=int, default=8, help="examples in a batch (default: 8)")
    add("--limit", type=int, help="how many examples to use, from the first on")
    add("--threads", type=int, nargs="+", default=[1, 3], help="thread counts to change between")
    add(
        "--workers", type=int, nargs="+", default=[], help="worker processes (torch's DataLoader) to change between"
    )
    add("--world-sizes", type=int, nargs="+", default=[], help="world sizes to change between")
    add("--groups", type=int, default=1, help="interleaved streams of the order (default: 1)")
    add("--seed", type=int, default=0, help="of the kills (default: 0)")
    add_import_flag(parser)
    add("--json", action="store_true", help="print the verdict as JSON")
    return parser


def _check(options: argparse.Namespace) -> None:
    if options.loader and options.source:
        raise ValueError(f"both {options.source} and --loader {options.loader}; name one of them to verify.")
    for name, values, least in (
        ("kills", [options.kills], 1),
        ("workers", options.workers, 0),
        ("world-sizes", options.world_sizes, 1),
    ):
        if min(values, default=least) < least:
            raise ValueError(f"--{name} is {min(values)}; it must be at least {least}.")


def _user_loader(options: argparse.Namespace) -> tuple[Make, list[dict[str, Any]]]:
    module_name, _, function_name = options.loader.partition(":")
    if not function_name:
        raise ValueError(f"--loader is {options.loader!r}; it must be MODULE:FUNCTION.")
    sys.path.insert(0, str(Path.cwd()))
    make = getattr(importlib.import_module(module_name), function_name)
    takes_threads = "threads" in inspect.signature(make).parameters
    return make, [{"threads": threads} for threads in options.threads] if takes_threads else [{}]


def _own_loader(options: argparse.Namespace) -> tuple[Make, list[dict[str, Any]]]:
    if options.source is None:
        raise ValueError("nothing to verify; name a source, or a loader by --loader MODULE:FUNCTION.")
    variations: list[dict[str, Any]] = [{"threads": threads} for threads in options.threads]
    variations += [{"num_workers": workers} for workers in options.workers]
    variations += [{"world_size": world_size} for world_size in options.world_sizes if world_size > 1]

    modality = find_modality(_modality(options))
    from .ranks import with_ranks_and_workers

    iterator = modality.part("iterator")
    asked = {"size": options.size, "window": options.window}
    trial = {name: asked.get(name, value) for name, value in modality.trial_settings.items()}
    order = {
        "batch_size": options.batch_size,
        "shuffle": True,
        "groups": options.groups,
        "limit": options.limit,
    }

    def make(**settings: Any) -> Loader:
        return iterator(options.source, **trial, **order, **settings)

    make(**variations[0])  # a mistake shows here, and what is imported here need not be in every leg
    return with_ranks_and_workers(make), variations


def _modality(options: argparse.Namespace) -> str:
    """What was asked for, else what the source holds."""
    from ..sources.detection import detect_modality

    return str(options.modality) if options.modality is not None else detect_modality(options.source, _playable())


def _playable() -> list[str]:
    """The modalities that have an iterator."""
    return [modality.name for modality in modalities() if modality.iterator is not None]


def describe(verdict: Verdict, seconds: float) -> str:
    """The verdict as lines of text."""
    ledger = verdict.ledger
    lines = [
        f"{verdict.kills} kills and {verdict.resumes} resumes in {verdict.chains} epochs, {seconds:.0f} s",
        f"{ledger.due:,} due: {ledger.lost:,} lost, {ledger.repeated:,} repeated, {ledger.reordered:,} reordered",
        f"largest state {verdict.state_bytes:,} bytes",
    ]
    tenths = [statistics.median(tenth) * 1e3 if tenth else None for tenth in verdict.first_batch_seconds]
    if any(tenths):
        shown = " ".join("–" if tenth is None else f"{tenth:.0f}" for tenth in tenths)
        lines.append(f"milliseconds to the first batch, by tenths of the epoch: {shown}")
    lines += [f"failed: {verdict.failure}"] if verdict.failure else []
    return "\n".join([*lines, "exact" if verdict.is_exact else "NOT exact"])
