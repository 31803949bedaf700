"""Engines: the same shards from any number of processes, and children that crash, hang on or lose their parent."""

from __future__ import annotations

import errno
import importlib
import itertools
import os
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.sharding import api
from pipelines.sharding.engines import ProcessEngine, SerialEngine, make_engine
from pipelines.sharding.plan import make_plan
from pipelines.sharding.settings import PackSettings
from pipelines.sharding.shard_job import ShardTask
from pipelines.sharding.shard_target import FolderTarget
from pipelines.sharding.source_reader import PackingStoppedError
from pipelines.storage.listing import list_folder

from .leftovers import children_of, new_children, open_files

ROOT = Path(__file__).resolve().parents[2]

WORK = '''
"""Stands in for readers that crash; imported by the children as well."""
import os, signal, time
from pathlib import Path
from pipelines.sharding.shard_job import pack_shard

def crash(task, on_file):
    """Dies at every image named crash*, by the signal its name says; once only for those named flaky*."""
    def watched(place):
        on_file(place)
        path = task.shard.files[place].file.path
        marker = task.target.out.parent / ("seen-" + path)
        if place not in task.crashed and path.startswith("crash"):
            os.kill(os.getpid(), getattr(signal, path.split("-")[1]))
        if path.startswith("flaky") and not marker.exists():
            marker.write_bytes(b"")
            os._exit(3)
    return pack_shard(task, watched)

def raise_error(task, on_file):
    raise ArithmeticError("a mistake of ours")

def hang(task, on_file):
    """One image that takes a minute."""
    on_file(0)
    time.sleep(60)

def hang_in_native_code(task, on_file):
    """The same in a reader that never lets Python code run."""
    import ctypes
    on_file(0)
    ctypes.PyDLL(None).sleep(60)

def die_unread(task, on_file):
    os._exit(4)
'''


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "standing_in_for_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("standing_in_for_work", None)
    return importlib.import_module("standing_in_for_work")


def make_source(folder: Path, names: list[str]) -> Path:
    folder.mkdir(parents=True)
    generator = np.random.Generator(np.random.Philox(3))
    for name in names:
        Image.fromarray(generator.integers(0, 255, (20, 30, 3), np.uint8)).save(folder / name, "PNG")
    return folder


def tasks_of(source: Path, target: Path, *, shard_examples: int = 2) -> list[ShardTask]:
    target.mkdir(parents=True, exist_ok=True)
    settings = PackSettings(shard_examples=shard_examples)
    plan = make_plan(list_folder(source, ("image",)).listings["image"], settings)
    return [ShardTask(shard, source, FolderTarget(target, target), settings) for shard in plan.shards]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def use_engine(monkeypatch: pytest.MonkeyPatch, work: Callable[..., Any]) -> None:
    monkeypatch.setattr(api, "begin_early", lambda workers, _: ProcessEngine(workers, work=work))


def test_every_engine_writes_the_same_shards_and_tells_how_far_it_has_come(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", [f"{index}.png" for index in range(9)])
    found = []
    for workers in (0, 1, 3):
        target = tmp_path / str(workers)
        told: list[tuple[int, int]] = []
        engine = make_engine(workers)
        results = list(engine.run(tasks_of(source, target), lambda *place, told=told: told.append(place)))
        assert isinstance(engine, ProcessEngine if workers else SerialEngine)
        every = [(number, place) for number in range(5) for place in range(2) if number * 2 + place < 9]
        assert sorted(told) == every if workers == 0 else set(told) <= set(every)
        found.append((sorted(results, key=lambda result: result.number), contents(target)))
    assert found[0] == found[1] == found[2]
    assert len(found[0][1]) == 10


@pytest.mark.parametrize("workers", [1, 2])
def test_an_image_that_crashes_its_reader_is_a_failure_and_the_rest_is_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Any, workers: int
) -> None:
    names = [f"{index}.png" for index in range(6)]
    source = make_source(tmp_path / "source", [*names, "crash-SIGSEGV-1.png", "crash-SIGABRT-2.png"])
    use_engine(monkeypatch, work.crash)
    report = api.make_shards(source, tmp_path / "out", workers=workers, shard_examples=4)
    assert [tuple(failure) for failure in report.failures] == [
        ("crash-SIGABRT-2.png", "its reader crashed (SIGABRT)"),
        ("crash-SIGSEGV-1.png", "its reader crashed (SIGSEGV)"),
    ]
    assert report.examples == 6
    serial = tmp_path / "serial"
    monkeypatch.undo()
    for name in ("crash-SIGSEGV-1.png", "crash-SIGABRT-2.png"):
        size = (source / name).stat().st_size
        (source / name).write_bytes((source / name).read_bytes()[:8] + bytes(size - 8))
    api.make_shards(source, serial, workers=0, shard_examples=4)
    tars = {name: content for name, content in contents(tmp_path / "out").items() if ".tar" in name}
    assert tars == {name: content for name, content in contents(serial).items() if ".tar" in name}


