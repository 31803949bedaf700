"""Packing on a real Ray cluster of this machine: the bytes of the local engine, whatever ends or stops meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.samples.command import main as make_sample_data
from pipelines.sharding import make_shards

from .ray_clusters import begin_packing, children_of, running_cluster, state_of, wait_until

pytestmark = [pytest.mark.heavy, pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="reads /proc")]
pytest.importorskip("ray", reason="ray is absent: pip install 'dirvae[ray]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with running_cluster() as address:
        yield address


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Sixty small pictures."""
    folder = tmp_path / "source"
    folder.mkdir()
    generator = np.random.Generator(np.random.Philox(3))
    for number in range(60):
        Image.fromarray(generator.integers(0, 255, (20, 30, 3), np.uint8)).save(folder / f"{number:02}.png")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def flags(source: Path, out: Path, cluster: str) -> list[str]:
    return [str(source), "--out", str(out), "--shard-examples", "15", "--engine", "ray", "--ray-address", cluster]


def local(source: Path, out: Path) -> dict[str, bytes]:
    make_shards(source, out, workers=0, shard_examples=15)
    return contents(out)


def ray_workers(marker: Path) -> list[int]:
    """Ray's processes that pack into a set below `marker`, which their children have in their open files."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            is_worker = (entry / "cmdline").read_bytes().startswith(b"ray::run_on_node")
        except OSError:
            continue
        if is_worker and any(_writes_below(child, marker) for child in children_of(int(entry.name))):
            found.append(int(entry.name))
    return found


def _writes_below(process: int, marker: Path) -> bool:
    try:
        opened = [str(entry.readlink()) for entry in Path(f"/proc/{process}/fd").iterdir()]
    except OSError:
        return False
    return any(path.startswith(str(marker)) for path in opened)


def ended(packing: subprocess.Popen[str], seconds: float = 240) -> tuple[str, str]:
    out, error = packing.communicate(timeout=seconds)
    assert packing.returncode == 0, error
    return out, error


@pytest.mark.parametrize("modality", ["image", "audio", "video"])
def test_the_bytes_are_those_of_the_local_engine(tmp_path: Path, cluster: str, modality: str) -> None:
    assert make_sample_data([modality, "--out", str(tmp_path / "source"), "--num", "8"]) == 0
    options = {"shard_examples": 3} | ({"segment": 1.0} if modality == "audio" else {})
    make_shards(tmp_path / "source", tmp_path / "local", workers=2, **options)  # type: ignore[arg-type]
    there = make_shards(tmp_path / "source", tmp_path / "out", engine="ray", ray_address=cluster, **options)  # type: ignore[arg-type]
    assert there.new_shards == 3
    assert contents(tmp_path / "out") == contents(tmp_path / "local")


def test_relative_paths_a_report_and_nothing_of_rays_own_on_the_terminal(
    tmp_path: Path, source: Path, cluster: str
) -> None:
    packing = begin_packing(tmp_path, *flags(Path("source"), Path("out"), cluster))
    out, error = ended(packing)
    assert out.startswith("out: 60 images in 4 shards")
    assert all("images, " in line and " per second" in line for line in error.splitlines())
    assert contents(tmp_path / "out") == local(source, tmp_path / "local")


def test_a_reader_that_crashes_is_blamed_on_its_file(tmp_path: Path, source: Path, cluster: str) -> None:
    (source / "07.png").rename(source / "crash.png")
    packing = begin_packing(tmp_path, *flags(source, tmp_path / "out", cluster), work="crash")
    out, _ = ended(packing)
    assert "crash.png: its reader crashed (SIGSEGV)" in out
    assert "59 images in 4 shards" in out


def test_a_worker_of_rays_that_is_killed_changes_nothing(tmp_path: Path, source: Path, cluster: str) -> None:
    packing = begin_packing(tmp_path, *flags(source, tmp_path / "out", cluster))
    worker = wait_until(lambda: ray_workers(tmp_path / "out"), 120)[0]
    os.kill(worker, signal.SIGKILL)
    ended(packing)
    assert contents(tmp_path / "out") == local(source, tmp_path / "local")


def test_a_worker_that_is_stopped_is_killed_and_its_shard_made_again(
    tmp_path: Path, source: Path, cluster: str
) -> None:
    packing = begin_packing(tmp_path, *flags(source, tmp_path / "out", cluster), silent=4)
    worker = wait_until(lambda: ray_workers(tmp_path / "out"), 120)[0]
    os.kill(worker, signal.SIGSTOP)
    ended(packing)
    assert state_of(worker) == ""
    assert contents(tmp_path / "out") == local(source, tmp_path / "local")


def test_an_attempt_that_wakes_after_the_set_is_finished_changes_nothing(
    tmp_path: Path, source: Path, cluster: str
) -> None:
    """As on a node that was cut off: it cannot be killed, and knows nothing of the second attempt."""
    packing = begin_packing(
        tmp_path, *flags(source, tmp_path / "out", cluster), silent=4, kills="never", waits="waits"
    )
    worker = wait_until(lambda: ray_workers(tmp_path / "out"), 120)[0]
    stopped = [worker, *children_of(worker)]
    for process in stopped:
        os.kill(process, signal.SIGSTOP)
    assert packing.stdout is not None
    assert packing.stdin is not None
    assert packing.stdout.readline() == "packed\n"
    finished = contents(tmp_path / "out")
    assert [state_of(process) for process in stopped] == ["T"] * len(stopped)
    for process in reversed(stopped):
        os.kill(process, signal.SIGCONT)
    wait_until(lambda: not any(map(state_of, stopped[1:])), 60)
    time.sleep(1)
    assert contents(tmp_path / "out") == finished == local(source, tmp_path / "local")
    packing.stdin.write("\n")
    packing.stdin.flush()
    ended(packing)
    assert contents(tmp_path / "out") == finished


def test_a_driver_that_is_killed_leaves_nothing_running_and_the_next_run_continues(
    tmp_path: Path, source: Path, cluster: str
) -> None:
    packing = begin_packing(tmp_path, *flags(source, tmp_path / "out", cluster))
    wait_until(lambda: list((tmp_path / "out").glob("*.tar")), 120)
    workers = wait_until(lambda: ray_workers(tmp_path / "out"), 120)
    children = [child for worker in workers for child in children_of(worker)]
    packing.kill()
    packing.communicate()
    wait_until(lambda: not any(map(state_of, [*workers, *children])), 60)
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    ended(begin_packing(tmp_path, *flags(source, tmp_path / "out", cluster)))
    assert all(path.stat().st_mtime_ns == made for path, made in finished.items())
    assert contents(tmp_path / "out") == local(source, tmp_path / "local")


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_tasks_and_removes_what_was_begun(
    tmp_path: Path, source: Path, cluster: str, signal_number: signal.Signals
) -> None:
    packing = begin_packing(tmp_path, *flags(source, tmp_path / "out", cluster))
    workers = wait_until(lambda: ray_workers(tmp_path / "out"), 120)
    children = [child for worker in workers for child in children_of(worker)]
    packing.send_signal(signal_number)
    _, error = packing.communicate(timeout=30)
    assert packing.returncode == 130
    assert error.splitlines()[-1].endswith(
        "Interrupted. Finished shards are kept; the same command continues from there."
    )
    assert "Traceback" not in error
    wait_until(lambda: not any(map(state_of, [*workers, *children])), 20)
    assert not list((tmp_path / "out").rglob("parts-*"))


def test_no_cluster_at_the_address_is_one_sentence(tmp_path: Path, source: Path) -> None:
    packing = begin_packing(tmp_path, *flags(source, tmp_path / "out", "127.0.0.1:9"))
    _, error = packing.communicate(timeout=60)
    assert (packing.returncode, error.count("\n")) == (2, 1)
    assert "No Ray cluster answers at 127.0.0.1:9." in error
    assert not (tmp_path / "out").exists()
