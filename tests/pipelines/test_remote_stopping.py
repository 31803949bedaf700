"""An iteration that waits for a server which sends nothing ends soon after Ctrl-C or `close`, and nothing else does."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import open_source
from pipelines.stopping import StoppedError, check_stopped, pause, stopped_by
from pipelines.storage.remote.reading import RemoteReading
from pipelines.storage.remote.remote_store import RemoteOptions
from pipelines.storage.remote.retrying import RetryPolicy
from tests.fault_proxy import Fault, FaultProxy, by_path
from tests.web_server import WebServer

from .leftovers import threads
from .remote_sets import images, make_sets, play

PATIENT = RemoteOptions(RetryPolicy(stall_seconds=20))
READINGS = {
    "whole": RemoteReading(cache_bytes=1 << 20, options=PATIENT),
    "whole, nothing ahead": RemoteReading(cache_bytes=1 << 20, read_ahead_bytes=0, options=PATIENT),
    "ranges": RemoteReading(fetch="ranges", options=PATIENT),
}
STALL = by_path({".tar": Fault("stall", 0.3, 60)})
REFUSE = by_path({".tar": Fault("503", seconds=60)})


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sets(tmp_path_factory.mktemp("data"))


@pytest.fixture
def proxy(sets: Path) -> Iterator[FaultProxy]:
    """In front of a server of the pictures, below /image."""
    files = {f"/image/{path.name}": path.read_bytes() for path in (sets / "image").iterdir()}
    server = WebServer(files)
    proxy = FaultProxy(server.port)
    yield proxy
    proxy.close()
    server.close()


@pytest.mark.parametrize("fault", ["stall", "503"])
@pytest.mark.parametrize("reading", READINGS)
def test_ctrl_c_ends_the_wait_for_a_server(reading: str, fault: str, sets: Path, proxy: FaultProxy) -> None:
    before, expected = threads(), play(images(sets / "image", shuffle=True))
    iterator = images(open_source(f"{proxy.url}/image", remote=READINGS[reading]), shuffle=True)
    proxy.faults = STALL if fault == "stall" else REFUSE
    interrupt = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(iter(iterator))
    assert time.monotonic() - began < 2.5
    interrupt.join()
    iterator.close()
    assert time.monotonic() - began < 3.5
    assert [name for name in threads() if name not in before and name.startswith(("fetch", "pipelines"))] == []
    proxy.faults = None
    assert play(iterator) == expected
    iterator.close()


@pytest.mark.parametrize("reading", READINGS)
def test_a_loop_that_is_left_leaves_another_over_the_same_source_alone(
    reading: str, sets: Path, proxy: FaultProxy
) -> None:
    expected = play(images(sets / "image", shuffle=True))
    source = open_source(f"{proxy.url}/image", remote=READINGS[reading])
    one, other = images(source, shuffle=True), images(source, shuffle=True)
    found = play(other, 1)
    for _ in one:
        break
    one.close_epoch()
    found += play(other)
    assert found == expected
    assert play(one) == expected[1:]
    one.close()


def test_a_thread_that_is_not_told_to_stop_waits() -> None:
    slept: list[float] = []
    check_stopped("x")
    pause(slept.append, 3.0, "x")
    assert slept == [3.0]
    with stopped_by(lambda: True):
        with pytest.raises(StoppedError, match="x: not needed any more"):
            check_stopped("x")
        with stopped_by(lambda: False):
            check_stopped("x")
            pause(time.sleep, 0.01, "x")
    check_stopped("x")
