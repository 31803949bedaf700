"""What the Ray engine does about tasks that are lost, silent or refused; the cluster is a script. See `test_ray.py`."""

from __future__ import annotations

import importlib
import pickle
import queue
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import ShardingError
from pipelines.sharding import make_shards
from pipelines.sharding.cli import main
from pipelines.sharding.engines import RayEngine, on_node, ray_engine
from pipelines.sharding.engines.on_node import ALIVE, package_root, packed, what_decides_bytes
from pipelines.sharding.engines.ray_cluster import AttemptLostError, RayCluster, connected
from pipelines.sharding.engines.ray_task import run_on_node
from pipelines.sharding.plan import PlannedFile, PlannedShard
from pipelines.sharding.settings import PackSettings
from pipelines.sharding.shard_content import ShardSummary
from pipelines.sharding.shard_job import ShardResult, ShardTask, pack_shard
from pipelines.sharding.shard_target import FolderTarget
from pipelines.sharding.source_reader import PackingStoppedError
from pipelines.storage.listing import SourceFile

LOST = AttemptLostError("its node is gone")


@dataclass(eq=False)
class Attempt:
    number: int
    says: list[Any]


@dataclass
class ScriptedCluster:
    """The n-th attempt at a shard says what `scripts[shard][n]` lists, then nothing; without a script, its result."""

    scripts: dict[int, list[list[Any]]] = field(default_factory=dict)
    begun: list[int] = field(default_factory=list)
    running: list[Attempt] = field(default_factory=list)
    most_running: int = 0
    killed: list[int] = field(default_factory=list)
    cancelled: list[int] = field(default_factory=list)

    def submit(self, work: object, task: ShardTask) -> Attempt:
        number = task.shard.number
        assert isinstance(task.target, FolderTarget)
        assert all(path.is_absolute() for path in (task.source, task.target.folder, task.target.out))
        scripts = self.scripts.get(number, [])[self.begun.count(number) :]
        self.begun.append(number)
        self.running.append(Attempt(number, list(scripts[0]) if scripts else ["result"]))
        self.most_running = max(self.most_running, len(self.running))
        return self.running[-1]

    def wait(self, attempts: Sequence[Attempt], seconds: float) -> list[Attempt]:
        assert sorted(map(id, attempts)) == sorted(map(id, self.running))
        return [attempt for attempt in attempts if attempt.says]

    def message(self, attempt: Attempt) -> Any:
        said = attempt.says.pop(0)
        if said == "result" or isinstance(said, AttemptLostError):
            self.running.remove(attempt)
        if isinstance(said, AttemptLostError):
            raise said
        return result(attempt.number) if said == "result" else said

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        self.cancelled += [attempt.number for attempt in attempts]
        self.running = [attempt for attempt in self.running if attempt not in attempts]

    def kill(self, attempt: Attempt) -> None:
        self.killed.append(attempt.number)
        self.running.remove(attempt)


def result(number: int) -> ShardResult:
    return ShardResult(number, ShardSummary(f"image-{number:06d}.tar", 0, 0, ""), ())


def task(number: int) -> ShardTask:
    files = (PlannedFile("a", SourceFile("a.png", 1, "png")),)
    return ShardTask(
        PlannedShard.of(number, files), Path("source"), FolderTarget(Path("parts"), Path("out")), PackSettings()
    )


def run(
    cluster: ScriptedCluster, num: int, *, workers: int = 2, silent: float = 60.0
) -> tuple[list[int], list[Any]]:
    """Numbers of the results, and what was told of files."""
    told: list[Any] = []
    engine = RayEngine(cluster, workers, silent_seconds=silent)
    found = [one.number for one in engine.run((task(n) for n in range(num)), lambda *place: told.append(place))]
    assert cluster.running == []
    return sorted(found), told


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "PAUSE_SECONDS", (0.0, 0.0, 0.0))
    monkeypatch.setattr(ray_engine, "LOOK_SECONDS", 0.001)


def test_no_more_tasks_are_begun_than_asked_for_nor_taken_before_they_are_begun() -> None:
    cluster, taken = ScriptedCluster(), []

    def tasks() -> Iterator[ShardTask]:
        for number in range(20):
            taken.append(number)
            yield task(number)

    for done, _ in enumerate(RayEngine(cluster, 3).run(tasks(), lambda *_: None)):
        assert len(taken) <= done + 4
    assert cluster.most_running == 3
    assert cluster.begun == list(range(20))


def test_numbers_of_files_are_told_and_signs_of_life_are_not() -> None:
    assert run(ScriptedCluster({1: [[ALIVE, 0, ALIVE, 7, "result"]]}), 2) == ([0, 1], [(1, 0), (1, 7)])


def test_a_lost_task_is_begun_again_and_the_third_loss_is_not_the_last() -> None:
    cluster = ScriptedCluster({1: [[ALIVE, 0, LOST], [LOST], [ALIVE, LOST]]})
    assert run(cluster, 3)[0] == [0, 1, 2]
    assert cluster.begun.count(1) == 4


