"""Packing that is killed and stopped at random moments, in any place and by any engine, against an undisturbed run.

A `Place` says how a set is listed and which flags lead there; an `Engine` adds the flags of who packs. `torment` starts
the same command again and again and, at a random moment, kills the whole process group, the parent or a worker, or
stops one of them and lets it go on after others have done its work. Four moments of five are counted from the first
file that a worker is at, so that they do not all fall into the start of programs, which takes long. It returns what was
done, after asserting that

    the final listing equals the undisturbed one: names, sizes and SHA-256, and so no temporary file is left, and in a
    bucket no upload in parts
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
from typing import Any, NamedTuple, Protocol

from pipelines.sharding.cli import main

from .leftovers import children_of

ROOT = Path(__file__).resolve().parents[2]
KILLS = ("group", "parent", "worker")


class Stored(NamedTuple):
    """An object of a set: its size, its SHA-256 where that is asked for, and what changes when it is written again.

    The last is inode and time, or ETag and time.
    """

    size: int
    sha256: str
    identity: str


class Place(Protocol):
    """Where a set is packed to."""

    def out(self, name: str) -> str:
        """What `--out` gets for a set of this name."""

    def listing(self, name: str, *, digests: bool = False) -> dict[str, Stored]:
        """Every object of a set, temporary, hidden and unfinished ones as well, by its name in the set."""

    def finished(self, name: str, listing: Mapping[str, Stored]) -> set[str]:
        """Which tars of a listing are finished shards, and are not to be made again."""


@dataclass(frozen=True)
class LocalPlace:
    """Folders of this machine."""

    folder: Path

    def out(self, name: str) -> str:
        """A folder."""
        return str(self.folder / name)

    def listing(self, name: str, *, digests: bool = False) -> dict[str, Stored]:
        """Every file, also in sub-folders."""
        found = {}
        for inside in self._names(name):
            path = self.folder / name / inside
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                digest = hashlib.sha256(path.read_bytes()).hexdigest() if digests else ""
                found[inside] = Stored(status.st_size, digest, f"{status.st_ino} {status.st_mtime_ns}")
        return found

    def finished(self, name: str, listing: Mapping[str, Stored]) -> set[str]:
        """A shard is recorded before it is renamed, so that all that are there are finished."""
        return {inside for inside in listing if inside.endswith(".tar") and "/" not in inside}

    def _names(self, name: str) -> set[str]:
        top = self.folder / name
        found = set[str]()
        for folder, _, files in os.walk(top):
            found |= {str(Path(folder, file).relative_to(top)) for file in files}
        return found


@dataclass(frozen=True)
class BucketPlace:
    """A bucket of S3, which boto3's client `s3` looks into."""

    s3: Any
    bucket: str

    def out(self, name: str) -> str:
        """A URL."""
        return f"s3://{self.bucket}/{name}"

    def listing(self, name: str, *, digests: bool = False) -> dict[str, Stored]:
        """Every object and unfinished upload; what is removed while it is listed is left out."""
        found = {f"{inside} (upload)": Stored(0, "", "") for inside in self.unfinished_uploads(name)}
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{name}/")
        for entry in (entry for page in pages for entry in page.get("Contents", [])):
            with contextlib.suppress(self.s3.exceptions.NoSuchKey):
                identity = f"{entry['ETag']} {entry['LastModified']}"
                digest = self._digest(entry["Key"]) if digests else ""
                found[entry["Key"].removeprefix(f"{name}/")] = Stored(entry["Size"], digest, identity)
        return found

    def _digest(self, key: str) -> str:
        return hashlib.sha256(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()).hexdigest()

    def unfinished_uploads(self, name: str) -> list[str]:
        """The objects of uploads in parts that were neither completed nor aborted."""
        uploads = self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return [one["Key"].removeprefix(f"{name}/") for one in uploads if one["Key"].startswith(f"{name}/")]

    def finished(self, name: str, listing: Mapping[str, Stored]) -> set[str]:
        """Those that are recorded; all of a set with a manifest."""
        tars = {inside for inside in listing if inside.endswith(".tar") and "/" not in inside}
        if "manifest.json" in listing:
            return tars
        numbers = {Path(inside).stem for inside in listing if inside.startswith(".make_shards/finished/")}
        return {tar for tar in tars if Path(tar).stem.rpartition("-")[2] in numbers}


