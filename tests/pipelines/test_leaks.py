"""Nothing is left behind: no thread, process, open file or shared memory, however a loop ends."""

from __future__ import annotations

import gc
import os
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import ImageIterator, mix
from pipelines.torch_bridge import DevicePrefetcher, TorchLoader

from .leftovers import children_of, open_files, segments_of, threads
from .lettered import letters, rows

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning"),
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files in /proc"),
]

Fixture = Callable[..., Any]


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """What lives after the test is what lived before it."""
    gc.collect()
    gc.freeze()  # what is old is not looked through again by every collection below
    before = held()
    yield
    after = held_soon(before)
    gc.unfreeze()
    assert after == before
    assert segments_of([os.getpid()]) == []


def held() -> dict[str, list[Any]]:
    return {"threads": threads(), "children": children_of(os.getpid()), "files": open_files()}


def held_soon(expected: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """What this process holds, once it is what is expected, or after five seconds."""
    gc.collect()
    deadline = time.monotonic() + 5
    while (found := held()) != expected and time.monotonic() < deadline:
        time.sleep(0.02)  # a child that has ended is collected a moment later
        gc.collect()
    return found


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


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("kind", ["workers", "persistent workers", "prefetcher"])
def test_close_leaves_nothing_while_a_loader_and_its_loop_are_kept(
    kind: str, loaders: dict[str, Callable[[], Any]]
) -> None:
    before = held()
    loader = loaders[kind]()
    loop = iter(loader)
    next(loop)
    assert held() != before
    loader.close()
    assert held_soon(before) == before
    with pytest.raises(RuntimeError, match="this loop was ended"):
        next(loop)
    assert len(rows_of(loader)) == 20, "it can be used again, and goes on"
    loader.close()
    loader.close()


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
