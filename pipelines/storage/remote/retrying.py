"""Retries: which failures are temporary, how long to wait, and when to give up.

    wait before try n     random between 0 and first_wait · 2ⁿ, at most longest_wait, and no less than the server asks
    a read ends           after `attempts` tries in a row that brought little, or its seconds, or its bytes

Failures that pass are answers 408, 425, 429 and 5xx, connections that are refused or reset, silence, and bodies that
are cut off. A name that is not there, credentials that do not suffice and a request that is wrong do not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from ...errors import SourceError
from ...order.checked_numbers import real_number, whole_number
from ...stopping import pause
from .counters import Counters
from .urls import CREDENTIALS, redacted, split_url

__all__ = [
    "CREDENTIALS",
    "AbsentError",
    "DeniedError",
    "NoBucketError",
    "RangesIgnoredError",
    "RequestError",
    "Retries",
    "RetryPolicy",
    "Timing",
    "named",
    "retry_after_seconds",
    "sentence",
    "status_error",
]

PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529, 598, 599})
ABSENT = frozenset({404, 410})
DENIED = frozenset({401, 403, 407, 511})
NO_BUCKET = frozenset({"NoSuchBucket", "ContainerNotFound"})
LEAST_PROGRESS = 256 << 10
"""A try that brings as many bytes counts as the first again."""


class RequestError(Exception):
    """A request failed: why, whether it may go better later, what to do, and how long the server asks to wait."""

    def __init__(self, reason: str, *, passes: bool, remedy: str = "", retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.reason, self.passes, self.remedy, self.retry_after = reason, passes, remedy, retry_after


class AbsentError(RequestError):
    """There is no such object."""

    def __init__(self, reason: str = "no such file") -> None:
        super().__init__(reason, passes=False, remedy="Look at the name and the place, or restore it.")


class NoBucketError(RequestError):
    """The bucket does not exist, so nothing is known about the object."""

    def __init__(self) -> None:
        remedy = "Look at its name, at the endpoint and at the account, or make it."
        super().__init__("there is no such bucket", passes=False, remedy=remedy)


class DeniedError(RequestError):
    """The server knows the address, and refuses it to this user."""


class RangesIgnoredError(RequestError):
    """The server sends whole files where a range is asked for."""

    def __init__(self) -> None:
        super().__init__(
            "the server ignores ranges and sends whole files",
            passes=False,
            remedy="Serve it from one that knows ranges, or copy the file to this machine.",
        )


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often a read is tried.

    attempts            tries in a row that bring less than 256 KiB
    seconds             of one read, all tries and waits together, besides what its bytes may take
    slowest_bytes_per_second   what the bytes of a read may take besides: a slower link is given up
    first_wait, longest_wait   seconds
    stall_seconds       without a byte, after which a connection is given up
    connect_seconds     for a connection to be made
    most_bytes          that are fetched, in multiples of those that were asked for
    """

    attempts: int = 8
    seconds: float = 120.0
    slowest_bytes_per_second: float = 128 << 10
    first_wait: float = 0.2
    longest_wait: float = 15.0
    stall_seconds: float = 20.0
    connect_seconds: float = 10.0
    most_bytes: float = 4.0

    def __post_init__(self) -> None:
        whole_number("attempts", self.attempts)
        for setting in fields(self):
            value = real_number(setting.name, getattr(self, setting.name))
            if not (0 < value < float("inf")):
                raise ValueError(f"{setting.name} is {value}; it must be above 0.")

    def seconds_for(self, num_bytes: int) -> float:
        """How long a read of so many bytes may take, tries and waits included."""
        return self.seconds + num_bytes / self.slowest_bytes_per_second


