"""Event files: read back by TensorBoard itself, they equal metrics.jsonl after any number of resumes."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dirvae.training import FitConfig, Trainer, TrainingWarning
from dirvae.training.event_file import EventFile
from dirvae.training.event_records import (
    crc32c,
    encode_event,
    encode_record,
    histogram,
    message,
    read_events,
    scalar,
    tagged,
)
from dirvae.training.logging import read_metrics

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def accumulated(folder: Path) -> Any:
    """What TensorBoard reads in a folder."""
    pytest.importorskip("tensorboard", minversion="2.21")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "histograms": 0})
    return accumulator.Reload()


def scalars(accumulator: Any) -> dict[str, list[tuple[int, float]]]:
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def scalars_of_metrics(run: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for line in read_metrics(run / "metrics.jsonl"):
        for name, value in line.items():
            if name not in ("kind", "step") and value is not None:
                found.setdefault(f"{line['kind']}/{name}", []).append((line["step"], float(np.float32(value))))
    return found


def make_trainer(out: Path, steps: int = 30, **options: Any) -> Trainer:
    torch.manual_seed(0)
    batches = [torch.rand(4, 1, 4, 4) for _ in range(5)]
    config = FitConfig(
        steps=steps, save_every=8, log_every=3, learning_rate_warmup=0, cooldown=None, tensorboard=True
    )

    def loss(model: nn.Module, batch: Any) -> dict[str, Any]:
        fit = (model(batch.data) - batch.data).square().mean()
        return {"loss": fit, "now and then": float("nan") if batch.step % 4 else 0.5}

    def evaluate(model: nn.Module) -> dict[str, Any]:
        return {
            "bound": float(next(model.parameters()).detach().mean()),
            "components_in_use": 3,
            "never": float("inf"),
        }

    return Trainer(
        nn.Conv2d(1, 1, 3, padding=1), batches, loss=loss, config=config, evaluate=evaluate, out=out, **options
    )


def stop_at(trainer: Trainer, step: int) -> Any:
    return lambda: trainer.step >= step


def test_checksums_are_those_of_the_standard() -> None:
    """RFC 3720, B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


def test_events_equal_the_metrics_after_three_resumes(tmp_path: Path) -> None:
    steps = (10, 17, 20, 30)
    for number, step in enumerate(steps):
        trainer = make_trainer(tmp_path)
        assert trainer.resume() == (number > 0)
        trainer.fit(should_stop=stop_at(trainer, step))
        if number < 3:  # as if the process had been killed some steps after its checkpoint, while it wrote
            late = {"loss": 99.0}
            assert trainer.events is not None
            trainer.events.append("train", step + 1, late)
            with open(tmp_path / "metrics.jsonl", "a") as file:
                file.write(f'{{"kind": "train", "step": {step + 1}, "loss": 99.0}}\n')
            path = max((tmp_path / "tensorboard").iterdir())
            with open(path, "ab") as file:
                file.write(encode_record(encode_event(step + 2, 0.0, [scalar("train/loss", 1.0)]))[:-5])
    found, expected = scalars(accumulated(tmp_path / "tensorboard")), scalars_of_metrics(tmp_path)
    assert found == expected
    assert [step for step, _ in found["train/loss"]] == [3, 6, 8, 9, 12, 15, 16, 18, 21, 24, 27, 30]
    assert [step for step, _ in found["held_out/bound"]] == [8, 16, 24, 30]
    assert "held_out/never" not in found
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2, "the file, and the emptied one before it"
    assert len(found["train/now and then"]) < len(found["train/loss"])


def test_an_open_viewer_follows_a_run_that_is_resumed(tmp_path: Path) -> None:
    first = make_trainer(tmp_path)
    first.fit(should_stop=stop_at(first, 12))
    accumulator = accumulated(tmp_path / "tensorboard")
    first._recorder.log(14, first._updater.tally(), numbers={"loss": 7.0}, wait_seconds=0.0)  # of a killed process
    second = make_trainer(tmp_path)
    second.resume()
    second.fit()
    assert scalars(accumulator.Reload()) == scalars_of_metrics(tmp_path)


