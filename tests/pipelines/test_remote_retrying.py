"""Trying again: with a clock, a pause and dice of our own."""

from __future__ import annotations

import pickle
import random
from email.utils import formatdate
from typing import Any

import pytest

from pipelines.storage.remote.retrying import (
    AbsentError,
    RequestError,
    Retries,
    RetryPolicy,
    Timing,
    retry_after_seconds,
    sentence,
    status_error,
)


class Clock:
    """Time passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def timing(self, dice: random.Random | None = None) -> Timing:
        return Timing(lambda: self.now, self.sleep, dice or random.Random(7))


class Highest(random.Random):
    """Dice that always show nearly one."""

    def random(self) -> float:
        return 1.0


BUSY = RequestError("busy", passes=True)


def endlessly(retries: Retries) -> None:
    while True:
        retries.after(BUSY)


def test_waits_grow_to_a_bound_and_lie_anywhere_below_it() -> None:
    clock = Clock()
    retries = Retries(RetryPolicy(attempts=8, first_wait=1, longest_wait=10), clock.timing(Highest()))
    for _ in range(7):
        retries.after(BUSY)
    assert clock.slept == [1, 2, 4, 8, 10, 10, 10]
    assert retries.waited == sum(clock.slept)
    with pytest.raises(RequestError, match="given up after 8 tries in a row: busy"):
        retries.after(BUSY)
    jittered = Clock()
    again = Retries(RetryPolicy(attempts=8, first_wait=1, longest_wait=10), jittered.timing())
    for _ in range(7):
        again.after(BUSY)
    assert all(0 <= wait <= longest for wait, longest in zip(jittered.slept, clock.slept, strict=True))
    assert len(set(jittered.slept)) == 7
    same = Clock()
    third = Retries(RetryPolicy(attempts=8, first_wait=1, longest_wait=10), same.timing())
    for _ in range(7):
        third.after(BUSY)
    assert same.slept == jittered.slept


def test_what_the_server_asks_for_is_waited_and_no_longer_than_there_is_time() -> None:
    clock = Clock()
    retries = Retries(RetryPolicy(attempts=9, seconds=30), clock.timing())
    retries.after(RequestError("busy", passes=True, retry_after=12))
    assert clock.slept == [12]
    with pytest.raises(RequestError, match=r"given up within 30 seconds, and the server asks for 40 more: busy"):
        retries.after(RequestError("busy", passes=True, retry_after=40))
    assert clock.slept == [12]


def test_a_read_ends_in_its_time_which_grows_with_its_bytes() -> None:
    policy = RetryPolicy(attempts=10**6, seconds=60, first_wait=1, longest_wait=5, slowest_bytes_per_second=1000)
    for num_bytes, seconds in ((0, 60), (40_000, 100)):
        clock = Clock()
        retries = Retries(policy, clock.timing(), num_bytes)
        with pytest.raises(RequestError, match=f"given up within {seconds} seconds"):
            endlessly(retries)
        assert seconds - 5 <= clock.now - 1000 <= seconds


def test_a_try_that_brings_much_counts_as_the_first_again_until_too_many_bytes_came() -> None:
    clock = Clock()
    retries = Retries(RetryPolicy(attempts=2, most_bytes=3), clock.timing(), 1 << 20)
    retries.after(BUSY)
    for _ in range(3):
        retries.received += 1 << 20
        retries.after(BUSY)
    retries.received += 1 << 20
    with pytest.raises(RequestError, match=r"after 4,194,304 bytes were fetched for 1,048,576"):
        retries.after(BUSY)


def test_what_does_not_pass_is_raised_at_once() -> None:
    clock = Clock()
    with pytest.raises(AbsentError):
        Retries(RetryPolicy(), clock.timing()).after(AbsentError())
    assert clock.slept == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        (formatdate(1_800_000_060, usegmt=True), 60),
        (formatdate(1_799_999_000, usegmt=True), 0),
        ("soon", 0),
        ("-5", 0),
        ("", 0),
        (None, 0),
        ("99999999999999999999", 999_999_999),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: float) -> None:
    assert retry_after_seconds(text, now=lambda: 1_800_000_000.0) == seconds


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 509, 524, 529])
def test_answers_that_pass(status: int) -> None:
    assert status_error(status, "https").passes


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 410, 412, 416, 418, 501, 505])
def test_answers_that_do_not_pass(status: int) -> None:
    error = status_error(status, "s3")
    assert not error.passes
    assert error.remedy


def test_words_of_the_store_decide_where_there_are_any() -> None:
    assert status_error(400, "s3", code="RequestTimeout").passes
    assert "AWS_ACCESS_KEY_ID" in status_error(400, "s3", code="ExpiredToken").remedy
    for code in ("NoSuchBucket", "ContainerNotFound"):
        told = str(sentence("s3://nowhere/set", status_error(404, "s3", code=code)))
        assert told.startswith("s3://nowhere/set: there is no such bucket as nowhere. Look at its name")
    assert "AWS_REGION" in status_error(301, "s3").remedy
    assert "GOOGLE_APPLICATION_CREDENTIALS" in status_error(403, "gs").remedy
    assert "AZURE_STORAGE_ACCOUNT_NAME" in status_error(403, "az").remedy


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"attempts": 0}, ValueError),
        ({"attempts": 2.5}, TypeError),
        ({"seconds": 0}, ValueError),
        ({"seconds": float("inf")}, ValueError),
        ({"first_wait": -1}, ValueError),
        ({"stall_seconds": "20"}, TypeError),
        ({"most_bytes": float("nan")}, ValueError),
    ],
)
def test_a_policy_that_cannot_be_is_refused(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(settings))):
        RetryPolicy(**settings)


def test_a_policy_is_a_value_that_can_be_pickled() -> None:
    policy = RetryPolicy(attempts=3, seconds=5)
    assert pickle.loads(pickle.dumps(policy)) == policy == RetryPolicy(attempts=3, seconds=5)
