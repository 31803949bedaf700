"""A stop ends at once what is long and can be left out: evaluations, pictures and compiling; nothing is lost by it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dirvae.training import FitConfig, Trainer
from dirvae.training.checkpoint import CheckpointFolder
from dirvae.training.compiling import Compiler
from dirvae.training.signals import StopNow, StopSignals, interruptible


def is_told_to_end() -> None:
    """SIGTERM arrives, and what is going on would take a minute more."""
    os.kill(os.getpid(), signal.SIGTERM)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.01)
    pytest.fail("nothing ended it")


def squares(model: Any, batch: Any) -> dict[str, torch.Tensor]:
    return {"loss": (model(batch.data) + 0.1 * torch.randn(len(batch.data), 1)).square().mean()}


def make(out: Path, *, evaluate: Callable[[Any], dict[str, Any]] | None = None, **changes: Any) -> Trainer:
    torch.manual_seed(0)
    batches = list(torch.rand(4, 8, 3, generator=torch.Generator().manual_seed(1)))
    config = FitConfig(**{"steps": 9, "save_every": 3, "log_every": 9, "device": "cpu", "clip": None, **changes})
    return Trainer(nn.Linear(3, 1), batches, loss=squares, config=config, evaluate=evaluate, out=out)


def weights(out: Path) -> dict[str, torch.Tensor]:
    newest = CheckpointFolder(out / "checkpoints").newest()
    assert newest is not None
    return newest.model_tensors()


def check_continues(out: Path, whole: Path, **changes: Any) -> None:
    """Resumed, it ends in the weights of a run that nothing stopped."""
    again = make(out, **changes)
    assert again.resume()
    again.fit()
    make(whole, **changes).fit()
    for name, value in weights(whole).items():
        assert torch.equal(weights(out)[name], value), name


def test_a_stop_is_raised_inside_such_a_block_only() -> None:
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        assert stop.is_urgent
        with pytest.raises(StopNow), interruptible():
            pytest.fail("the block was entered after the signal")
    with StopSignals(), pytest.raises(StopNow), interruptible():
        is_told_to_end()
    with interruptible():
        pass


def test_an_evaluation_is_ended_and_the_weights_are_saved(tmp_path: Path) -> None:
    def evaluate(model: Any) -> dict[str, Any]:
        if trainer.step == 6:
            is_told_to_end()
        return {"bound": -float(trainer.step)}

    with StopSignals() as stop:
        trainer = make(tmp_path / "run", evaluate=evaluate)
        assert trainer.fit(should_stop=stop) == 6
    assert CheckpointFolder(tmp_path / "run" / "checkpoints").steps() == [3, 6]
    assert trainer.evaluation is None
    assert trainer.best == {"step": 3, "bound": -3.0}
    check_continues(tmp_path / "run", tmp_path / "whole")


def test_what_follows_a_save_is_ended(tmp_path: Path) -> None:
    with StopSignals() as stop:
        trainer = make(tmp_path / "run")
        trainer.on_save = lambda saved: is_told_to_end()
        assert trainer.fit(should_stop=stop) == 3
    check_continues(tmp_path / "run", tmp_path / "whole")


@pytest.mark.filterwarnings("ignore::dirvae.training.TrainingWarning")
def test_compiling_is_ended_before_anything_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with StopSignals() as stop, monkeypatch.context() as patch:
        patch.setattr(Compiler, "_compile", lambda self, data, rehearse: is_told_to_end())
        assert make(tmp_path / "run", compile=True).fit(should_stop=stop) == 0
    assert CheckpointFolder(tmp_path / "run" / "checkpoints").steps() == [0]
    check_continues(tmp_path / "run", tmp_path / "whole")


def test_saving_goes_on_while_training_does_and_a_failure_is_told(tmp_path: Path) -> None:
    whole, background = tmp_path / "whole", tmp_path / "background"
    make(whole).fit()
    make(background, save_in_background=True).fit()
    assert CheckpointFolder(background / "checkpoints").steps() == CheckpointFolder(whole / "checkpoints").steps()
    for name, value in weights(whole).items():
        assert torch.equal(weights(background)[name], value), name


def test_a_copy_is_saved_and_not_what_training_makes_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, save = [], CheckpointFolder.save

    def save_slowly(self: CheckpointFolder, step: int, **parts: Any) -> Path:
        time.sleep(0.2)  # training is steps ahead by then
        slow.append(step)
        return save(self, step, **parts)

    make(tmp_path / "whole", keep=9).fit()
    monkeypatch.setattr(CheckpointFolder, "save", save_slowly)
    make(tmp_path / "run", keep=9, save_in_background=True).fit()
    assert slow == [3, 6, 9]
    for step in slow:
        ours, theirs = (CheckpointFolder(tmp_path / name / "checkpoints").open(step) for name in ("run", "whole"))
        for name, value in theirs.model_tensors().items():
            assert torch.equal(ours.model_tensors()[name], value), (step, name)


def test_a_background_save_that_fails_keeps_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dirvae.training import SaveError, TrainingWarning

    save = CheckpointFolder.save

    def full(self: CheckpointFolder, step: int, **parts: Any) -> Path:
        if step > 3:
            raise SaveError(f"{step}: the checkpoint could not be saved (No space left on device).")
        return save(self, step, **parts)

    monkeypatch.setattr(CheckpointFolder, "save", full)
    trainer = make(tmp_path, save_in_background=True, evaluate=lambda model: {"bound": float(trainer.step)})
    with (
        pytest.warns(TrainingWarning, match="6: the checkpoint could not be saved .* Training continues"),
        pytest.raises(SaveError, match="9: the checkpoint could not be saved"),
    ):
        trainer.fit()
    assert CheckpointFolder(tmp_path / "checkpoints").steps() == [3]
    assert make(tmp_path).resume()
