"""Training in several processes: the weights, losses and examples of one process, also through kills and restarts."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dirvae.training import ConfigError, NonFiniteError
from dirvae.training.checkpoint import CheckpointFolder
from dirvae.training.ranks import ONE_RANK, Ranks, ranks_of_environment
from tests.dirvae.ranks_program import make_trainer, train, train_toy

PROGRAM = Path(__file__).parent / "ranks_program.py"
ROOT = PROGRAM.parents[2]
pytestmark = pytest.mark.usefixtures("one_torch_thread")
SETTINGS: list[dict[str, Any]] = [{}, {"accumulate": 2}, {"accumulate": 3}]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}


def command_of(world_size: int, folder: Path, settings: list[dict[str, Any]]) -> list[str]:
    """As the documentation says."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    return [*command, f"--nproc-per-node={world_size}", str(PROGRAM), str(folder), json.dumps(settings)]


def torchrun(world_size: int, folder: Path, settings: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    """Run the program in `world_size` processes to its end."""
    return subprocess.run(
        command_of(world_size, folder, settings),
        env=environment(),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@pytest.fixture(scope="module")
def alone(one_torch_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process, 40 updates."""
    folder = tmp_path_factory.mktemp("alone")
    train(folder)
    return folder


def steps(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "steps.safetensors")


def ledger(folder: Path) -> dict[int, list[str]]:
    """The examples of each update, over all processes: what was written by the last start counts."""
    found: dict[int, dict[int, list[str]]] = {}
    for path in folder.glob("ledger-*.jsonl"):
        for line in path.read_text().splitlines():
            session, step, keys = json.loads(line)
            found.setdefault(step, {}).setdefault(session, []).extend(keys)
    return {step: sorted(sessions[max(sessions)]) for step, sessions in found.items()}


def losses(folder: Path) -> dict[int, float]:
    """The loss of each update; what was written last counts."""
    return dict(json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines())


def check_equal(found: Path, expected: Path) -> None:
    """Weights after every step and losses within 1e-5, and the same examples in every update."""
    mine, theirs = steps(found), steps(expected)
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        assert (mine[name][1:] - value[1:]).norm() <= 1e-5 * value[1:].norm(), f"weights after step {name}"
        assert abs(mine[name][0] - value[0]) <= 1e-5 * abs(value[0]), f"loss of step {name}"
    assert ledger(found) == ledger(expected)
    buffers = [CheckpointFolder(folder / "checkpoints").newest().model_tensors() for folder in (found, expected)]  # type: ignore[union-attr]
    for name, value in buffers[1].items():
        torch.testing.assert_close(buffers[0][name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("settings", SETTINGS[1:])
def test_an_update_in_parts_is_the_update(tmp_path: Path, alone: Path, settings: dict[str, Any]) -> None:
    train(tmp_path, **settings)
    check_equal(tmp_path, alone)


@pytest.mark.slow
def test_two_levels_are_trained_alike_in_parts_and_by_two_processes(tmp_path: Path) -> None:
    both = {"levels": "both", "steps": 12}
    train(tmp_path / "alone", **both)
    train(tmp_path / "parts", **both, accumulate=2)
    check_equal(tmp_path / "parts", tmp_path / "alone")
    done = torchrun(2, tmp_path, [both])
    assert done.returncode == 0, done.stderr
    check_equal(tmp_path / "0", tmp_path / "alone")


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path: Path, alone: Path) -> None:
    done = torchrun(2, tmp_path, [*SETTINGS, {"toy": True}, {"toy": True, "accumulate": 3}])
    assert done.returncode == 0, done.stderr
    for number in range(len(SETTINGS)):
        check_equal(tmp_path / str(number), alone)
    train_toy(tmp_path / "toy", ONE_RANK)
    expected = steps(tmp_path / "toy")
    for number in (3, 4):  # a mean of the processes' means is off by far more in the last, short batch
        for step, value in steps(tmp_path / str(number)).items():
            torch.testing.assert_close(value, expected[step], rtol=0, atol=1e-8)


@pytest.mark.heavy
def test_it_starts_where_the_host_has_no_name(tmp_path: Path) -> None:
    namespace = ["unshare", "-rnu", "sh", "-c"]
    if subprocess.run([*namespace, "hostname nowhere.invalid"], capture_output=True, check=False).returncode != 0:
        pytest.skip("namespaces cannot be made here")
    command = shlex.join(command_of(2, tmp_path, [{"toy": True}]))
    began = time.monotonic()
    script = f"ip link set lo up 2>/dev/null || ifconfig lo up; hostname nowhere.invalid; exec {command}"
    subprocess.run([*namespace, script], env=environment(), cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "0" / "steps.safetensors").exists()
    print(f"two processes started and ended in {time.monotonic() - began:.0f} s")


@pytest.mark.heavy
@pytest.mark.parametrize("world_size", [3, 4])
def test_more_processes_train_what_one_does(tmp_path: Path, alone: Path, world_size: int) -> None:
    done = torchrun(world_size, tmp_path, [{}, {"accumulate": 2}])
    assert done.returncode == 0, done.stderr
    for number in range(2):
        check_equal(tmp_path / str(number), alone)


@pytest.mark.slow
def test_a_killed_process_costs_nothing_and_another_number_continues(tmp_path: Path, alone: Path) -> None:
    first = torchrun(2, tmp_path, [{"save_every": 7, "kill_at": 24}])
    assert first.returncode != 0
    assert CheckpointFolder(tmp_path / "0" / "checkpoints").steps()[-1] == 21
    train(tmp_path / "0", save_every=7)
    weights = [
        CheckpointFolder(folder / "checkpoints").newest().model_tensors() for folder in (tmp_path / "0", alone)
    ]  # type: ignore[union-attr]
    for name, value in weights[1].items():
        torch.testing.assert_close(weights[0][name], value, rtol=1e-4, atol=1e-5, msg=name)
    lines = [json.loads(line) for line in (tmp_path / "0" / "metrics.jsonl").read_text().splitlines()]
    seen = [line["step"] for line in lines if line["kind"] == "train"]
    assert seen == sorted({*range(7, 41, 7), *range(10, 41, 10)})


def torchrun_started(world_size: int, folder: Path, settings: list[dict[str, Any]]) -> subprocess.Popen[str]:
    """The program in a process group of its own."""
    return subprocess.Popen(
        command_of(world_size, folder, settings),
        env=environment(),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def workers_of(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(word) for word in children.read_text().split()] if children.exists() else []


def interrupt(process: subprocess.Popen[str], way: str, rng: random.Random) -> None:
    """End a job: one of its processes is killed, all are, or it is told to end, once or twice."""
    workers = workers_of(process.pid)
    if way == "a rank" and workers:
        os.kill(rng.choice(workers), signal.SIGKILL)
    elif way == "all":
        for pid in (*workers, process.pid):
            os.kill(pid, signal.SIGKILL)
    elif way == "torchrun":
        process.kill()  # its workers are told to end by the kernel
    else:
        process.send_signal(signal.SIGTERM)
        if way == "twice":
            time.sleep(0.3 * rng.random())
            process.send_signal(signal.SIGTERM)
    process.wait(60)
    deadline = time.monotonic() + 40
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < deadline, f"workers outlived torchrun by 40 s ({way})"
        time.sleep(0.05)


WAYS = ("a rank", "all", "torchrun", "once", "twice")


@pytest.mark.parametrize(
    "num_kills", [pytest.param(2, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.heavy)]
)
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the processes of a job are found in /proc")
def test_however_it_is_killed_nothing_is_lost_or_repeated(tmp_path: Path, num_kills: int) -> None:
    rng = random.Random(num_kills)
    out = tmp_path / "0"
    same = {"save_every": 5, "cooldown": None, "log_every": 5}
    for session in range(num_kills):
        setting = {**same, "steps": 10**6, "session": session, "save_in_background": rng.random() < 0.5}
        process = torchrun_started(rng.randint(1, 4), tmp_path, [setting])
        before, deadline = (out / "losses.jsonl").exists() and len(losses(out)), time.monotonic() + 60
        aim = before + rng.randint(0, 12)
        while time.monotonic() < deadline and not ((out / "losses.jsonl").exists() and len(losses(out)) > aim):
            time.sleep(0.05)
        interrupt(process, rng.choice(WAYS), rng)
    reached = len(losses(out)) + 3
    train(out, session=num_kills, **same, steps=reached)
    train(tmp_path / "alone", **same, steps=reached)
    assert ledger(out) == ledger(tmp_path / "alone")
    theirs = losses(tmp_path / "alone")
    assert losses(out).keys() == theirs.keys()
    for step, value in losses(out).items():
        assert value == pytest.approx(theirs[step], rel=1e-4), step
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    seen = [line["step"] for line in lines if line["kind"] == "train"]
    assert seen == sorted(set(seen))


@pytest.mark.filterwarnings("ignore::dirvae.training.TrainingWarning")
def test_what_is_not_finite_on_one_process_is_skipped_on_all_and_can_be_replayed(tmp_path: Path) -> None:
    done = torchrun(2, tmp_path, [{"poison": "7", "steps": 12}])
    assert done.returncode == 0, done.stderr
    whole = train(None, poison="7", steps=12)
    newest = CheckpointFolder(tmp_path / "0" / "checkpoints").newest()
    assert newest is not None
    assert newest.state["guard"]["skipped"] == whole.skipped_updates == 2
    for name, value in newest.model_tensors().items():
        torch.testing.assert_close(whole.model.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_run_that_ends_in_bad_updates_leaves_one_to_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dirvae.training.guard.MAX_SKIPPED_IN_A_ROW", 1)
    with pytest.raises(NonFiniteError, match=r"replay/0000\d+ holds the last of them: Trainer.replay goes"):
        train(tmp_path, poison="7")
    (folder,) = (tmp_path / "replay").iterdir()
    again = make_trainer(None, Ranks(), poison="7", accumulate=2)
    found = again.replay(folder)
    assert "7" in found.keys
    assert len(found.keys) == 24
    assert found.step == int(folder.name)
    assert "loss" in found.bad
    assert "the gradient of encoder.layers.0.weight" in found.bad
    assert sorted(json.loads((folder / "rank-0.json").read_text())["keys"]) == sorted(found.keys)
    assert not make_trainer(None, Ranks()).replay(folder).bad, "without the poison it is finite"


def test_an_iterator_of_another_process_is_refused() -> None:
    trainer = make_trainer(None, Ranks())
    trainer._feed.close()
    with pytest.raises(ConfigError, match=r"the batches are those of rank 0 of 1, but this is rank 1 of 2\. Give"):
        type(trainer)(trainer.model, trainer._feed._batches.batches, config=trainer.config, ranks=Ranks(1, 2))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (
            {"WORLD_SIZE": "2"},
            "WORLD_SIZE is 2, but RANK or MASTER_ADDR is missing. Start the processes with torchrun",
        ),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two' in the environment; it must be a whole number of 1 or more"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        ranks_of_environment(environment)


def test_without_torchrun_there_is_one_process() -> None:
    assert ranks_of_environment({}) == Ranks() == ranks_of_environment({"WORLD_SIZE": "1", "RANK": "0"})
