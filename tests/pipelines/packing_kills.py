"""Packing that is killed and stopped at random moments, in any place and by any engine, against an undisturbed run.

A `Place` says how a set is listed and which flags lead there; an `Engine` adds the flags of who packs. `torment` starts
the same command again and again and, at a random moment, kills the whole process group, the parent or a worker, or
stops one of them and lets it go on after others have done its work. It returns what was done, after asserting that

    the final listing equals the undisturbed one: names, sizes and SHA-256, and so no temporary file is left
    no finished shard was made again: what identified it when it was first seen identifies it at the end
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from .leftovers import children_of

ROOT = Path(__file__).resolve().parents[2]
KILLS = ("group", "parent", "worker")


class Stored(NamedTuple):
    """An object of a set: its content, and what changes when it is written again (inode and time, or ETag and time)."""

    size: int
    sha256: str
    identity: str


class Place(Protocol):
    """Where a set is packed to."""

    def out(self, name: str) -> str:
        """What `--out` gets for a set of this name."""

    def listing(self, name: str) -> dict[str, Stored]:
        """Every object of a set, temporary and hidden ones as well, by its name in the set."""

    def names(self, name: str) -> set[str]:
        """The names alone, which is quicker."""


@dataclass(frozen=True)
class LocalPlace:
    """Folders of this machine."""

    folder: Path

    def out(self, name: str) -> str:
        """A folder."""
        return str(self.folder / name)

    def listing(self, name: str) -> dict[str, Stored]:
        """Every file, also in sub-folders."""
        found = {}
        for inside in self.names(name):
            path = self.folder / name / inside
            with contextlib.suppress(FileNotFoundError):
                status, content = path.stat(), path.read_bytes()
                identity = f"{status.st_ino} {status.st_mtime_ns}"
                found[inside] = Stored(len(content), hashlib.sha256(content).hexdigest(), identity)
        return found

    def names(self, name: str) -> set[str]:
        """Paths below the folder of the set."""
        top = self.folder / name
        found = set[str]()
        for folder, _, files in os.walk(top):
            found |= {str(Path(folder, file).relative_to(top)) for file in files}
        return found


@dataclass(frozen=True)
class Packing:
    """A packing command: its source and settings, flags of the engine, and variables of its environment."""

    source: Path
    settings: Sequence[str]
    engine: Sequence[str] = ("--workers", "2")
    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, out: str) -> subprocess.Popen[bytes]:
        """Start it, in a process group of its own."""
        command = [sys.executable, str(ROOT / "tools" / "make_shards.py"), str(self.source), "--out", out]
        return subprocess.Popen(
            [*command, *self.settings, *self.engine],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **self.environment},
        )

    def finish(self, out: str) -> None:
        """Run it to its end."""
        process = self.start(out)
        said = process.communicate()[1]
        assert process.returncode == 0, said.decode()


Done = Counter[str]


def torment(
    packing: Packing, place: Place, *, kills: int, stops: int, seed: int, how: Sequence[str] = KILLS
) -> Done:
    """Kill and stop a packing command that often, then let it finish; returns what was done to whom.

    Where a set is finished before it was disturbed often enough, the next one is begun.
    """
    began = time.monotonic()
    packing.finish(place.out("undisturbed"))
    longest = time.monotonic() - began
    expected = _contents(place.listing("undisturbed"))
    moments, done, number = random.Random(seed), Done(), 0
    plan = ["kill"] * kills + ["stop"] * stops
    moments.shuffle(plan)
    while plan:
        name, seen = f"out{number}", dict[str, str]()
        while plan:
            is_finished = _disturbed(packing, place, name, plan, moments, longest, done, how)
            _check_kept(place, name, seen)
            if is_finished:
                break
        packing.finish(place.out(name))
        _check_kept(place, name, seen)
        assert _contents(place.listing(name)) == expected, f"after {dict(done)}"
        number += 1
    done["sets"] = number
    return done


def _disturbed(
    packing: Packing,
    place: Place,
    name: str,
    plan: list[str],
    moments: random.Random,
    longest: float,
    done: Done,
    how: Sequence[str],
) -> bool:
    """Start the command and disturb it once, which takes an entry off the plan; whether it finished before that."""
    process = packing.start(place.out(name))
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.15, 0.9) * longest)
            return True
        if plan[-1] == "stop":
            _stop_and_go_on(packing, place.out(name), process, moments, done)
        else:
            _kill(process, moments.choice(how), moments, done)
        plan.pop()
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _kill(process: subprocess.Popen[bytes], what: str, moments: random.Random, done: Done) -> None:
    workers = children_of(process.pid)
    if what == "worker" and workers:
        _send(moments.choice(workers), signal.SIGKILL)
        time.sleep(moments.uniform(0, 0.6))  # the run goes on with another worker, and then is killed itself
    elif what == "parent":
        process.kill()
        time.sleep(0.02)  # its workers are orphans for a moment
    else:
        what = "group"
        os.killpg(process.pid, signal.SIGKILL)
    done[what] += 1


def _stop_and_go_on(
    packing: Packing, out: str, process: subprocess.Popen[bytes], moments: random.Random, done: Done
) -> None:
    """Stop a worker whose parent dies, let another run take its place, and wake it: it must change nothing."""
    workers = children_of(process.pid)
    if not workers:
        os.killpg(process.pid, signal.SIGKILL)
        done["stopped before it had a worker"] += 1
        return
    asleep = moments.choice(workers)
    _send(asleep, signal.SIGSTOP)
    process.kill()
    process.wait()
    other = packing.start(out)
    with contextlib.suppress(subprocess.TimeoutExpired):
        other.wait(moments.uniform(0.3, 3))
    _send(asleep, signal.SIGCONT)  # while the other run is at work, or has ended
    other.communicate()
    assert other.returncode == 0
    done["stopped"] += 1


def _send(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _check_kept(place: Place, name: str, seen: dict[str, str]) -> None:
    """Assert that finished shards are those that were seen first; `seen` gets the new ones."""
    found = {inside: one.identity for inside, one in place.listing(name).items() if inside.endswith(".tar")}
    finished = {inside: identity for inside, identity in found.items() if "/" not in inside}
    changed = [inside for inside, identity in seen.items() if finished.get(inside) != identity]
    assert not changed, f"made again or gone: {changed}"
    seen.update(finished)


def _contents(listing: Mapping[str, Stored]) -> dict[str, tuple[int, str]]:
    return {name: (one.size, one.sha256) for name, one in sorted(listing.items())}


MakePlace = Callable[[Path], Place]
