"""Kills and a ledger: what resumes exactly passes, and loaders that were broken on purpose are caught."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import Batch, mix
from pipelines.verify_resume import Verdict, describe, killed_runs, verify_resume, with_ranks_and_workers
from pipelines.verify_resume.delivery_report import Ledger, entries
from pipelines.verify_resume.killed_runs import run_leg

from .lettered import letters

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning")

Fixture = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]


def slow_letters(**settings: Any) -> Any:
    """61 examples in batches of 3; a thousandth of a second each, so that kills fall everywhere."""

    def decode(example: Any, rng: np.random.Generator) -> Any:
        time.sleep(0.001)
        return np.array([example.index, rng.integers(1 << 40)])

    return letters(num=61, **{"batch_size": 3, "decode": decode, **settings})


def assert_exact(verdict: Verdict, *, kills: int) -> None:
    assert verdict.failure is None, verdict.failure
    assert verdict.ledger.is_exact, verdict.ledger
    assert verdict.is_exact
    assert verdict.kills >= kills
    assert verdict.resumes > 0
    assert 0 < verdict.state_bytes < 1024
    assert sum(map(len, verdict.first_batch_seconds)) == verdict.resumes


def test_a_single_source_is_exact_under_kills_with_other_threads() -> None:
    lines: list[str] = []
    verdict = verify_resume(
        slow_letters, kills=8, variations=[{"threads": 1}, {"threads": 4}], progress=lines.append
    )
    assert_exact(verdict, kills=8)
    assert verdict.ledger.due == 61 * verdict.chains
    assert len(lines) == verdict.chains


def test_groups_ranks_and_workers_are_exact_under_kills() -> None:
    def make(**settings: Any) -> Any:
        return slow_letters(groups=4, **{"batch_size": 4, **settings})

    variations = [
        {"threads": 2},
        {"num_workers": 2},
        {"num_workers": 0},
        {"world_size": 2, "batch_size": 2},
        {"world_size": 4},
    ]
    verdict = verify_resume(with_ranks_and_workers(make), kills=6, variations=variations, ordered=False)
    assert_exact(verdict, kills=6)


def test_a_mixture_is_exact_under_kills_with_other_ranks_and_workers() -> None:
    def make(**settings: Any) -> Any:
        return mix([slow_letters(), slow_letters(seed=1)], [3, 1], **{"batch_size": 6, **settings})

    variations = [{"threads": 2}, {"num_workers": 2}, {"world_size": 3, "batch_size": 2}]
    verdict = verify_resume(with_ranks_and_workers(make), kills=6, variations=variations)
    assert verdict.is_exact, (verdict.failure, verdict.ledger)
    assert verdict.kills >= 6
    assert verdict.state_bytes < 2048, "under a kilobyte a source"


# Broken on purpose


class Sound:
    """Resumes exactly: 40 numbers in batches of 2, shuffled."""

    def __init__(self) -> None:
        self.position = 0
        self.resumed = False

    def order(self) -> list[int]:
        return np.random.default_rng(7).permutation(40).tolist()

    def __iter__(self) -> Iterator[Batch]:
        order = self.order()
        while self.position < 40:
            numbers = order[self.position : self.position + 2]
            self.position += len(numbers)
            time.sleep(0.001)
            yield Batch(
                np.array(numbers)[:, None], [f"k{n}" for n in numbers], np.array(numbers), self.state_dict()
            )

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": 0, "position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position, self.resumed = state["position"], True


class Loses(Sound):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict({"position": min(38, state["position"] + 1)})


class Repeats(Sound):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict({"position": max(0, state["position"] - 1)})


class Reorders(Sound):
    def order(self) -> list[int]:
        order = super().order()
        return order[: self.position] + order[self.position :][::-1] if self.resumed else order


class AheadByPrefetch(Sound):
    """Its state is that of the batch it reads ahead."""

    def __iter__(self) -> Iterator[Batch]:
        ready: Batch | None = None
        for batch in super().__iter__():
            if ready is not None:
                yield ready.replace(state=batch.state)
            ready = batch
        if ready is not None:
            yield ready


class StartsAnew(Sound):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict({"position": 0})


class OtherPixels(Sound):
    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            yield batch.replace(data=batch.data + self.resumed)


class Crashes(Sound):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise KeyError("no such state")


class CrashesInTheLoop(Sound):
    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            if self.resumed:
                raise LookupError("lost my way")
            yield batch


@pytest.mark.parametrize(
    ("broken", "column"),
    [
        (Loses, "lost"),
        (Repeats, "repeated"),
        (Reorders, "reordered"),
        (AheadByPrefetch, "lost"),
        (StartsAnew, "repeated"),
        (OtherPixels, "repeated"),
    ],
)
def test_a_loader_broken_on_purpose_is_caught(broken: type[Sound], column: str) -> None:
    verdict = verify_resume(broken, kills=8)
    assert not verdict.is_exact
    assert verdict.failure is None
    assert getattr(verdict.ledger, column) > 0
    assert "NOT exact" in describe(verdict, 1.0)


def test_the_same_loader_unbroken_passes() -> None:
    assert_exact(verify_resume(Sound, kills=8), kills=8)


@pytest.mark.parametrize("broken", [Crashes, CrashesInTheLoop])
def test_a_loader_that_crashes_after_a_resume_fails_with_its_own_report(
    broken: type[Sound], capfd: pytest.CaptureFixture[str]
) -> None:
    verdict = verify_resume(broken, kills=30)
    assert not verdict.is_exact
    assert verdict.failure is not None
    assert "a leg failed: " in verdict.failure
    assert "no such state" in verdict.failure or "lost my way" in verdict.failure
    assert len(verdict.failure.splitlines()) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_ranks_that_disagree_are_a_failure() -> None:
    class Disagrees(Sound):
        def __init__(self, rank: int = 0, **settings: Any) -> None:
            super().__init__()
            self.rank = rank

        def state_dict(self) -> dict[str, Any]:
            return {**super().state_dict(), "rank": self.rank}

    make = with_ranks_and_workers(Disagrees)
    verdict = verify_resume(make, kills=30, variations=[{}, {"world_size": 2}])
    assert verdict.failure is not None
    assert "ranks disagree" in verdict.failure


def test_an_epoch_of_two_batches_is_too_short_and_says_so() -> None:
    verdict = verify_resume(lambda: letters(num=6, batch_size=3), kills=3)
    assert verdict.failure is not None
    assert "2 batches is too short" in verdict.failure
    assert not verdict.is_exact


def test_a_leg_is_killed_with_every_process_it_started(tmp_path: Path) -> None:
    class WithChild(Sound):
        def __iter__(self) -> Iterator[Batch]:
            child = subprocess.Popen(["sleep", "60"])
            (tmp_path / "child").write_text(str(child.pid))
            yield from super().__iter__()

    leg = run_leg(WithChild, None, tmp_path / "journal", kill_after_batches=2)
    assert not leg.finished
    assert 2 <= len(leg.batches) < 20
    assert leg.states[-1] == {"epoch": 0, "position": 2 * len(leg.batches)}
    assert not is_running(int((tmp_path / "child").read_text()))
    whole = run_leg(Sound, leg.states[-1], tmp_path / "journal")
    assert whole.finished
    due = [entry for batch in Sound() for entry in entries(batch)]
    delivered = [entry for part in (leg, whole) for batch in part.batches for entry in batch]
    assert Ledger.of(due, delivered).is_exact


def test_a_line_that_was_cut_off_by_the_kill_was_not_delivered(tmp_path: Path) -> None:
    line = json.dumps({"examples": [["a", "1"]], "state": {"position": 1}, "seconds": 0.5})
    (tmp_path / "journal").write_text(f"{line}\n{line}\n{line}"[:-1])
    leg = killed_runs._read(tmp_path / "journal", finished=False)
    assert leg.batches == [[("a", "1")], [("a", "1")]]
    assert killed_runs._read(tmp_path / "missing", finished=False).states == []


def is_running(process: int) -> bool:
    """Whether it runs; one that was killed and not yet collected by its new parent does not."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
            status = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return False
        if status == "Z":
            return False
        time.sleep(0.02)
    return True


def test_batches_of_any_usual_kind_are_told_apart() -> None:
    import torch

    numbers = np.arange(6).reshape(3, 2)
    digests = [digest for _, digest in entries(numbers)]
    assert len(set(digests)) == 3
    keyed = list(zip("abc", digests, strict=True))
    assert entries({"__key__": list("abc"), "jpg": numbers}) == keyed
    assert entries({"key": list("abc"), "image": torch.from_numpy(numbers)}) == keyed
    assert entries((list("abc"), torch.from_numpy(numbers))) == keyed
    assert entries(torch.from_numpy(numbers)) == entries(numbers)
    assert entries({"keys": list("abc")}) == [("a", ""), ("b", ""), ("c", "")]
    with pytest.raises(TypeError, match="neither keys nor data"):
        entries({"pixels": numbers, "names": list("abc")})
