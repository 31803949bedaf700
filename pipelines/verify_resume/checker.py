"""python -m pipelines.verify_resume: is a loader's resume exact? Kill it, restore it, and read the ledger.

    epoch, undisturbed    ├─────────────────────────────────────────────────────────────────────▶ what is due
    chain of killed legs  ├──────✕
                                 └─ state ─▶ fresh process, other threads ─────✕
                                                                               └─ state ─▶ …    what is delivered

Each leg runs in a process of its own and is killed by SIGKILL; the next goes on from the state of the last batch
that was written down, with other settings where the loader has them. What is due and what came are compared by key
and by the bytes of every array.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import PipelineError, SourceError
from ..iterators.audio import AudioIterator
from ..iterators.image import ImageIterator
from ..sources.opening import open_source
from ..storage.media_types import SNIFF_BYTES, sniff
from .delivery_report import Entry, Ledger
from .killed_runs import Leg, run_leg

__all__ = ["Verdict", "main", "verify_resume"]

Loader = Any
Make = Callable[..., Loader]


@dataclass
class Verdict:
    """What a verification found. `state_bytes` is the largest state, seconds are to the first batch after a resume,
    by tenths of the epoch."""

    ledger: Ledger = field(default_factory=lambda: Ledger(0, 0, 0, 0))
    kills: int = 0
    resumes: int = 0
    chains: int = 0
    state_bytes: int = 0
    first_batch_seconds: list[list[float]] = field(default_factory=lambda: [[] for _ in range(10)])
    failure: str | None = None

    @property
    def is_exact(self) -> bool:
        """Every chain ended, and nothing was lost, repeated or reordered."""
        return self.failure is None and self.ledger.is_exact


def verify_resume(
    make: Make,
    *,
    kills: int = 100,
    variations: Sequence[dict[str, Any]] = ({},),
    ordered: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> Verdict:
    """Play chains of killed legs until `kills` have happened, and compare each chain with an undisturbed epoch.

    make         builds the loader, with the keyword arguments of a variation: an object that can be iterated, with
                 `state_dict` and `load_state_dict`; batches are told apart as `ledger.entries` says
    variations   settings that may change from leg to leg; the first is the undisturbed run's
    ordered      False where a variation may put the examples of one step in another order
    Legs are forked: nothing may be live in this process. A loader that fails ends it, with the reason in `failure`.
    """
    chance, verdict = random.Random(seed), Verdict()
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder) / "journal"
        try:
            whole = _undisturbed(lambda: make(**variations[0]), journal)
            while verdict.kills < kills:
                delivered = _chain(make, variations, whole, journal, chance, verdict)
                verdict.ledger += Ledger.of(_flat(whole.batches), delivered, ordered=ordered)
                verdict.chains += 1
                progress(f"{verdict.kills} kills, {verdict.chains} epochs: {verdict.ledger}")
        except RuntimeError as error:
            verdict.failure = str(error)
    return verdict


def _undisturbed(make: Callable[[], Loader], journal: Path) -> Leg:
    whole = run_leg(make, None, journal)
    if len(whole.batches) < 3:
        raise RuntimeError(f"an epoch of {len(whole.batches)} batches is too short to be interrupted.")
    return whole


def _chain(
    make: Make,
    variations: Sequence[dict[str, Any]],
    whole: Leg,
    journal: Path,
    chance: random.Random,
    verdict: Verdict,
) -> list[Entry]:
    """One epoch in legs; what they delivered, in order."""
    due, delivered, state = sum(map(len, whole.batches)), list[Entry](), None
    pause = statistics.median(_seconds(whole)) if whole.batches else 0.0
    while True:
        settings = chance.choice(list(variations)) if state is not None else variations[0]
        left = max(1, round(len(whole.batches) * (1 - len(delivered) / due)))
        kill_after = chance.randint(0, min(left, max(2, len(whole.batches) // 4)))
        leg = run_leg(
            lambda chosen=settings: make(**chosen),  # type: ignore[misc]
            state,
            journal,
            kill_after_batches=kill_after,
            kill_delay_seconds=chance.random() * pause,
        )
        verdict.kills += not leg.finished
        if state is not None and leg.first_batch_seconds is not None:
            verdict.resumes += 1
            tenth = min(9, 10 * len(delivered) // due)
            verdict.first_batch_seconds[tenth].append(leg.first_batch_seconds)
        delivered += _flat(leg.batches)
        if leg.states:
            state = leg.states[-1]
            verdict.state_bytes = max(verdict.state_bytes, *(len(json.dumps(each)) for each in leg.states))
        if leg.finished or len(delivered) >= due:
            return delivered


def _seconds(leg: Leg) -> list[float]:
    return [leg.first_batch_seconds / len(leg.batches) if leg.first_batch_seconds else 0.01]


def _flat(batches: Sequence[list[Entry]]) -> list[Entry]:
    return [entry for batch in batches for entry in batch]


@dataclass(frozen=True)
class StepOfRanks:
    """What all ranks delivered in one step, as one batch."""

    keys: list[str]
    data: list[Any]
    state: dict[str, Any]


class AllRanks:
    """Several ranks of one loader played in step, as one loader: what is verified is their union."""

    def __init__(self, make: Make, world_size: int, settings: dict[str, Any]) -> None:
        self._ranks = [make(rank=rank, world_size=world_size, **settings) for rank in range(world_size)]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Every rank goes on from the same state."""
        for rank in self._ranks:
            rank.load_state_dict(state)

    def __iter__(self) -> Iterator[StepOfRanks]:
        for batches in zip(*self._ranks, strict=True):
            states = [batch.state for batch in batches]
            if any(state != states[0] for state in states):
                raise RuntimeError(f"ranks disagree on the state: {states}")
            real = [
                (key, array)
                for batch in batches
                for slot, (key, array) in enumerate(zip(batch.keys, batch.data, strict=True))
                if batch.mask is None or batch.mask[slot]
            ]
            yield StepOfRanks([key for key, _ in real], [array for _, array in real], states[0])


