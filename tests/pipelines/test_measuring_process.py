"""Measuring in a process of its own: the same tables, and no crash, hang or lie of a video reaches the caller."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.child_process import DEPTH, ChildPool, end_idle_children
from pipelines.decode.errors import UndecodableError
from pipelines.decode.video import measuring_process
from pipelines.decode.video.measuring import measure_video
from pipelines.decode.video.measuring_process import MOST_PROCESSES, measure_apart
from pipelines.errors import SourceError
from pipelines.sources.located import FilePart, Member
from pipelines.storage.blob import LocalFile, MemoryBlob
from pipelines.storage.frame_table import FrameTable

from .leftovers import children_of, new_children, open_files
from .videos import make_video

ROOT = Path(__file__).resolve().parents[2]


others: list[int] = []
"""Children that are not ours: what tests before these left to torch's own keeping."""


@pytest.fixture(autouse=True)
def _no_children() -> Iterator[None]:
    """No process that measures is there, and none is left."""
    end_idle_children()
    others[:] = children_of(os.getpid())
    yield
    end_idle_children()
    gc.collect()  # an unfinished process that is forgotten would warn
    assert new_children(others) == []


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "a.mp4", num_frames=20, gop=7, b_frames=2)


def in_file(path: Path, offset: int = 0, size: int | None = None) -> Member:
    blob = LocalFile(path)
    size = blob.size - offset if size is None else size
    return Member(lambda start, num: blob.read(offset + start, num), size, file=FilePart(str(path), offset))


def in_memory(path: Path) -> Member:
    blob = MemoryBlob(path.read_bytes())
    return Member(blob.read, blob.size)


def rows(table: FrameTable) -> bytes:
    return table.to_rows().tobytes()


def test_a_table_is_the_same_wherever_it_is_measured(video: Path, tmp_path: Path) -> None:
    expected = rows(measure_video(in_file(video)))
    shard = tmp_path / "shard"
    shard.write_bytes(bytes(1000) + video.read_bytes() + bytes(77))
    for media in (in_file(video), in_memory(video), in_file(shard, 1000, video.stat().st_size)):
        assert rows(measure_apart(media)) == expected
    (child,) = new_children(others)
    measure_apart(in_file(video))
    assert new_children(others) == [child], "one process measures one video after the other"


