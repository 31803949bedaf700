"""Nothing is left behind: no thread, process, open file or shared memory, however a loop ends."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import ImageIterator, mix
from pipelines.torch_bridge import DevicePrefetcher, TorchLoader

from .lettered import letters, rows

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning"),
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc"),
]

Fixture = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]


def open_files() -> list[str]:
    """What the open descriptors of this process lead to."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:  # that of the listing itself
            continue
    return sorted(found)


def children_of(process: int) -> list[int]:
    """Its child processes, whatever their state."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = status.read_text().rsplit(")", 1)[1].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(parent) == process:
            found.append(int(status.parent.name))
    return found


def segments_of(processes: list[int]) -> list[str]:
    """Shared-memory files that carry one of these process ids in their name, as torch's do."""
    return [
        entry.name
        for entry in Path("/dev/shm").iterdir()
        if any(f"_{process}_" in entry.name for process in processes)
    ]


def threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate())


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """What lives after the test is what lived before it."""
    gc.collect()
    gc.freeze()  # what is old is not looked through again by every collection below
    before = (threads(), children_of(os.getpid()), open_files())
    yield
    gc.collect()
    deadline = time.monotonic() + 5
    while (threads(), children_of(os.getpid()), open_files()) != before and time.monotonic() < deadline:
        time.sleep(0.02)  # a child that has ended is collected a moment later
        gc.collect()
    gc.unfreeze()
    assert threads() == before[0]
    assert children_of(os.getpid()) == before[1]
    assert open_files() == before[2]
    assert segments_of([os.getpid()]) == []


@pytest.fixture
def loaders(picture_folder: Fixture, picture_shards: Fixture) -> dict[str, Callable[[], Any]]:
    """Builders of everything that has threads, files or processes."""
    folder, shards = picture_folder(24), picture_shards([8, 8, 8])
    settings: dict[str, Any] = {"size": 16, "batch_size": 4, "shuffle": True, "threads": 3}

    def images(place: Path) -> ImageIterator:
        return ImageIterator(place, **settings)

    return {
        "folder": lambda: images(folder),
        "shards": lambda: images(shards),
        "mixture": lambda: mix([images(folder), images(shards)], [1, 1], batch_size=4, threads=3),
        "workers": lambda: TorchLoader(images(shards), 2),
        "persistent workers": lambda: TorchLoader(images(shards), 2, persistent_workers=True),
        "prefetcher": lambda: DevicePrefetcher(images(shards), "cpu"),
    }


KINDS = ["folder", "shards", "mixture", "workers", "persistent workers", "prefetcher"]


def ends_by_itself(loader: Any) -> None:
    list(loader)


def is_broken_off(loader: Any) -> None:
    for _ in loader:
        break


def is_abandoned(loader: Any) -> None:
    next(iter(loader))


