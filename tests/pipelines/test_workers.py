"""Threads that fill jobs ahead: in order, bounded, with the first error, and gone when told."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from pipelines.batching.threads import PIECE, DecodeThreads


class Recorder:
    """A job that counts how often each of its slots is filled."""

    def __init__(self, number: int, size: int = 20, *, fails_at: int | None = None, delay: float = 0.0) -> None:
        self.number, self.fails_at, self.delay = number, fails_at, delay
        self.filled = [0] * size
        self.threads: set[str] = set()

    def __len__(self) -> int:
        return len(self.filled)

    def runs(self) -> None:
        return None

    def fill(self, start: int, stop: int) -> None:
        for slot in range(start, stop):
            time.sleep(self.delay)
            if slot == self.fails_at:
                raise LookupError(f"job {self.number}, slot {slot}")
            self.filled[slot] += 1
        self.threads.add(threading.current_thread().name)


BEFORE: set[threading.Thread] = set()
"""Threads that lived before the test: iterators of other tests may still wait for the garbage collector."""


@pytest.fixture(autouse=True)
def _threads_before() -> None:
    BEFORE.clear()
    BEFORE.update(threading.enumerate())


def live() -> list[str]:
    now = set(threading.enumerate()) - BEFORE
    return [thread.name for thread in now if thread.name.startswith("pipelines")]


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("ahead", [1, 2, 9])
@pytest.mark.parametrize("size", [1, PIECE - 1, PIECE, PIECE + 1, 50])
def test_jobs_come_in_order_with_every_slot_filled_once(threads: int, ahead: int, size: int) -> None:
    jobs = (Recorder(number, size) for number in range(25))
    done = list(DecodeThreads(jobs, threads=threads, ahead=ahead))
    assert [job.number for job in done] == list(range(25))
    assert all(job.filled == [1] * size for job in done)
    assert not live()


def test_several_threads_work_on_one_job() -> None:
    (job,) = DecodeThreads(iter([Recorder(0, 64, delay=0.002)]), threads=4, ahead=1)
    assert len(job.threads) > 1


class Crowd(Recorder):
    """A job that counts how many threads are inside `fill` at once, spending its time as told."""

    inside, most = 0, 0
    lock = threading.Lock()

    def runs(self) -> None:
        return None

    def fill(self, start: int, stop: int) -> None:
        with self.lock:
            Crowd.inside += 1
            Crowd.most = max(Crowd.most, Crowd.inside)
        super().fill(start, stop)
        with self.lock:
            Crowd.inside -= 1


def most_at_once(delay: float) -> int:
    jobs = DecodeThreads((Crowd(number, 64, delay=delay) for number in range(12)), threads=4, ahead=4)
    for number, _ in enumerate(jobs):
        if number == 5:
            Crowd.most = 0  # by now they know
    return Crowd.most


def test_threads_take_turns_where_slots_are_quick_and_not_where_they_are_slow() -> None:
    assert most_at_once(0.002) > 1
    assert any(most_at_once(0.0) == 1 for _ in range(10))  # a busy machine makes a quick slot look slow at times


class Pieces(Recorder):
    """A job that notes how many slots each task had."""

    def __init__(self, number: int, size: int, *, delay: float = 0.0) -> None:
        super().__init__(number, size, delay=delay)
        self.pieces: list[int] = []

    def runs(self) -> None:
        return None

    def fill(self, start: int, stop: int) -> None:
        self.pieces.append(stop - start)
        super().fill(start, stop)


def test_where_a_slot_is_slow_each_is_a_task_and_a_small_job_is_shared_by_all_threads() -> None:
    jobs = list(DecodeThreads((Pieces(number, 8, delay=0.04) for number in range(6)), threads=4, ahead=2))
    assert jobs[0].pieces == [2, 2, 2, 2], "nothing is known yet: a job of eight for four threads"
    assert jobs[-1].pieces == [1] * 8
    assert len(jobs[-1].threads) == 4
    (large,) = DecodeThreads(iter([Pieces(0, 64, delay=0.001)]), threads=2, ahead=1)
    assert set(large.pieces) == {PIECE}


def test_no_more_jobs_are_begun_than_asked_for() -> None:
    begun: list[int] = []

    def jobs() -> Iterator[Recorder]:
        for number in range(30):
            begun.append(number)
            yield Recorder(number)

    filling = DecodeThreads(jobs(), threads=2, ahead=5)
    assert begun == []
    for number in range(3):
        next(filling)
        assert begun == list(range(number + 5))
    filling.close()
    assert len(begun) == 7


def test_the_error_of_the_first_slot_is_raised_in_the_jobs_turn() -> None:
    jobs = [Recorder(0, delay=0.002), Recorder(1, 40, fails_at=3, delay=0.001), Recorder(2)]
    filling = DecodeThreads(iter(jobs), threads=4, ahead=3)
    assert next(filling) is jobs[0]
    with pytest.raises(LookupError, match="job 1, slot 3"):
        next(filling)
    assert not live()
    with pytest.raises(StopIteration):
        next(filling)


def test_of_two_errors_in_a_job_the_one_that_stands_first_is_raised() -> None:
    class Fails(Recorder):
        def runs(self) -> None:
            return None

        def fill(self, start: int, stop: int) -> None:
            time.sleep(0.05 if start == 0 else 0)
            raise LookupError(f"piece {start}")

    for _ in range(5):
        with pytest.raises(LookupError, match="piece 0"):
            next(DecodeThreads(iter([Fails(0, 4 * PIECE)]), threads=4, ahead=1))


def test_an_error_in_making_a_job_reaches_the_consumer() -> None:
    def jobs() -> Iterator[Recorder]:
        yield Recorder(0)
        raise LookupError("no more jobs")

    filling = DecodeThreads(jobs(), threads=2, ahead=1)
    next(filling)
    with pytest.raises(LookupError, match="no more jobs"):
        next(filling)
    filling.close()
    assert not live()


def test_closing_is_quick_final_and_may_be_done_twice() -> None:
    filling = DecodeThreads((Recorder(number, 8, delay=0.01) for number in range(1000)), threads=3, ahead=50)
    next(filling)
    begun = time.monotonic()
    filling.close()
    assert time.monotonic() - begun < 1
    assert not live()
    filling.close()


def test_dropping_the_last_reference_ends_the_threads() -> None:
    filling = DecodeThreads((Recorder(number) for number in range(1000)), threads=3, ahead=4)
    next(filling)
    del filling
    gc.collect()
    assert not live()


def test_a_job_that_was_taken_is_kept_alive_by_nobody_else() -> None:
    filling = DecodeThreads((Recorder(number) for number in range(1)), threads=1, ahead=1)
    job = weakref.ref(next(filling))
    deadline = time.monotonic() + 5
    while job() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
        gc.collect()
    assert job() is None
    filling.close()
