"""Many processes share a cache and are killed at any instant: its bound holds, and no wrong byte is found in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.storage.remote.cache_errors import CacheFullError
from pipelines.storage.remote.shard_cache import ShardCache

from .remote_contents import content_of, download_of, sha256_of

LONGEST = 400_000
NAMES = [f"far/{number}.tar" for number in range(12)]


def size_of(name: str) -> int:
    return LONGEST - 37_111 * (NAMES.index(name) % 7)


def work(folder: str, seed: int) -> None:
    """What each process does until it is killed, or told to end by a closed pipe."""
    rng = random.Random(seed)
    cache = ShardCache(folder, 5 * LONGEST)
    is_over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
    while not is_over.is_set():
        name = rng.choice(NAMES)
        size = size_of(name)
        wanted = content_of(name, size)
        download = download_of(name, size, pieces=rng.randrange(1, 6), pause=rng.random() * 0.01)
        with cache.acquire(name, "1", size, download, sha256=sha256_of(name, size)) as lease:
            for _ in range(2):  # it is there from the beginning of the lease to its end
                if lease.path.read_bytes() != wanted:
                    print("wrong bytes of", name, flush=True)
                time.sleep(rng.random() * 0.005)
        print("had", name, flush=True)


@contextlib.contextmanager
def worker(folder: Path, seed: int) -> Iterator[subprocess.Popen[str]]:
    code = f"from {__name__} import work; work({str(folder)!r}, {seed})"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        text=True,
        env={**os.environ, "PYTHONPATH": root},
        **pipes,  # type: ignore[call-overload]
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Watcher(threading.Thread):
    """Adds up the folder's files again and again, with the folder's lock, which must always give a sum in the bound,
    and without, when one file may go and another one come while it counts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.is_over = folder, threading.Event()
        self.locked: list[int] = []
        self.unlocked: list[int] = []

    def total(self) -> int:
        total = 0
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def run(self) -> None:
        with (self.folder / "lock").open("w") as lock:
            while not self.is_over.wait(0.002):
                began = time.perf_counter()
                total = self.total()
                if time.perf_counter() - began < 0.001:
                    self.unlocked.append(total)
                if len(self.unlocked) % 5 == 0:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                    self.locked.append(self.total())
                    fcntl.flock(lock, fcntl.LOCK_UN)


@pytest.mark.parametrize(("processes", "kills"), [(3, 3), pytest.param(8, 20, marks=pytest.mark.heavy, id="8-20")])
def test_the_bound_holds_and_all_bytes_are_right_under_kills(tmp_path: Path, processes: int, kills: int) -> None:
    folder = tmp_path / "cache"
    ShardCache(folder, 5 * LONGEST).acquire("x", "1", 0, lambda _: None).release()
    rng = random.Random(5)
    watcher = Watcher(folder)
    outputs = []
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(worker(folder, seed)) for seed in range(processes)]
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("had ")
        watcher.start()
        for kill in range(kills):
            time.sleep(0.05 + rng.random() * 0.15)
            victim = running.pop(rng.randrange(processes))
            victim.send_signal(signal.SIGKILL)
            outputs.append(victim.communicate()[0])
            running.append(stack.enter_context(worker(folder, processes + kill)))
        time.sleep(0.5)
        for process in running:
            outputs.append(process.communicate(timeout=60)[0])
            assert process.returncode == 0, outputs[-1]
    watcher.is_over.set()
    watcher.join()
    lines = [line for output in outputs for line in output.splitlines(keepends=True) if line.endswith("\n")]
    assert {line.split()[0] for line in lines} == {"had"}, [line for line in lines if not line.startswith("had")][
        :20
    ]
    assert len(watcher.locked) > 5
    assert max(watcher.locked) <= 5 * LONGEST
    assert max(watcher.unlocked) <= 6 * LONGEST
    for path in folder.glob("*.shard"):
        assert path.stat().st_size <= LONGEST
    ShardCache(folder, 5 * LONGEST).acquire("y", "1", 0, lambda _: None).release()
    assert not list(folder.glob("*.part"))


def hang(folder: str) -> None:
    def download(writer: object) -> None:
        writer.write(b"x" * 1000)  # type: ignore[attr-defined]
        print("half", flush=True)
        time.sleep(60)

    ShardCache(folder, LONGEST).acquire("a", "1", 2000, download, sha256=sha256_of("a", 2000))


def test_one_that_waits_takes_over_from_one_that_is_killed(tmp_path: Path) -> None:
    code = f"from {__name__} import hang; hang({str(tmp_path)!r})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        cache = ShardCache(tmp_path, LONGEST)
        threading.Timer(0.2, process.kill).start()
        with cache.acquire("a", "1", 2000, download_of("a", 2000), sha256=sha256_of("a", 2000)) as lease:
            assert lease.path.read_bytes() == content_of("a", 2000)
        assert (cache.counts.waits, cache.counts.misses) == (1, 1)
        assert process.wait(10) == -signal.SIGKILL


def fork_and_wait(folder: str) -> None:
    lease = ShardCache(folder, 2000).acquire("a", "1", 2000, download_of("a", 2000))
    child = os.fork()
    if not child:
        sys.stdin.read()
        os._exit(0)
    print("leased", lease.size, flush=True)
    time.sleep(60)


def test_a_lease_ends_with_its_process_although_a_forked_one_lives_on(tmp_path: Path) -> None:
    code = f"from {__name__} import fork_and_wait; fork_and_wait({str(tmp_path)!r})"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "leased 2000\n"
        cache = ShardCache(tmp_path, 2000, wait_seconds=0.1)
        with pytest.raises(CacheFullError):
            cache.acquire("b", "1", 2000, download_of("b", 2000))
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
        cache.wait_seconds = 10
        cache.acquire("b", "1", 2000, download_of("b", 2000)).release()