def test_other_values_up_to_the_checkpoint_survive_a_resume(tmp_path: Path) -> None:
    one = tagged("shown", 4, message({1: 2, 2: 2, 3: 3, 4: b"not decoded"}))
    events = EventFile(tmp_path)
    events.restart([], step=0)
    for step in (2, 4, 6):
        events.append("train", step, {"loss": float(step)})
        events.add(step, [one, histogram("spread", np.arange(10.0)) or b""])
    again = EventFile(tmp_path)
    again.restart([{"kind": "train", "step": 2, "loss": 2.0}, {"kind": "train", "step": 4, "loss": 4.0}], step=4)
    assert again.holds(4)
    assert not again.holds(5)
    again.add(4, [one])
    again.add(8, [one])
    accumulator = accumulated(tmp_path)
    assert [event.step for event in accumulator.Images("shown")] == [2, 4, 8]
    assert [event.step for event in accumulator.Histograms("spread")] == [2, 4]
    assert scalars(accumulator) == {"train/loss": [(2, 2.0), (4, 4.0)]}


def test_a_histogram_counts_all_finite_values() -> None:
    values = torch.tensor([[0.5, 2.0], [float("nan"), 8.0]])
    assert histogram("none", [float("inf")]) is None
    event = encode_event(1, 0.0, [histogram("spread", values) or b""])
    proto = pytest.importorskip("tensorboard.compat.proto.event_pb2")
    found = proto.Event.FromString(event).summary.value[0].histo
    assert (found.min, found.max, found.num, found.sum) == (0.5, 8.0, 3.0, 10.5)
    assert found.sum_squares == 0.25 + 4 + 64
    assert sum(found.bucket) == 3
    assert len(found.bucket) == len(found.bucket_limit)
    assert found.bucket_limit[-1] == 8.0


@pytest.mark.parametrize("step", [0, 1, 127, 128, 300, 2**31, 2**40])
def test_steps_of_all_sizes_are_read_as_they_were_written(tmp_path: Path, step: int) -> None:
    event = encode_event(step, 12.5, [scalar("a", 0.1), scalar("b", 1e300)])
    path = tmp_path / "file"
    path.write_bytes(encode_record(event))
    [stored] = read_events(path)
    assert (stored.step, stored.wall_time, stored.are_scalars) == (step, 12.5, True)
    proto = pytest.importorskip("tensorboard.compat.proto.event_pb2").Event.FromString(event)
    assert (proto.step, proto.wall_time) == (step, 12.5)
    assert [value.simple_value for value in proto.summary.value] == [pytest.approx(0.1), float("inf")]


def test_what_follows_a_damaged_record_is_not_read(tmp_path: Path) -> None:
    records = [encode_record(encode_event(step, 0.0, [scalar("a", 1.0)])) for step in (1, 2, 3)]
    path = tmp_path / "file"
    damaged = bytearray(b"".join(records))
    damaged[len(records[0]) + 14] ^= 1
    path.write_bytes(damaged)
    assert [event.step for event in read_events(path)] == [1]
    path.write_bytes(b"".join(records)[:-1])
    assert [event.step for event in read_events(path)] == [1, 2]
    path.write_bytes(records[0] + struct.pack("<Q", 2**62))
    assert [event.step for event in read_events(path)] == [1]


def test_a_file_that_cannot_be_written_costs_one_warning_and_no_weights(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "tensorboard").write_text("in the way")
    trainer = make_trainer(tmp_path / "a")
    with pytest.warns(TrainingWarning, match=r"tensorboard: the TensorBoard file could not be written") as caught:
        trainer.fit()
    assert len(caught) == 1
    undisturbed = make_trainer(tmp_path / "b")
    undisturbed.fit()
    for mine, other in zip(trainer.model.parameters(), undisturbed.model.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_neither_names_nor_contents_tell_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "a-very-private-host")
    make_trainer(tmp_path).fit()
    [path] = (tmp_path / "tensorboard").iterdir()
    assert path.name == "events.out.tfevents.0000000000.dirvae"
    for secret in ("a-very-private-host", str(tmp_path)):
        assert secret.encode() not in path.read_bytes()


def test_training_imports_no_viewer() -> None:
    code = "import sys, dirvae.run.session, dirvae.training.event_file; print(sorted(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    for name in ("grpc", "tensorboard", "tensorflow", "google.protobuf"):
        assert f"'{name}'" not in found.stdout