@pytest.mark.heavy
def test_a_relative_path_is_found_from_wherever_the_process_was_started(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure_apart(in_file(video))
    monkeypatch.chdir(tmp_path)
    assert len(measure_apart(in_file(Path("a.mp4")))) == 20


@pytest.mark.heavy
def test_many_threads_share_a_few_processes(tmp_path: Path) -> None:
    paths = [make_video(tmp_path / f"{number}.mp4", num_frames=3 + number) for number in range(6)]
    with ThreadPoolExecutor(6) as threads:
        found = list(threads.map(lambda number: len(measure_apart(in_file(paths[number % 6]))), range(24)))
    assert found == [3 + number % 6 for number in range(24)]
    assert 1 <= len(new_children(others)) <= MOST_PROCESSES


def test_reasons_come_from_the_process_and_it_goes_on(video: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    (tmp_path / "text.mp4").write_text("no video")
    measure_apart(in_file(video))
    (child,) = new_children(others)
    with pytest.raises(UndecodableError, match=r"^damaged: it cannot be opened \(invalid data\)$"):
        measure_apart(in_file(cut))
    with pytest.raises(UndecodableError, match="does not begin like one"):
        measure_apart(in_memory(tmp_path / "text.mp4"))
    with pytest.raises(UndecodableError, match="more than the 100 allowed"):
        measure_apart(in_file(video), max_pixels=100)
    gone = in_file(cut)
    cut.unlink()
    with pytest.raises(SourceError, match=r"cut\.mp4: cannot be opened"):
        measure_apart(gone)
    assert new_children(others) == [child]


@pytest.mark.heavy
def test_an_error_of_reading_reaches_the_caller(video: Path) -> None:
    def fails(offset: int, length: int) -> bytes:
        raise SourceError("the network is down")

    with pytest.raises(SourceError, match="the network is down"):
        measure_apart(Member(fails, 1000))
    assert len(measure_apart(in_memory(video))) == 20


def child(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Have videos measured by a program that answers each question so."""
    program = f"""
        import os, pathlib, signal, time
        from multiprocessing.connection import Connection

        here = pathlib.Path({str(folder)!r})

        def main(connection, lifeline):
            connection = Connection(connection)
            connection.send_bytes(b".")
            while True:
                question = connection.recv_bytes()
                {answer}
        """
    (folder / "other_child.py").write_text(textwrap.dedent(program))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(measuring_process, "_pool", ChildPool("other_child", most=1))


@pytest.mark.parametrize("number", [signal.SIGSEGV, pytest.param(signal.SIGKILL, marks=pytest.mark.heavy)])
def test_a_crash_is_a_reason_and_the_next_video_is_measured(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    with monkeypatch.context() as patch:
        child(tmp_path, patch, f"(here / str(os.getpid())).touch(), os.kill(os.getpid(), {int(number)})")
        with pytest.raises(UndecodableError, match=rf"^its reader crashed \({number.name}\)$"):
            measure_apart(in_file(video))
        assert sum(path.name.isdigit() for path in tmp_path.iterdir()) == 2, "it is tried once more"
    assert len(measure_apart(in_file(video))) == 20


@pytest.mark.heavy
def test_a_process_that_was_killed_for_another_reason_is_replaced(video: Path) -> None:
    measure_apart(in_file(video))
    (first,) = new_children(others)
    os.kill(first, signal.SIGKILL)
    assert len(measure_apart(in_file(video))) == 20
    assert new_children(others) != [first]


def test_a_process_that_cannot_begin_is_no_fault_of_a_video(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring_process, "_pool", ChildPool("no_such_module", most=1))
    with pytest.raises(SourceError, match=r"ended before it had begun \(exit code 1\)"):
        measure_apart(in_file(video))


def test_a_reader_that_never_ends_is_ended(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child(tmp_path, monkeypatch, "time.sleep(1000)")
    monkeypatch.setattr(measuring_process, "SECONDS_OF_SILENCE", 0.5)
    with pytest.raises(UndecodableError, match=r"^its reader does not come to an end$"):
        measure_apart(in_file(video))
    assert new_children(others) == []


@pytest.mark.heavy
def test_a_reader_that_gives_signs_of_life_may_take_its_time(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = '[(time.sleep(0.2), connection.send_bytes(b".")) for _ in range(8)]; connection.send_bytes(b"e" + '
    child(tmp_path, monkeypatch, answer + 'b\'["refused", "too slow"]\')')
    monkeypatch.setattr(measuring_process, "SECONDS_OF_SILENCE", 1.0)
    with pytest.raises(UndecodableError, match=r"^too slow$"):
        measure_apart(in_file(video))


def test_a_table_that_cannot_be_is_refused(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child(tmp_path, monkeypatch, 'connection.send_bytes(b"t" + bytes([5]) + bytes(7) + bytes(200))')
    with pytest.raises(UndecodableError, match="the times of its frames cannot be"):
        measure_apart(in_file(video))


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of another process are read from /proc")
def test_its_memory_is_limited(video: Path) -> None:
    measure_apart(in_file(video))
    (number,) = new_children(others)
    limits = Path(f"/proc/{number}/limits").read_text()
    assert any(line.split()[:4] == ["Max", "address", "space", str(2 << 30)] for line in limits.splitlines())


def test_ctrl_c_ends_the_process_that_is_at_it(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child(tmp_path, monkeypatch, "time.sleep(1000)")
    threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        measure_apart(in_file(video))
    assert new_children(others) == []


def run(code: str, **settings: object) -> subprocess.CompletedProcess[str]:
    begin = """
import os, signal, sys, time
from pipelines.decode.video.measuring_process import measure_apart
from tests.pipelines.leftovers import children_of
from tests.pipelines.test_measuring_process import in_file
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", begin + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )


def test_nothing_lives_before_the_first_video_and_nothing_after_the_program(video: Path) -> None:
    done = run(f"""
        print(len(children_of(os.getpid())))
        measure_apart(in_file({str(video)!r}))
        print(*children_of(os.getpid()))
        """)
    assert (done.returncode, done.stderr) == (0, "")
    before, child = done.stdout.split()
    assert before == "0"
    assert not Path(f"/proc/{child}").exists()


@pytest.mark.parametrize("is_at_it", [pytest.param(False, marks=pytest.mark.heavy), True])
def test_it_ends_with_a_program_that_is_killed(video: Path, tmp_path: Path, is_at_it: bool) -> None:
    """Also in the middle of a video."""
    hanging = """
        import time
        from pipelines.decode.video import measuring_child

        def main(connection, lifeline):
            measuring_child.measure_video = lambda *_, **__: time.sleep(1000)
            measuring_child.main(connection, lifeline)
        """
    (tmp_path / "hanging_child.py").write_text(textwrap.dedent(hanging))
    done = run(f"""
        import threading
        from pipelines.child_process import ChildPool
        from pipelines.decode.video import measuring_process
        if {is_at_it}:
            sys.path.append({str(tmp_path)!r})
            measuring_process._pool = ChildPool("hanging_child", most=1)
        threading.Thread(target=lambda: measure_apart(in_file({str(video)!r})), daemon=True).start()
        time.sleep(1)
        print(*children_of(os.getpid()), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
        """)
    assert done.returncode == -signal.SIGKILL
    (child,) = done.stdout.split()
    _wait_until(lambda: not _is_alive(int(child)))


def test_a_forked_process_has_one_of_its_own(video: Path) -> None:
    done = run(f"""
        measure_apart(in_file({str(video)!r}))
        mine = children_of(os.getpid())
        child = os.fork()
        if not child:
            assert len(measure_apart(in_file({str(video)!r}))) == 20
            assert len(children_of(os.getpid())) == 1
            sys.exit(0)  # which ends its own process, and no other
        assert os.waitpid(child, 0)[1] == 0
        assert children_of(os.getpid()) == mine
        assert len(measure_apart(in_file({str(video)!r}))) == 20
        print("well")
        """)
    assert (done.stdout, done.stderr) == ("well\n", "")


@pytest.mark.heavy
def test_no_descriptors_are_left(video: Path) -> None:
    measure_apart(in_file(video))
    end_idle_children()
    before = open_files()
    for _ in range(3):
        measure_apart(in_file(video))
        end_idle_children()
    assert open_files() == before


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _wait_until(condition: object, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_script_named_like_a_module_of_python_is_run_once(video: Path, tmp_path: Path) -> None:
    program = f"""
        import pathlib
        from pipelines import VideoIterator, make_shards

        with open({str(tmp_path / "runs")!r}, "a") as runs:
            runs.write("run\\n")
        source = pathlib.Path({str(tmp_path / "source")!r})
        make_shards(source, {str(tmp_path / "out")!r}, workers=2, shard_examples=1)
        print(len(VideoIterator(source, clip_frames=5, batch_size=1)))
        """
    (tmp_path / "source").mkdir()
    for number in range(2):
        shutil.copy(video, tmp_path / "source" / f"{number}.mp4")
    script = tmp_path / "resource.py"  # which the processes that measure import, and this program does not
    script.write_text(textwrap.dedent(program))
    settings = {"env": {**os.environ, "PYTHONPATH": str(ROOT), "DIRVAE_CACHE": str(tmp_path / "cache")}}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, **settings)
    assert (done.returncode, done.stdout, done.stderr) == (0, "8\n", "")
    assert (tmp_path / "runs").read_text() == "run\n"


def test_children_have_children_and_those_have_none(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DEPTH, "1")
    assert len(measure_apart(in_file(video))) == 20
    end_idle_children()
    monkeypatch.setenv(DEPTH, "2")
    with pytest.raises(SourceError, match="2 generations of ours starts no others"):
        measure_apart(in_file(video))