def raises_in_the_consumer(loader: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        divide(loader)


def divide(loader: Any) -> None:
    for batch in loader:
        _ = len(batch) / 0


def is_begun_again(loader: Any) -> None:
    loops = []
    for _ in range(3):
        loops.append(iter(loader))
        next(loops[-1])


def is_kept_in_a_cycle(loader: Any) -> None:
    cycle: list[Any] = [iter(loader)]
    next(cycle[0])
    cycle.append(cycle)


ENDINGS = [ends_by_itself, is_broken_off, is_abandoned, raises_in_the_consumer, is_begun_again, is_kept_in_a_cycle]

CASES = [
    pytest.param(kind, ending, id=f"{ending.__name__}-{kind}")
    for kind in KINDS
    for ending in ENDINGS
    if ending is not is_kept_in_a_cycle or "workers" not in kind  # torch itself then waits 5 s for each worker
]


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(("kind", "ending"), CASES)
def test_nothing_is_left_when_a_loop(kind: str, ending: Any, loaders: dict[str, Callable[[], Any]]) -> None:
    ending(loaders[kind]())


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("kind", ["folder", "shards", "mixture"])
def test_close_leaves_nothing_while_the_iterator_and_its_loop_are_kept(
    kind: str, loaders: dict[str, Callable[[], Any]]
) -> None:
    before = open_files(), threads()
    iterator = loaders[kind]()
    loop = iter(iterator)
    batch = next(loop)
    assert len(threads()) == len(before[1]) + 3
    iterator.close()
    assert (open_files(), threads()) == before
    with pytest.raises(RuntimeError, match="this loop was ended"):
        next(loop)
    assert len(rows_of(iterator)) == 20 if kind != "mixture" else True, "it can be used again"
    iterator.close()
    assert (open_files(), threads()) == before
    assert len(batch) == 4


def rows_of(iterator: Any) -> list[str]:
    return [key for batch in iterator for key in batch.keys]


@pytest.mark.usefixtures("nothing_left")
def test_an_error_in_a_worker_process_leaves_nothing() -> None:
    with pytest.raises(Exception, match="nothing in it"):
        rows(TorchLoader(letters(broken=(7,), threads=1), 2))


@pytest.mark.usefixtures("nothing_left")
def test_many_loops_that_are_broken_off_leave_nothing(picture_shards: Fixture) -> None:
    images = ImageIterator(picture_shards([6, 6]), size=16, batch_size=2, threads=4)
    before = threads()
    for _ in range(60):
        next(iter(images))
        assert len(threads()) <= len(before) + 4
    images.close()


PROGRAM = """
import os, sys, time
sys.path.insert(0, {root!r})
import warnings
warnings.simplefilter("ignore")
from pipelines import ImageIterator
if __name__ == "__main__":
    images = ImageIterator({folder!r}, size=16, batch_size=2, threads=2, shuffle=True, resizer="pillow")
    loader = {loader}
    for epoch in range(100000):
        for number, batch in enumerate(loader):
            if epoch == 1 and number == 1:
                print("running", flush=True)
                {then}
"""


def start(folder: Path, loader: str, then: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A program in mid-epoch, and the processes it has started."""
    code = PROGRAM.format(root=str(ROOT), folder=str(folder), loader=loader, then=then)
    program = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "running\n", program.communicate()
    return program, children_of(program.pid)


def assert_gone(processes: list[int]) -> None:
    deadline = time.monotonic() + 10
    while (left := [p for p in processes if is_alive(p)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []
    assert segments_of(processes) == []


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


LOADERS = {
    "threads": "images",
    "workers": "__import__('pipelines.torch_bridge').torch_bridge.TorchLoader(images, 2)",
}


@pytest.mark.parametrize("kind", LOADERS)
def test_ctrl_c_leaves_nothing(kind: str, picture_folder: Fixture) -> None:
    program, workers = start(picture_folder(40), LOADERS[kind], "pass")
    program.send_signal(signal.SIGINT)
    _, report = program.communicate(timeout=30)
    assert program.returncode in (1, -signal.SIGINT, 130)
    assert "KeyboardInterrupt" in report
    assert_gone([program.pid, *workers])


@pytest.mark.parametrize(
    ("kind", "then"), [("threads", "sys.exit(7)"), ("threads", "os._exit(7)"), ("workers", "raise LookupError")]
)
def test_the_programs_end_leaves_nothing(kind: str, then: str, picture_folder: Fixture) -> None:
    program, workers = start(picture_folder(40), LOADERS[kind], then)
    program.communicate(timeout=30)
    assert program.returncode == (1 if "raise" in then else 7)
    assert_gone([program.pid, *workers])


@pytest.mark.slow  # torch's workers look for their parent every five seconds
def test_a_killed_program_takes_its_workers_with_it(picture_folder: Fixture) -> None:
    program, workers = start(picture_folder(40), LOADERS["workers"], "time.sleep(60)")
    assert len(workers) == 2
    program.kill()
    program.communicate(timeout=30)
    assert_gone([program.pid, *workers])


def test_a_worker_that_is_killed_is_an_error_at_once_and_leaves_nothing(picture_folder: Fixture) -> None:
    program, workers = start(picture_folder(40), LOADERS["workers"], "time.sleep(0.5)")
    os.kill(workers[0], signal.SIGKILL)
    program.communicate(timeout=30)
    assert program.returncode == 1
    assert_gone([program.pid, *workers])


def test_after_a_worker_was_killed_the_state_is_that_of_the_last_batch(picture_folder: Fixture) -> None:
    """In a program of its own: torch raises the error wherever that program is just then."""
    settings = "size=16, batch_size=2, threads=1, shuffle=True, resizer='pillow'"
    code = f"""if True:
        import contextlib, multiprocessing, os, sys, time
        sys.path.insert(0, {str(ROOT)!r})
        from pipelines import ImageIterator
        from pipelines.torch_bridge import TorchLoader
        images, found = ImageIterator({str(picture_folder(40))!r}, {settings}), []
        loader = TorchLoader(images, 2, prefetch_factor=1)
        try:
            for number, batch in enumerate(loader):
                found += batch.keys
                if number == 2:
                    multiprocessing.active_children()[0].kill()
        except (RuntimeError, OSError):  # a dead worker, or its end of a pipe
            with contextlib.suppress(RuntimeError):
                time.sleep(0.5)  # torch may raise for the dead worker a second time, from a signal
            print("killed")
        again = ImageIterator({str(picture_folder(40))!r}, {settings})
        again.load_state_dict(images.state_dict())
        found += [key for batch in again for key in batch.keys]
        whole = [key for batch in ImageIterator({str(picture_folder(40))!r}, {settings}) for key in batch.keys]
        print(found == whole)
        """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "killed\nTrue\n", done.stderr


@pytest.mark.parametrize("kind", ["shards", "letters"])
def test_memory_is_flat_over_thirty_epochs(kind: str, loaders: dict[str, Callable[[], Any]]) -> None:
    """A batch kept in each epoch would show as 90 kB, an iteration's threads and queue as more."""
    if kind == "letters":
        iterator = mix([letters("a", 12), letters("b", 12)], [1, 1], batch_size=4, threads=2)
    else:
        iterator = loaders[kind]()
    tracemalloc.start()
    try:
        grown = [memory_after(iterator, epochs) for epochs in (60, 30)]
    finally:
        tracemalloc.stop()
    iterator.close()
    assert grown[1] - grown[0] < 40_000, f"{grown[1] - grown[0]:,} bytes more after 30 epochs"


def memory_after(iterator: Any, epochs: int) -> int:
    """Bytes that Python holds after so many more epochs."""
    for _ in range(epochs):
        rows_of(iterator)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