def test_a_child_that_dies_once_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Any) -> None:
    names = ["a.png", "b.png", "flaky.png"]
    source = make_source(tmp_path / "source", names)
    api.make_shards(source, tmp_path / "undisturbed", workers=0)
    use_engine(monkeypatch, work.crash)
    report = api.make_shards(source, tmp_path / "out", workers=1)
    assert (tmp_path / "seen-flaky.png").exists()
    assert (report.examples, report.failures) == (3, ())
    assert contents(tmp_path / "out") == contents(tmp_path / "undisturbed")


def test_a_mistake_in_our_own_code_is_raised_and_not_blamed_on_an_image(tmp_path: Path, work: Any) -> None:
    source = make_source(tmp_path / "source", ["a.png"])
    with pytest.raises(ArithmeticError, match="a mistake of ours"):
        list(ProcessEngine(1, work=work.raise_error).run(tasks_of(source, tmp_path / "out"), lambda *_: None))


def test_a_child_that_dies_before_it_reads_anything_stops_the_run(tmp_path: Path, work: Any) -> None:
    source = make_source(tmp_path / "source", ["a.png"])
    with pytest.raises(PackingStoppedError, match=r"exit code 4.*workers=0"):
        list(ProcessEngine(1, work=work.die_unread).run(tasks_of(source, tmp_path / "out"), lambda *_: None))


