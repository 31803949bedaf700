"""A Ray cluster of this machine for tests, as `ray start` begins it, and what packs on it in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = [
    "ROOT",
    "WORK",
    "begin_packing",
    "children_of",
    "packing_on_ray",
    "running_cluster",
    "state_of",
    "wait_until",
]

ROOT = Path(__file__).resolve().parents[2]
WORK = '''
"""Stands in for readers that crash or take long; imported by the children as well."""
import os, signal, time
from pipelines.sharding.shard_job import pack_shard

def slow(task, on_file):
    def watched(place):
        on_file(place)
        time.sleep(0.1)
    return pack_shard(task, watched)

def crash(task, on_file):
    def watched(place):
        on_file(place)
        if place not in task.crashed and task.shard.files[place].file.path.startswith("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
    return pack_shard(task, watched)
'''
PROGRAM = """
import sys
import standing_in_for_ray_work as work
from pipelines.sharding import cli, source_job
from pipelines.sharding.engines import ray_engine
from pipelines.sharding.engines.ray_cluster import RayCluster

name, silent, kills, waits, *arguments = sys.argv[1:]
RayEngine = ray_engine.RayEngine
ray_engine.RayEngine = lambda cluster, workers: RayEngine(
    cluster, workers, work=getattr(work, name), silent_seconds=float(silent)
)
if kills == "never":
    RayCluster.kill = lambda self, attempt: None
if waits == "waits":  # connected, until the test has seen enough
    def packed(*arguments):
        report = pack_set(*arguments)
        print("packed", flush=True)
        sys.stdin.readline()
        return report

    source_job.pack_set, pack_set = packed, source_job.pack_set
sys.exit(cli.main(arguments))
"""


@contextmanager
def running_cluster() -> Iterator[str]:
    """The address of a cluster with two CPUs and without telemetry; it ends with the `with`.

    A cluster whose telemetry is switched off reports just that, to a URL that its environment names.
    """
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a socket's path may have 107 bytes
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
    }
    environment.update(OMP_NUM_THREADS="1", RAY_worker_niceness="0")
    environment.pop("RAY_ADDRESS", None)
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--port={port}", "--num-cpus=2", "--object-store-memory=80000000", "--include-dashboard=false"]
    command += [f"--temp-dir={folder}", "--node-ip-address=127.0.0.1"]
    with (folder / "log").open("wb") as log:
        head = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, cwd=folder, start_new_session=True
        )
    try:
        wait_until(lambda: b"Ray runtime started" in (folder / "log").read_bytes(), 120)
        yield f"127.0.0.1:{port}"
    finally:
        members = [head.pid, *_descendants(head.pid)]
        head.terminate()
        try:
            head.wait(20)
        except subprocess.TimeoutExpired:
            head.kill()
        for process in members:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def begin_packing(
    folder: Path,
    *arguments: str,
    work: str = "slow",
    silent: float = 60.0,
    kills: str = "kills",
    waits: str = "ends",
) -> subprocess.Popen[str]:
    """`make_shards ARGUMENTS`, with a stand-in for the work from a module in `folder`."""
    (folder / "standing_in_for_ray_work.py").write_text(WORK)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}
    command = [sys.executable, "-c", PROGRAM, work, str(silent), kills, waits, *arguments]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, env=environment, text=True, cwd=folder, **pipes)


def wait_until(is_so: Callable[[], Any], seconds: float = 60) -> Any:
    """What `is_so` returns, once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.05)
    return found


def state_of(process: int) -> str:
    """`S`, `R`, `T` … as in /proc; empty for a process that is gone or a zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state == "Z" else state


def children_of(process: int) -> list[int]:
    """Those of all its threads."""
    found: list[int] = []
    with suppress(OSError):  # the process may end meanwhile
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            with suppress(OSError):
                found += map(int, children.read_text().split())
    return found


def packing_on_ray(driver: int) -> list[int]:
    """Processes that pack for a driver on a cluster of `running_cluster`: Ray's, and the children that they began.

    Ray's may be older than the driver; children of an earlier driver's are.
    """
    parents, began = dict[int, int](), dict[int, int]()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            after_name = entry.read_text().rsplit(")", 1)[1].split()
            process = int(entry.parent.name)
            parents[process], began[process] = int(after_name[1]), int(after_name[19])
    found = set[int]()
    for child, parent in parents.items():
        if driver in began and began[child] >= began[driver] and os.getpid() in _ancestors(child, parents):
            with suppress(OSError):
                if Path(f"/proc/{parent}/cmdline").read_bytes().startswith(b"ray::run_on_node"):
                    found |= {parent, child}
    return sorted(found)


def _ancestors(process: int, parents: Mapping[int, int]) -> list[int]:
    found = []
    while process := parents.get(process, 0):
        found.append(process)
    return found


def _descendants(process: int) -> list[int]:
    found = []
    for child in children_of(process):
        found += [child, *_descendants(child)]
    return found