def test_a_task_that_is_lost_four_times_ends_the_run_with_its_shard_and_the_reason() -> None:
    cluster = ScriptedCluster({1: [[LOST]] * 4, 2: [[ALIVE]]})
    with pytest.raises(
        PackingStoppedError, match=r"image-000001.tar: given up after 4 attempts .*\(its node is gone\)"
    ):
        run(cluster, 3)
    assert cluster.begun.count(1) == 4
    assert cluster.cancelled == [2]


def test_a_task_that_began_and_falls_silent_is_killed_and_begun_again() -> None:
    cluster = ScriptedCluster({1: [[ALIVE, 0]]})
    assert run(cluster, 3, silent=0.0)[0] == [0, 1, 2]
    assert (cluster.killed, cluster.begun.count(1)) == ([1], 2)


def test_a_task_that_waits_for_a_cpu_may_be_silent() -> None:
    class Busy(ScriptedCluster):
        waited = 0

        def wait(self, attempts: Sequence[Attempt], seconds: float) -> list[Attempt]:
            self.waited += 1
            return super().wait(attempts, seconds) if self.waited > 50 else []

    cluster = Busy()
    assert run(cluster, 2, silent=0.0)[0] == [0, 1]
    assert (cluster.killed, cluster.begun) == ([], [0, 1])