@dataclass
class Timing:
    """The clock, the pause and the dice of retrying; tests give their own."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    dice: random.Random = field(default_factory=random.Random)


class Retries:
    """The tries of one read of `num_bytes`, 0 while that is not known; waits are added to `counters`."""

    def __init__(
        self, policy: RetryPolicy, timing: Timing, num_bytes: int = 0, *, counters: Counters | None = None
    ) -> None:
        self.policy, self.timing = policy, timing
        self.counters = Counters() if counters is None else counters
        self.num_bytes, self.received, self.failures = num_bytes, 0, 0
        self.waited = 0.0
        self._began, self._received_before = timing.clock(), 0

    @property
    def seconds_left(self) -> float:
        """Until this read is given up."""
        return self._began + self.policy.seconds_for(self.num_bytes) - self.timing.clock()

    def after(self, error: RequestError) -> None:
        """Wait before the next try. Raises the error if there is none."""
        progress, self._received_before = self.received - self._received_before, self.received
        self.failures = 1 if progress >= LEAST_PROGRESS else self.failures + 1
        if not error.passes:
            raise error
        if self.failures >= self.policy.attempts:
            raise self._given_up(error, f"after {self.failures} tries in a row")
        most = self.policy.most_bytes * self.num_bytes + LEAST_PROGRESS
        if self.received > most:
            raise self._given_up(error, f"after {self.received:,} bytes were fetched for {self.num_bytes:,}")
        longest = min(self.policy.longest_wait, self.policy.first_wait * 2.0 ** min(self.failures - 1, 60))
        wait = max(self.timing.dice.random() * longest, error.retry_after)
        if wait >= self.seconds_left:
            seconds = self.policy.seconds_for(self.num_bytes)
            asked = f", and the server asks for {error.retry_after:,.0f} more" if error.retry_after else ""
            raise self._given_up(error, f"within {seconds:,.0f} seconds{asked}")
        self.waited += wait
        pause(self.timing.sleep, wait, "a read")
        self.counters.add(retries=1, seconds_waiting=wait)

    @staticmethod
    def _given_up(error: RequestError, when: str) -> RequestError:
        remedy = error.remedy or "Try again later, or look at the network and the server."
        return RequestError(f"given up {when}: {error.reason}", passes=False, remedy=remedy)


def retry_after_seconds(text: str | None, now: Callable[[], float] = time.time) -> float:
    """What a `Retry-After` header asks for: seconds, or until a date; 0 where it says nothing that can be read."""
    text = (text or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return 0.0
    date = date.replace(tzinfo=UTC) if date.tzinfo is None else date
    return max(0.0, (date - datetime.fromtimestamp(now(), UTC)).total_seconds())


def status_error(
    status: int, scheme: str, *, code: str = "", retry_after: float = 0.0, is_signed: bool = False
) -> RequestError:
    """What an answer without the bytes means. `code` is the store's own word for it; `is_signed`: by a query."""
    if status in ABSENT:
        return NoBucketError() if code in NO_BUCKET else AbsentError()
    try:
        words = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        words = str(status)
    reason = f"the server answers {words}" + (f" ({code})" if code else "")
    if status in DENIED or code in ("ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
        expired = "; its signature may have expired" if is_signed else ", and at who may read it"
        remedy = CREDENTIALS.get(scheme, f"Look at the address{expired}.")
        return DeniedError(f"{reason}: access is denied", passes=False, remedy=remedy)
    if 300 <= status < 400:
        remedy = "Set AWS_REGION to the bucket's region." if scheme == "s3" else "Name the address it leads to."
        return RequestError(f"{reason}, which leads nowhere", passes=False, remedy=remedy)
    if status in PASSING or code == "RequestTimeout":
        return RequestError(reason, passes=True, retry_after=retry_after)
    return RequestError(reason, passes=False, remedy="Look at the address and the settings of the store.")


@contextmanager
def named(name: str) -> Iterator[None]:
    """Failed requests as `SourceError`, in one sentence that names the URL."""
    try:
        yield
    except RequestError as error:
        raise sentence(name, error) from error


def sentence(name: str, error: RequestError) -> SourceError:
    """A failed request in one sentence that names the URL, the reason and the remedy."""
    bucket = f" as {split_url(name).host}" if isinstance(error, NoBucketError) else ""
    return SourceError(f"{redacted(name)}: {error.reason}{bucket}. {error.remedy}".rstrip())
