"""Packing begins at once: workers start before the source is looked at, and load only what they pack with."""

from __future__ import annotations

import ast
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image

from pipelines import SourceError, make_shards
from pipelines.modality import Format, Modality, register, unregister
from pipelines.sharding import source_job
from pipelines.sharding.engines import ProcessEngine
from pipelines.sharding.engines.file_counter import FileCounter
from pipelines.sharding.plan import PlannedFile, PlannedShard
from pipelines.storage.heads import LocalHeads
from pipelines.storage.source_files import SourceFile

from .leftovers import children_of, new_children, open_files

proc_only = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="looks at processes in /proc")


def loaded(module: str) -> set[str]:
    code = f"import sys, {module}; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(ast.literal_eval(done.stdout))


def test_asking_for_shards_loads_no_array_and_no_picture_library() -> None:
    assert not loaded("pipelines.sharding.api") & {"numpy", "PIL", "pipelines.sharding.source_job"}


def test_a_worker_loads_nothing_of_buckets_annotations_and_clusters() -> None:
    found = loaded("pipelines.sharding.engines.worker")
    assert "pipelines.sharding.shard_job" in found
    unused = {"http.client", "tarfile", "PIL", "pipelines.boxes.masks", "pipelines.sources.shards"}
    unused |= {f"pipelines.sharding.{name}" for name in ("source_bucket", "fetched_inputs", "engines.ray_cluster")}
    unused |= {"pipelines.storage.remote.remote_store", "pipelines.sharding.annotations.store_building"}
    assert not found & unused


@proc_only
def test_workers_are_there_before_the_source_is_looked_at_and_gone_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, before, seen = children_of(os.getpid()), open_files(), list[int]()

    def look(*_: object, **__: object) -> None:
        seen.extend(new_children(others))
        raise SourceError("nothing here")

    monkeypatch.setattr(source_job, "survey", look)
    with pytest.raises(SourceError, match="nothing here"):
        make_shards(tmp_path, tmp_path / "out", workers=2)
    assert len(seen) == 2
    assert new_children(others) == []
    assert open_files() == before


@proc_only
def test_without_workers_none_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others, seen = children_of(os.getpid()), list[int]()
    survey = source_job.survey
    monkeypatch.setattr(
        source_job, "survey", lambda *some, **more: (seen.extend(new_children(others)), survey(*some, **more))[1]
    )
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    assert make_shards(tmp_path, tmp_path / "out", workers=0).examples == 1
    assert seen == []


@pytest.mark.parametrize(
    "files",
    [
        (),
        (PlannedFile("a", SourceFile("a.jpg", 3, "jpg")), PlannedFile("b/c", SourceFile("b/c.png", 4, "png"))),
        (
            PlannedFile("a", SourceFile("a.wav", 3, "wav", (("json", 7), ("f0.npy", 9))), 0),
            PlannedFile("b", SourceFile("b.wav", 1 << 40, "wav"), None),
        ),
    ],
)
def test_a_shard_to_be_packed_is_sent_as_it_is(files: tuple[PlannedFile, ...]) -> None:
    shard = PlannedShard.of(7, files)
    assert pickle.loads(pickle.dumps(shard)) == shard


def test_a_counter_is_read_by_whoever_shares_it() -> None:
    ours = FileCounter.new()
    assert ours.file is None
    theirs = FileCounter(ours.descriptor)
    for number in (0, 1, (1 << 40) + 3):
        theirs.write(number)
        assert ours.file == number
    ours.clear()
    assert theirs.file is None
    ours.close()
    ours.close()


@pytest.fixture
def engine() -> Iterator[ProcessEngine]:
    found = ProcessEngine(2)
    found.begin(2)
    deadline = time.monotonic() + 30
    while not all(worker.is_ready for worker in found._idle) and time.monotonic() < deadline:
        time.sleep(0.01)
    yield found
    found.end()


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    for number in range(2000):
        (tmp_path / f"{number}.jpg").write_bytes(b"\xff\xd8\xff" + b"%d" % number)
    (tmp_path / "folder.jpg").mkdir()
    return [*(f"{number}.jpg" for number in range(2000)), "folder.jpg", "none.jpg"]


def test_heads_are_read_by_idle_workers_as_by_this_process(
    tmp_path: Path, engine: ProcessEngine, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with LocalHeads(tmp_path) as alone:
        expected = alone.read(names, ())
    read_here: list[int] = []
    read = LocalHeads.read

    def watched(self: LocalHeads, paths: Sequence[str], sizes: Sequence[int]) -> list[bytes | str]:
        read_here.append(len(paths))
        return read(self, paths, sizes)

    monkeypatch.setattr(LocalHeads, "read", watched)
    with engine.heads(tmp_path) as heads:
        assert heads.read(names, ()) == expected
        assert read_here == [len(names) // 3]
        assert heads.read(names[:9], ()) == expected[:9]
    assert expected[0] == b"\xff\xd8\xff0"
    assert expected[-2:] == ["Is a directory", "No such file or directory"]


def test_heads_of_a_worker_that_dies_are_read_here_and_packing_goes_on(
    tmp_path: Path, engine: ProcessEngine, names: list[str]
) -> None:
    with LocalHeads(tmp_path) as alone:
        expected = alone.read(names, ())
    os.kill(engine._idle[0]._child._process.pid, signal.SIGKILL)
    with engine.heads(tmp_path) as heads:
        assert heads.read(names, ()) == expected
    assert len(engine._idle) == 1
    engine.begin(2)
    assert len(engine._idle) == 2


def test_heads_are_not_read_by_workers_that_do_not_know_a_modality(
    tmp_path: Path, engine: ProcessEngine, names: list[str]
) -> None:
    def find(read: Callable[[int, int], bytes], size: int) -> int | None:
        return 1 if read(1, 2) == b"\xd8\xff" else None

    toy = Modality(name="toy", noun="toy", formats=(Format("toy", b"\xd8\xff", find=find),))
    (tmp_path / "a.toy").write_bytes(b"\0\xd8\xffrest")
    register(toy)
    try:
        with engine.heads(tmp_path) as heads:
            assert heads.read([*names, "a.toy"], ())[-1] == b"\xd8\xffrest"
    finally:
        unregister("toy")
    assert len(engine._idle) == 2