class Run(Protocol):
    """A packing command that was started, in a process group of its own."""

    pid: int

    def wait(self, seconds: float | None = None) -> int | None:
        """Its exit code; None where it has not ended after so long."""


class ProgramRun:
    """A program of its own: what a user starts."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tools" / "make_shards.py"), *arguments],
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )
        self.pid = self._process.pid

    def wait(self, seconds: float | None = None) -> int | None:
        """As `Run.wait`."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None


class ForkedRun:
    """A fork of this process, which has imported everything already: quicker, of one core at least a second a run."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self._code: int | None = None
        self.pid = os.fork()
        if not self.pid:
            code = 99
            try:
                os.setsid()
                nowhere = os.open(os.devnull, os.O_WRONLY)
                for stream in (1, 2):
                    os.dup2(nowhere, stream)
                os.environ.update(environment)
                code = main(list(arguments))
            finally:
                os._exit(code)

    def wait(self, seconds: float | None = None) -> int | None:
        """As `Run.wait`."""
        until = float("inf") if seconds is None else time.monotonic() + seconds
        while self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > until:
                break
            else:
                time.sleep(0.005)
        return self._code


@dataclass(frozen=True)
class Packing:
    """A packing command: its source and settings, flags of the engine, and how it is started.

    `workers` finds the processes that pack for the one that was started.
    """

    source: Path
    settings: Sequence[str]
    engine: Sequence[str] = ("--workers", "2")
    environment: Mapping[str, str] = field(default_factory=dict)
    run: Callable[[Sequence[str], Mapping[str, str]], Run] = ProgramRun
    workers: Callable[[int], list[int]] = children_of

    def start(self, out: str) -> Run:
        """Start it."""
        return self.run([str(self.source), "--out", out, *self.settings, *self.engine], self.environment)

    def finish(self, out: str) -> None:
        """Run it to its end."""
        code = self.start(out).wait()
        assert code == 0, f"packing ended with {code}"

    def timed(self, out: str) -> Times:
        """Run it to its end, and say how long it took."""
        began = time.monotonic()
        run = self.start(out)
        has_workers = self.await_work(run)
        first = time.monotonic()
        code = run.wait()
        assert code == 0, f"packing ended with {code}"
        ended = time.monotonic()
        return Times(ended - began, ended - first if has_workers else 0.0)

    def await_work(self, run: Run) -> bool:
        """Wait until a worker process of a run is at a file, or the run has ended; whether one is."""
        while not (is_at_work := any(map(_is_at_a_file, self.workers(run.pid)))) and run.wait(0.02) is None:
            pass
        return is_at_work


class Times(NamedTuple):
    """Seconds that an undisturbed run takes: all, and those from the first file on (0: its workers are not here)."""

    all: float
    working: float

    def scaled(self, factor: float) -> Times:
        """For a machine that is so much slower."""
        return Times(self.all * factor, self.working * factor)

    def moment(self, packing: Packing, run: Run, moments: random.Random, left: float) -> float:
        """How many seconds from now on to disturb a run that has just begun, of which a share of the work is `left`."""
        if self.working and moments.random() < 0.8:
            packing.await_work(run)
            return moments.uniform(0, self.working * left)
        return moments.uniform(0.15, 0.9) * (self.all - self.working * (1 - left))


Done = Counter[str]


def torment(
    packing: Packing, place: Place, *, kills: int, stops: int, seed: int, how: Sequence[str] = KILLS
) -> Done:
    """Kill and stop a packing command that often, then let it finish; returns what was done to whom.

    Where a set is finished before it was disturbed often enough, the next one is begun.
    """
    times = packing.timed(place.out("undisturbed"))
    expected = contents(place.listing("undisturbed", digests=True))
    num_shards = sum(inside.endswith(".tar") for inside in expected)
    moments, done, number = random.Random(seed), Done(), 0
    plan = ["kill"] * kills + ["stop"] * stops
    moments.shuffle(plan)
    while plan:
        name, seen = f"out{number}", dict[str, str]()
        while plan:
            left = max(0.1, 1 - len(seen) / num_shards)
            is_finished = _disturbed(packing, place.out(name), left, plan, moments, times, done, how)
            _check_kept(place, name, seen)
            times = times.scaled(0.8 if is_finished else 1.03)  # other programs of this machine come and go
            if is_finished:
                break
        packing.finish(place.out(name))
        _check_kept(place, name, seen)
        assert contents(place.listing(name, digests=True)) == expected, f"after {dict(done)}"
        number += 1
    done["sets"] = number
    return done


def _disturbed(
    packing: Packing,
    out: str,
    left: float,
    plan: list[str],
    moments: random.Random,
    times: Times,
    done: Done,
    how: Sequence[str],
) -> bool:
    """Start the command and disturb it once, which takes an entry off the plan; whether it finished before that."""
    run = packing.start(out)
    try:
        if run.wait(times.moment(packing, run, moments, left)) is not None:
            return True
        if plan[-1] == "stop":
            _stop_and_go_on(packing, out, run, left, moments, times, done)
        else:
            _kill(packing, run, moments.choice(how), moments, done)
        plan.pop()
        return False
    finally:
        _kill_group(run)
        run.wait()


def _is_at_a_file(worker: int) -> bool:
    """Whether a worker process has begun a file: its `FileCounter` in shared memory has the number of one."""
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{worker}/fd").iterdir():
            if str(entry.readlink()).startswith("/memfd:file"):
                number = entry.read_bytes()[:8]
                return len(number) == 8 and int.from_bytes(number, sys.byteorder, signed=True) >= 0
    return False


def _kill(packing: Packing, run: Run, what: str, moments: random.Random, done: Done) -> None:
    workers = packing.workers(run.pid)
    if what == "worker" and workers:
        _send(moments.choice(workers), signal.SIGKILL)
        run.wait(moments.uniform(0, 0.6))  # the run goes on with another worker, and then is killed itself
    elif what == "parent":
        _send(run.pid, signal.SIGKILL)
        time.sleep(0.02)  # its workers are orphans for a moment
    else:
        what = "group"
        _kill_group(run)
    done[what] += 1


def _stop_and_go_on(
    packing: Packing, out: str, run: Run, left: float, moments: random.Random, times: Times, done: Done
) -> None:
    """Stop a worker whose parent dies, let another run take its place, and wake it: it must change nothing."""
    workers = packing.workers(run.pid)
    if not workers:
        _kill_group(run)
        done["stopped before it had a worker"] += 1
        return
    asleep = moments.choice(workers)
    _send(asleep, signal.SIGSTOP)
    _send(run.pid, signal.SIGKILL)
    run.wait()
    other = packing.start(out)
    other.wait(times.moment(packing, other, moments, left))
    _send(asleep, signal.SIGCONT)  # while the other run is at work, or has ended
    assert other.wait() == 0
    done["stopped"] += 1


def _kill_group(run: Run) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)


def _send(process: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _check_kept(place: Place, name: str, seen: dict[str, str]) -> None:
    """Assert that finished shards are those that were seen first; `seen` gets the new ones."""
    listing = place.listing(name)
    finished = {inside: listing[inside].identity for inside in place.finished(name, listing)}
    changed = [inside for inside, identity in seen.items() if finished.get(inside) != identity]
    assert not changed, f"made again or gone: {changed}"
    seen.update(finished)


def contents(listing: Mapping[str, Stored]) -> dict[str, tuple[int, str]]:
    """Bytes and SHA-256 by name."""
    return {name: (one.size, one.sha256) for name, one in sorted(listing.items())}
