"""Is a loader's resume exact? Kill it, restore it, and compare what it delivered with what was due.

    epoch, undisturbed    ├─────────────────────────────────────────────────────────────────────▶ what is due
    chain of killed legs  ├──────✕
                                 └─ state ─▶ fresh process, other threads ─────✕
                                                                               └─ state ─▶ …    what is delivered

Each leg runs in a process of its own and is killed by SIGKILL; the next continues from the state of the last batch
that was written down, with other settings where the loader has them. What is due and what came are compared by key
and by the contents of every array.
"""

from __future__ import annotations

import json
import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .delivery_report import Entry, Ledger
from .killed_runs import Leg, run_leg

__all__ = ["Loader", "Make", "Verdict", "verify_resume"]

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
                 `state_dict` and `load_state_dict`; batches are compared as `delivery_report.entries` says
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