def main(argv: Sequence[str] | None = None) -> int:
    """Verify one loader and print the verdict: 0 exact, 1 not exact or failing, 2 nothing to verify."""
    options = _parser().parse_args(argv)
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
        print(json.dumps({**asdict(verdict), "exact": verdict.is_exact}))
    else:
        print(describe(verdict, time.perf_counter() - begun))
    return 0 if verdict.is_exact else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="verify_resume", description="Kill a loader, restore it, and print what was lost or repeated."
    )
    add = parser.add_argument
    add("source", nargs="?", help="images or recordings: a folder, shards, a tar or a pattern")
    add("--modality", choices=("image", "audio"), help="what the source holds (default: what it says)")
    add("--loader", metavar="MODULE:FUNCTION", help="any loader: the function builds it")
    add("--kills", type=int, default=100, help="SIGKILLs (default: 100)")
    add("--size", type=int, default=32, help="pixels of the pictures (default: 32)")
    add("--window", type=int, default=4096, help="frames of the clips of recordings (default: 4096)")
    add("--batch-size", type=int, default=8, help="examples in a batch (default: 8)")
    add("--limit", type=int, help="the first so many examples only")
    add("--threads", type=int, nargs="+", default=[1, 3], help="thread counts to change between")
    add(
        "--workers", type=int, nargs="+", default=[], help="worker processes (torch's DataLoader) to change between"
    )
    add("--world-sizes", type=int, nargs="+", default=[], help="world sizes to change between")
    add("--groups", type=int, default=1, help="interleaved streams of the order (default: 1)")
    add("--seed", type=int, default=0, help="of the kills (default: 0)")
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
        raise ValueError("nothing to verify; name images or recordings, or a loader by --loader MODULE:FUNCTION.")
    variations: list[dict[str, Any]] = [{"threads": threads} for threads in options.threads]
    variations += [{"num_workers": workers} for workers in options.workers]
    variations += [{"world_size": world_size} for world_size in options.world_sizes if world_size > 1]

    modality = _modality(options)
    order = {
        "batch_size": options.batch_size,
        "shuffle": True,
        "groups": options.groups,
        "limit": options.limit,
    }

    def make(**settings: Any) -> ImageIterator | AudioIterator:
        if modality == "audio":
            return AudioIterator(options.source, window=options.window, random_offset=True, **order, **settings)
        return ImageIterator(options.source, size=options.size, crop="random", flip=True, **order, **settings)

    make(**variations[0])  # a mistake shows here, and what is imported here need not be in every leg
    return with_ranks_and_workers(make), variations


def _modality(options: argparse.Namespace) -> str:
    """What was asked for, "image" or "audio"; else what the source says of itself, else how its first file begins."""
    if options.modality is not None:
        return str(options.modality)
    try:
        source = open_source(options.source, modality="image")
    except SourceError as error:
        try:
            source = open_source(options.source, modality="audio")
        except SourceError:
            raise error from None
    begins_like = sniff(source[0].media[:SNIFF_BYTES]) if source.modality is None and len(source) else None
    return source.modality or (begins_like[0] if begins_like else "image")


def with_ranks_and_workers(make: Make) -> Make:
    """A builder of iterators that also understands `world_size` (all ranks in step) and `num_workers`."""

    def build(*, world_size: int = 1, num_workers: int | None = None, **settings: Any) -> Loader:
        if world_size > 1:
            return AllRanks(make, world_size, {"tail": "pad", "threads": 1, **settings})
        if num_workers is not None:
            from ..torch_bridge import TorchLoader

            return TorchLoader(make(**{"threads": 1, **settings}), num_workers)
        return make(**settings)

    return build


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
