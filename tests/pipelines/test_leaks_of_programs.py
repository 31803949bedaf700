"""Programs that end in the midst of a loop, by Ctrl-C, by an error or by a kill, leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .leftovers import children_of, segments_of

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks for processes in /proc")

Fixture = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]


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


def interrupted(program: subprocess.Popen[str]) -> str:
    """What a program says after Ctrl-C; once more where Python has lost it, as in what runs around a fork."""
    for _ in range(4):
        program.send_signal(signal.SIGINT)
        try:
            return program.communicate(timeout=15)[1]
        except subprocess.TimeoutExpired as expired:
            if b"Exception ignored in" not in (expired.stderr or b""):
                break
    program.kill()
    raise AssertionError(f"it goes on after Ctrl-C: {program.communicate()}")


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
    "persistent": "__import__('pipelines.torch_bridge').torch_bridge.TorchLoader(images, 2, persistent_workers=True)",
    "prefetcher": "__import__('pipelines.torch_bridge').torch_bridge.DevicePrefetcher(images, 'cpu')",
}


@pytest.mark.parametrize("kind", LOADERS)
def test_ctrl_c_leaves_nothing(kind: str, picture_folder: Fixture) -> None:
    program, workers = start(picture_folder(40), LOADERS[kind], "pass")
    report = interrupted(program)
    assert program.returncode in (1, -signal.SIGINT, 130)
    assert "KeyboardInterrupt" in report
    assert_gone([program.pid, *workers])


@pytest.mark.parametrize(
    ("kind", "then"),
    [
        ("threads", "sys.exit(7)"),
        ("threads", "os._exit(7)"),
        ("workers", "raise LookupError"),
        ("persistent", "sys.exit(7)"),
        ("prefetcher", "raise LookupError"),
    ],
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