def test_a_driver_that_did_not_listen_gives_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was stopped, or the machine slept: what was sent meanwhile may take a moment to arrive."""
    now = [0.0]
    monkeypatch.setattr(ray_engine.time, "monotonic", lambda: now[0])

    class Sleeping(ScriptedCluster):
        def wait(self, attempts: Sequence[Attempt], seconds: float) -> list[Attempt]:
            ready = super().wait(attempts, seconds)
            if not ready and now[0] == 0.0:
                now[0] = 1000.0
            elif not ready:
                attempts[0].says.append("result")
            return ready

    cluster = Sleeping({0: [[ALIVE]]})
    assert run(cluster, 1)[0] == [0]
    assert cluster.killed == []


def test_an_error_of_ours_ends_the_run_and_cancels_the_others() -> None:
    cluster = ScriptedCluster({0: [[ALIVE]], 1: [[ALIVE, PackingStoppedError("Node n: no space")]]})
    with pytest.raises(PackingStoppedError, match="Node n: no space"):
        run(cluster, 3)
    assert (cluster.cancelled, cluster.begun) == ([0, 1], [0, 1])


def test_leaving_early_cancels_what_runs() -> None:
    cluster = ScriptedCluster({1: [[ALIVE]], 2: [[ALIVE]]})
    running = RayEngine(cluster, 3).run((task(n) for n in range(9)), lambda *_: None)
    next(running)
    running.close()  # type: ignore[attr-defined]
    assert cluster.cancelled == [1, 2]


# On a node


@pytest.fixture
def sent(tmp_path: Path) -> Callable[..., bytes]:
    """A task over one picture, as it is sent."""
    (tmp_path / "source").mkdir()
    (tmp_path / "parts").mkdir()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "source" / "a.png")
    size = (tmp_path / "source" / "a.png").stat().st_size

    def make(**changes: Any) -> bytes:
        shard = PlannedShard.of(0, (PlannedFile("a", SourceFile("a.png", size, "png")),))
        target = FolderTarget(tmp_path / "parts", tmp_path)
        values = {
            "shard": shard,
            "source": tmp_path / "source",
            "target": target,
            "settings": PackSettings(),
            **changes,
        }
        return pickle.dumps((pack_shard, ShardTask(**values)))

    return make


def test_a_node_packs_in_a_child_and_tells_the_result(sent: Callable[..., bytes]) -> None:
    *numbers, last = packed(what_decides_bytes(), sent())
    assert isinstance(last, ShardResult)
    assert last.summary.examples == 1
    assert {0} <= set(numbers) <= {ALIVE, 0}  # how long the child takes to start decides whether it is ALIVE first


def test_the_first_file_is_told_at_once_after_a_sign_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_node, "ALIVE_SECONDS", 0.01)
    messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
    told = on_node._told(messages)
    assert next(told) == ALIVE
    messages.put(0)
    assert next(told) == 0


def test_a_slow_task_gives_signs_of_life(sent: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_node, "ALIVE_SECONDS", 0.01)
    assert list(packed(what_decides_bytes(), sent())).count(ALIVE) > 3


def test_a_node_that_does_not_see_the_source_is_named(sent: Callable[..., bytes], tmp_path: Path) -> None:
    *_, error = packed(what_decides_bytes(), sent(source=tmp_path / "elsewhere"))
    assert isinstance(error, PackingStoppedError)
    assert str(error).startswith(
        f"Node {socket.gethostname()}: {tmp_path / 'elsewhere'} is not there. Every node must"
    )


def test_a_node_that_does_not_see_the_folder_of_shards_is_named(sent: Callable[..., bytes], tmp_path: Path) -> None:
    target = FolderTarget(tmp_path / "gone", tmp_path)
    *_, error = packed(what_decides_bytes(), sent(target=target))
    assert f"{tmp_path / 'gone'} is not there" in str(error)


def test_a_node_with_another_version_of_the_package_is_refused(sent: Callable[..., bytes]) -> None:
    *_, error = packed({**what_decides_bytes(), "source": "0"}, sent())
    assert isinstance(error, PackingStoppedError)
    assert f"{package_root()} has another version" in str(error)


def test_a_driver_that_sends_something_else_has_another_version(sent: Callable[..., bytes]) -> None:
    *_, error = packed(7, sent())  # type: ignore[arg-type]
    assert f"{package_root()} has another version" in str(error)


@pytest.mark.parametrize("name", ["pillow", "cykooz-resizer"])
@pytest.mark.parametrize(("there", "here"), [("1.0", "2.0"), ("1.0", "absent"), ("absent", "2.0")])
def test_a_node_that_makes_other_pictures_is_refused_by_package_and_versions(
    tmp_path: Path, sent: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, name: str, there: str, here: str
) -> None:
    """The task goes from a driver to a node without Ray between them."""
    has = {"pillow": "3.0", "cykooz-resizer": "4.0", name: there}

    def version(package: str) -> str:
        if has[package] == "absent":
            raise PackageNotFoundError(package)
        return has[package]

    begun: list[tuple[Any, ...]] = []

    def remote(**_: object) -> Callable[[object], SimpleNamespace]:
        return lambda function: SimpleNamespace(remote=lambda *values: begun.append(values))

    monkeypatch.setattr(on_node, "version", version)
    monkeypatch.setitem(sys.modules, "ray", ray := ModuleType("ray"))
    by_value = {f"{way}_pickle_by_value": lambda module: None for way in ("register", "unregister")}
    context = SimpleNamespace(get_node_id=lambda: "n1")
    ray.__dict__.update(remote=remote, cloudpickle=SimpleNamespace(**by_value), get_runtime_context=lambda: context)
    work, one = pickle.loads(sent())
    driver = RayCluster(ray)
    driver.submit(work, one)
    *_, result = run_on_node(*begun.pop())
    assert isinstance(result, ShardResult)
    has[name] = here
    driver.submit(work, one)
    _, error = run_on_node(*begun.pop())
    assert isinstance(error, PackingStoppedError)
    assert str(error).startswith(
        f"Node {socket.gethostname()}: {name} is {here} here and {there} on the machine that packs. Install the same"
    )


def test_a_function_that_a_node_cannot_import_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def work(task, on_file): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    sent = pickle.dumps((importlib.import_module("only_here").work, None))
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(tmp_path)])
    monkeypatch.delitem(sys.modules, "only_here")
    *_, error = packed(what_decides_bytes(), sent)
    assert "cannot be imported (No module named 'only_here'). Install it on every node" in str(error)


def test_a_node_without_this_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = ModuleType("ray")
    ray.get_runtime_context = lambda: SimpleNamespace(get_node_id=lambda: "n1")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    place, sentence = run_on_node("no_such_package.on_node", "/nowhere", [], {}, b"")
    assert place[0] == "n1"
    assert sentence.startswith(
        f"Node {socket.gethostname()} cannot import no_such_package (No module named 'no_such_package'). Install"
    )


# Refusals


def source_of_one(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "source" / "a.png")
    return tmp_path / "source"


def test_without_ray_the_extra_is_named_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    handler = signal.getsignal(signal.SIGTERM)
    assert main([str(source_of_one(tmp_path)), "--out", str(tmp_path / "out"), "--engine", "ray"]) == 2
    assert (
        capsys.readouterr().err == "make_shards: Packing on a Ray cluster needs ray: pip install 'dirvae[ray]'.\n"
    )
    assert not (tmp_path / "out").exists()
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ray://127.0.0.1:10001", "is not the address of a Ray cluster"),
        ("local", "is not the address of a Ray cluster"),
        ("127.0.0.1:9", "No Ray cluster answers at 127.0.0.1:9"),
        ("127.0.0.1:99999", "No Ray cluster answers at 127.0.0.1:99999"),
    ],
)
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_an_address_without_a_cluster_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, address: str, sentence: str, way: str
) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    monkeypatch.setattr(sys.modules["ray"], "is_initialized", lambda: False, raising=False)
    if way == "environment":
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ShardingError, match=sentence), connected(address if way == "argument" else None):
        pass


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"engine": "dask"}, "engine is 'dask'; it can be 'processes' or 'ray'"),
        ({"engine": "ray", "workers": 0}, "workers"),
        ({"ray_address": "10.0.0.1:6379"}, "engine='ray'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_shards(source_of_one(tmp_path), tmp_path / "out", **settings)