def test_a_script_without_a_main_guard_packs_once_and_is_not_run_again(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", [f"{index}.png" for index in range(6)])
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from pipelines.sharding import make_shards
        print("run", flush=True)
        print(make_shards({str(source)!r}, {str(tmp_path / "out")!r}, workers=2, shard_examples=2).new_shards)
        """)
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("run\n3\n", "", 0)
    api.make_shards(source, tmp_path / "serial", workers=0, shard_examples=2)
    assert contents(tmp_path / "out") == contents(tmp_path / "serial")


def test_a_program_from_standard_input_packs_in_parallel(tmp_path: Path) -> None:
    """As a notebook: there is no file that a worker could import."""
    source = make_source(tmp_path / "source", [f"{index}.png" for index in range(6)])
    code = f"from pipelines import make_shards; print(make_shards({str(source)!r}, workers=2, shard_examples=2).shards)"
    done = subprocess.run(
        [sys.executable, "-"],
        input=code,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.stderr, done.returncode) == ("3\n", "", 0)


def test_vendored_under_another_name_it_packs_in_parallel_without_the_original(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", [f"{index}.png" for index in range(4)])
    vendor = tmp_path / "program" / "vendor"
    shutil.copytree(ROOT / "pipelines", vendor / "my_streams", ignore=shutil.ignore_patterns("__pycache__"))
    code = f"""if True:
        import sys
        sys.path = [entry for entry in sys.path if entry != {str(ROOT)!r}]
        from vendor.my_streams import make_shards
        print(make_shards({str(source)!r}, "out", workers=2, shard_examples=2).shards, "pipelines" in sys.modules)
        """
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path / "program",
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert (done.stdout, done.stderr, done.returncode) == ("2 False\n", "", 0)


def test_settings_that_live_in_the_program_itself_are_one_sentence(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", ["a.png"])
    code = f"""if True:
        from dataclasses import dataclass, replace
        from pipelines import ShardingError, make_shards
        from pipelines.modality import find_modality, register
        from pipelines.sharding.modalities.image import ImageSettings
        @dataclass(frozen=True)
        class OwnSettings(ImageSettings):
            pass
        register(replace(find_modality("image"), packing=OwnSettings))
        try:
            make_shards({str(source)!r}, "out", workers=2)
        except ShardingError as error:
            print(error)
        print(make_shards({str(source)!r}, "out", workers=0).examples)
        """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "OwnSettings is defined in the program that was started, which worker processes do not run. Move it to a "
        "module that can be imported, or use workers=0.",
        "1",
    ]


def test_what_a_worker_cannot_import_is_one_sentence(tmp_path: Path, work: Any, monkeypatch: Any) -> None:
    source = make_source(tmp_path / "source", ["a.png"])
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    with pytest.raises(
        PackingStoppedError, match=r"cannot import what it needs \(.*standing_in_for_work.*workers=0"
    ):
        list(ProcessEngine(1, work=work.crash).run(tasks_of(source, tmp_path / "out"), lambda *_: None))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks for open files in /proc")
@pytest.mark.parametrize("refused", [1, 2])
def test_a_worker_that_cannot_be_started_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    popen, started = subprocess.Popen, itertools.count(1)

    def start(*command: Any, **settings: Any) -> Any:
        if next(started) >= refused:
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return popen(*command, **settings)

    source = make_source(tmp_path / "source", ["a.png", "b.png"])
    monkeypatch.setattr(subprocess, "Popen", start)
    others, before = children_of(os.getpid()), open_files()
    with pytest.raises(PackingStoppedError, match=r"cannot be started \(Resource temporarily unavailable\)"):
        api.make_shards(source, tmp_path / "out", workers=2, shard_examples=1)
    assert new_children(others) == []
    assert open_files() == before


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks for open files in /proc")
@pytest.mark.parametrize("end", ["done", "left early", "crashed"])
def test_an_engine_leaves_no_process_and_no_open_file(tmp_path: Path, work: Any, end: str) -> None:
    names = [f"{index}.png" for index in range(6)]
    source = make_source(tmp_path / "source", [*names, "crash-SIGSEGV-1.png"] if end == "crashed" else names)
    others, before = children_of(os.getpid()), open_files()
    running = ProcessEngine(2, work=work.crash).run(tasks_of(source, tmp_path / "out"), lambda *_: None)
    if end == "left early":
        next(running)
        running.close()  # type: ignore[attr-defined]
    else:
        list(running)
    assert new_children(others) == []
    assert open_files() == before


def test_leaving_the_iteration_early_ends_the_children(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", [f"{index}.png" for index in range(8)])
    others = children_of(os.getpid())
    running = ProcessEngine(2).run(tasks_of(source, tmp_path / "out"), lambda *_: None)
    next(running)
    children = new_children(others)
    assert len(children) == 2
    running.close()  # type: ignore[attr-defined]
    assert not any(_is_alive(child) for child in children)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads the process table of Linux")
@pytest.mark.parametrize("busy", ["hang", "hang_in_native_code"])
def test_children_end_with_a_parent_that_is_killed_even_in_the_middle_of_an_image(
    tmp_path: Path, work: Any, busy: str
) -> None:
    source = make_source(tmp_path / "source", ["a.png", "b.png"])
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]
        import standing_in_for_work
        from pipelines.sharding import api, set_job
        from pipelines.sharding.engines import ProcessEngine
        api.begin_early = lambda workers, _: ProcessEngine(workers, work=standing_in_for_work.{busy})
        if __name__ == "__main__":
            set_job.Progress.on_file = lambda self, *place: print(place, flush=True)
            api.make_shards({str(source)!r}, {str(tmp_path / "out")!r}, workers=2, shard_examples=1)
        """)
    )
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert sorted([parent.stdout.readline(), parent.stdout.readline()]) == [b"(0, 0)\n", b"(1, 0)\n"]
        children = _children(parent.pid)
        assert len(children) >= 2
        parent.kill()
    deadline = time.monotonic() + 5
    while any(_is_alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(_is_alive(child) for child in children)


def _children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
