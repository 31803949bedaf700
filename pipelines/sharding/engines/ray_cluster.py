"""A connection to a running Ray cluster: it starts and cancels shard tasks and receives their messages."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from ...errors import ShardingError
from ..shard_job import ShardTask
from ..source_reader import PackingStoppedError
from . import ray_task
from .on_node import ALIVE, Message, package_root, what_decides_bytes
from .worker_process import Work

__all__ = ["AttemptLostError", "RayCluster", "connected"]

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DEDUP_LOGS_SKIP_REGEX": "^"}
"""No telemetry from this process, and nothing of Ray's own in our output; variables that are set stay as they are."""
CONNECT_SECONDS, CANCEL_SECONDS, KILL_SECONDS = 10.0, 2.0, 10.0
LOST = {
    "OutOfMemoryError": "Ray ended its worker process, because the node was short of memory",
    "NodeDiedError": "its node is gone",
    "WorkerCrashedError": "its worker process died",
}


class AttemptLostError(Exception):
    """A task ended without a result, and not because of an error in it. `str()` of it is the reason."""


@dataclass(eq=False)
class RayAttempt:
    """A task that was begun: what it sends, and which process runs it, on which node.

    `process` is None while it waits for one; `process_started` tells it from a later one of the same number.
    """

    messages: Any
    node: str = ""
    process: int | None = None
    process_started: str = ""


class RayCluster:
    """The Ray cluster that this process is connected to."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._run = ray.remote(num_cpus=1, max_retries=0, num_returns="streaming")(ray_task.run_on_node)
        self._end = ray.remote(num_cpus=0, max_retries=0)(ray_task.end_process)
        self._place = f"{__package__}.on_node", str(package_root()), _search_path(), what_decides_bytes()

    @property
    def num_cpus(self) -> int:
        """CPUs of all nodes, as Ray counts them: so many shards at a time."""
        return int(self._ray.cluster_resources().get("CPU", 0))

    def submit(self, work: Work, task: ShardTask) -> RayAttempt:
        """Begin a task."""
        with self._by_value():
            return RayAttempt(self._run.remote(*self._place, bytes(ForkingPickler.dumps((work, task)))))

    def wait(self, attempts: Sequence[RayAttempt], seconds: float) -> list[RayAttempt]:
        """The attempts that have sent something, after `seconds` at most."""
        found = {attempt.messages: attempt for attempt in attempts}
        ready, _ = self._ray.wait(list(found), num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(list(found), num_returns=len(found), timeout=0)
        return [found[messages] for messages in ready]

    def message(self, attempt: RayAttempt) -> Message:
        """The next message. Raises `AttemptLostError`, and `PackingStoppedError` where a node lacks this package."""
        errors = self._ray.exceptions
        try:
            message: Any = self._ray.get(next(attempt.messages))
        except errors.RayTaskError:
            raise
        except StopIteration:
            raise AttemptLostError("it ended without a result") from None
        except errors.RayError as error:
            name = type(error).__name__
            raise AttemptLostError(LOST.get(name) or f"{name}: {_one_line(error)}") from error
        if isinstance(message, str):
            raise PackingStoppedError(message)
        if isinstance(message, tuple):
            attempt.node, attempt.process, attempt.process_started = message
            return ALIVE
        found: Message = message
        return found

    def cancel(self, attempts: Sequence[RayAttempt]) -> None:
        """End running attempts, and wait at most `CANCEL_SECONDS` until they have ended."""
        with contextlib.suppress(self._ray.exceptions.RayError):
            for attempt in attempts:
                self._ray.cancel(attempt.messages, force=True)
            self._wait_for_end(attempts)

    def kill(self, attempt: RayAttempt) -> None:
        """End an attempt that no longer answers, where its node still does.

        Ray would ask its process, and give the next task to it.
        """
        if attempt.process is not None:
            on_its_node = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                attempt.node, soft=False
            )
            with contextlib.suppress(self._ray.exceptions.RayError), self._by_value():
                end = self._end.options(scheduling_strategy=on_its_node)
                self._ray.wait([end.remote(attempt.process, attempt.process_started)], timeout=KILL_SECONDS)
                self._wait_for_end([attempt])
        self.cancel([attempt])

    def _wait_for_end(self, attempts: Sequence[RayAttempt]) -> None:
        if ends := [attempt.messages.completed() for attempt in attempts]:
            self._ray.wait(ends, num_returns=len(ends), timeout=CANCEL_SECONDS)

    @contextlib.contextmanager
    def _by_value(self) -> Iterator[None]:
        """Functions that are submitted inside are carried to nodes that may lack this package."""
        pickler = self._ray.cloudpickle
        pickler.register_pickle_by_value(ray_task)
        try:
            yield
        finally:
            pickler.unregister_pickle_by_value(ray_task)


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[RayCluster]:
    """The cluster at `host:port`, that of `RAY_ADDRESS`, or one that `ray start` began on this machine.

    A program that is connected to a cluster already uses that, and stays connected. Raises `ShardingError` where ray is
    not installed, or no cluster can be reached: none is ever started.
    """
    with _quiet():
        ray = _ray()
        is_ours = not ray.is_initialized()
        if is_ours:
            _connect(ray, address or os.environ.get("RAY_ADDRESS") or "auto")
        elif address is not None:
            raise ShardingError("This program is connected to a Ray cluster already: leave ray_address out.")
    try:
        yield RayCluster(ray)
    finally:
        if is_ours:
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    _check(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        raise _unreachable(address) from error
    except Exception as error:  # other versions, a machine outside of the cluster: Ray has no class for these
        raise ShardingError(f"Ray refuses the connection to {address}: {_one_line(error)}") from error


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ShardingError("Packing on a Ray cluster needs ray: pip install 'dirvae[ray]'.") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Import and connect without telemetry; SIGTERM, which Ray takes for itself, stays with the handler it has."""
    added = {name: value for name, value in QUIET.items() if name not in os.environ}
    os.environ.update(added)
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _check(address: str) -> None:
    """Raise `ShardingError` for an address that no cluster answers at, for which Ray itself waits for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if "://" in address or not host or not port.isdecimal():
        raise ShardingError(
            f"{address} is not the address of a Ray cluster, such as 10.0.0.1:6379 (ray:// and starting a cluster are "
            "not supported). Run make_shards on a machine of the cluster, or by `ray job submit`."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address) from error


def _unreachable(address: str) -> ShardingError:
    if address == "auto":
        return ShardingError(
            "No Ray cluster runs on this machine. Begin one with `ray start --head`, or name one with --ray-address "
            "HOST:PORT or RAY_ADDRESS."
        )
    return ShardingError(f"No Ray cluster answers at {address}. Name another one with --ray-address, or start it.")


def _search_path() -> list[str]:
    return [str(Path(entry).absolute()) for entry in sys.path if Path(entry).is_dir()]


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
