"""The worker of the application: of each lane only the newest work is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from dirvae.explorer.worker import SupersededError, Worker


@pytest.fixture
def worker() -> Iterator[Worker]:
    made = Worker("test")
    yield made
    made.close()


def test_of_many_moves_that_wait_only_the_last_one_is_done(worker: Worker) -> None:
    gate, done = threading.Event(), []
    first = worker.submit(lambda: gate.wait(10))
    moves = [worker.submit_newest("slider", n, lambda n=n: done.append(n) or n) for n in range(100)]  # type: ignore[misc]
    gate.set()
    assert first.result(10)
    assert moves[-1].result(10) == 99
    assert done == [99]
    for move in moves[:-1]:
        with pytest.raises(SupersededError):
            move.result(10)


def test_a_move_that_arrives_after_a_newer_one_is_not_done(worker: Worker) -> None:
    assert worker.submit_newest("slider", 5, lambda: "new").result(10) == "new"
    with pytest.raises(SupersededError):
        worker.submit_newest("slider", 4, lambda: "old").result(10)


def test_lanes_do_not_disturb_one_another_and_go_before_other_work(worker: Worker) -> None:
    gate, order = threading.Event(), []
    worker.submit(lambda: gate.wait(10))
    sheet = worker.submit(lambda: order.append("sheet"))
    one = worker.submit_newest("one", 1, lambda: order.append("one"))
    two = worker.submit_newest("two", 1, lambda: order.append("two"))
    gate.set()
    for future in (sheet, one, two):
        future.result(10)
    assert order == ["one", "two", "sheet"]


def test_an_error_reaches_who_asked_and_the_worker_goes_on(worker: Worker) -> None:
    with pytest.raises(ZeroDivisionError):
        worker.submit(lambda: 1 // 0).result(10)
    assert worker.submit(lambda: 7).result(10) == 7


def test_closing_cancels_what_waits() -> None:
    worker, gate = Worker("test"), threading.Event()
    worker.submit(lambda: gate.wait(10))
    waiting = worker.submit(lambda: 1)
    worker.close()
    gate.set()
    assert waiting.cancelled()
