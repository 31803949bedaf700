"""Iterators and processes: interruption, the interpreter's end, spawn and fork."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import ImageIterator

Fixture = Callable[..., Any]

SLOW = """
import sys, time
import numpy as np
from pipelines import DataIterator, Example, Source

class Numbers(Source):
    name = "numbers"
    def __len__(self):
        return 1000
    def read(self, indices):
        return [Example(index, str(index), b"") for index in indices]

def decode(example, rng):
    time.sleep({delay})
    return np.array([example.index])

numbers = DataIterator(Numbers(), decode, batch_size=8, threads=4)
"""


def run_python(code: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, **settings
    )


@pytest.mark.parametrize(
    "ending",
    ["", "raise SystemExit(0)", "del loop", "numbers.close()", "import gc; a = [loop]; a.append(a); del a, loop"],
    ids=["end of the script", "exit", "dropped", "closed", "in a cycle"],
)
def test_the_interpreter_ends_at_once_whatever_is_live(ending: str) -> None:
    done = run_python(SLOW.format(delay=0.01) + f"loop = iter(numbers)\nnext(loop)\n{ending}\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_uncaught_error_in_the_loop_ends_the_program() -> None:
    done = run_python(SLOW.format(delay=0.01) + "for batch in numbers:\n    raise RuntimeError('mine')\n")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("RuntimeError: mine")


def test_ctrl_c_during_next_ends_threads_and_leaves_the_state_before_the_batch() -> None:
    code = SLOW.format(delay=0.4) + (
        "import threading\n"
        "loop = iter(numbers)\n"
        "print('waiting', flush=True)\n"
        "try:\n    next(loop)\n"
        "except KeyboardInterrupt:\n"
        "    live = [t.name for t in threading.enumerate() if t.name.startswith('pipelines')]\n"
        "    print('interrupted', numbers.position, live, flush=True)\n"
        "print(len(next(iter(numbers))))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "waiting\n"
        time.sleep(0.4)
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted 0 []\n"
        assert child.stdout.readline() == "8\n", "the iterator goes on"
        assert child.wait(timeout=60) == 0


def test_a_signal_handler_may_save_the_state_while_batches_are_made() -> None:
    code = SLOW.format(delay=0.005) + (
        "import json, signal\n"
        "saved = []\n"
        "signal.signal(signal.SIGALRM, lambda *_: saved.append(json.dumps(numbers.state_dict())))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05, 0.01)\n"
        "seen = [i for batch in numbers for i in batch.data[:, 0].tolist()]\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "positions = [json.loads(state)['position'] for state in saved]\n"
        "print(seen == list(range(1000)), len(positions) > 3, all(p % 8 == 0 for p in positions))\n"
    )
    done = run_python(code)
    assert done.stdout == "True True True\n", done.stderr


IN_CHILD = """
def play(images, answer):
    answer.send([(batch.keys, int(batch.data.astype(int).sum())) for batch in images])
"""


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # newer Pythons warn of any fork
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_an_iterator_goes_to_a_process_that_is_started_by(
    method: str, picture_folder: Fixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spawned it is pickled; forked it must work while nothing is live in the parent."""
    images = ImageIterator(picture_folder(9), size=8, batch_size=4, shuffle=True, threads=2, resizer="pillow")
    next(iter(images))
    images.close()
    (tmp_path / "plays_in_a_child.py").write_text(IN_CHILD)
    monkeypatch.syspath_prepend(tmp_path)
    context: Any = multiprocessing.get_context(method)
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=importlib.import_module("plays_in_a_child").play, args=(images, send))
    child.start()
    send.close()
    try:
        assert receive.poll(60), "the child says nothing"
        found = receive.recv()
    finally:
        child.join(30)
        receive.close()
    assert child.exitcode == 0
    expected = [(batch.keys, int(batch.data.astype(int).sum())) for batch in images]
    assert found == expected
    assert len(found) == 2


def test_two_iterators_in_two_threads_do_not_meet(picture_folder: Fixture) -> None:
    folder = picture_folder(30)

    def play(seed: int) -> list[str]:
        images = ImageIterator(folder, size=8, batch_size=4, shuffle=True, seed=seed, threads=2)
        return [key for batch in images for key in batch.keys]

    expected = [play(seed) for seed in range(4)]
    found: dict[int, list[str]] = {}
    threads = [threading.Thread(target=lambda s=seed: found.update({s: play(s)})) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[seed] for seed in range(4)] == expected


def test_it_runs_with_one_core_and_in_a_child_without_a_terminal(picture_folder: Fixture) -> None:
    code = (
        "from pipelines import ImageIterator\n"
        f"images = ImageIterator({str(picture_folder(5))!r}, size=8, batch_size=2, resizer='pillow')\n"
        "print(images.threads, sum(len(batch) for batch in images))\n"
    )
    if hasattr(os, "sched_setaffinity"):
        code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n" + code
    done = run_python(code, stdin=subprocess.DEVNULL)
    threads, examples = done.stdout.split()
    assert examples == "5", done.stderr
    assert threads == "1" or not hasattr(os, "sched_setaffinity")
