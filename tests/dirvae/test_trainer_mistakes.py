"""Mistakes with a `Trainer` that are refused or warned of at once, and leave a run folder as it is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from dirvae.training import Callbacks, ConfigError, FitConfig, Moment, Trainer, TrainingWarning
from dirvae.training.logging import read_metrics
from tests.dirvae.test_trainer_options import Small, batches, loss

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def make(out: Path | None = None, **given: Any) -> Trainer:
    parts = {
        name: given.pop(name)
        for name in ("config", "evaluate", "schedule", "callbacks", "optimizer", "scheduler", "on_save")
        if name in given
    }
    config = FitConfig(**{"steps": 6, "save_every": 2, "log_every": 1, "device": "cpu", **given})
    return Trainer(Small(), batches(), loss=loss, out=out, **{"config": config, **parts})


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_resuming_for_fewer_steps_than_are_done_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    make(tmp_path).fit()
    before = content_of(tmp_path)
    with pytest.raises(ConfigError, match=r"has done 6 steps, more than the 5 asked for\. Ask for 6 or more"):
        make(tmp_path, steps=5).resume()
    assert content_of(tmp_path) == before
    assert make(tmp_path, steps=6).resume()


def test_a_moment_has_the_learning_rate_of_the_update_that_was_done(tmp_path: Path) -> None:
    model = Small()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    moments: list[Moment] = []
    config = FitConfig(steps=4, log_every=1, device="cpu")
    Trainer(
        model,
        batches(),
        loss=loss,
        config=config,
        optimizer=optimizer,
        scheduler=scheduler,
        out=tmp_path,
        callbacks=Callbacks(after_step=moments.append, after_checkpoint=moments.append),
    ).fit()
    rates = [moment.learning_rate for moment in moments]
    assert rates == pytest.approx([0.1, 0.05, 0.025, 0.0125, 0.0125])
    written = [
        line["learning_rate"] for line in read_metrics(tmp_path / "metrics.jsonl") if line["kind"] == "train"
    ]
    assert rates[:4] == written


@pytest.mark.parametrize("is_first", [True, False])
def test_a_schedule_function_that_is_missing_or_new_on_resume_is_warned_of(tmp_path: Path, is_first: bool) -> None:
    with_one: dict[str, Any] = {"schedule": lambda step: 0.5}
    first, second = (with_one, {}) if is_first else ({}, with_one)
    make(tmp_path, steps=4, cooldown=None, **first).fit()
    with pytest.warns(TrainingWarning, match="schedule function of its own, and now .* jumps at step 4; give the"):
        make(tmp_path, cooldown=None, **second).resume()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make(tmp_path, cooldown=None, **first).resume()


def test_patience_needs_a_number_to_compare_by() -> None:
    trainer = make(patience=2, evaluate=lambda model: {"psnr": 1.0, "accuracy": 0.5})
    with pytest.raises(
        ConfigError, match="patience is 2, but evaluate gave psnr, accuracy, and neither 'bound' nor"
    ):
        trainer.fit()
    assert make(patience=1, evaluate=lambda model: {"objective": 1.0}).fit() == 4


def test_parts_of_the_wrong_kind_are_refused_when_they_are_given() -> None:
    given: list[tuple[dict[str, Any], str]] = [
        ({"schedule": "cosine"}, r"it must be a function\. A schedule by name is FitConfig\(schedule='cosine'\)"),
        ({"callbacks": print}, r"it must be a Callbacks, such as Callbacks\(after_evaluation=function\)"),
        ({"config": {"steps": 3}}, r"it must be a FitConfig; write FitConfig\(\*\*config\)"),
        ({"evaluate": {"bound": 1.0}}, "it must be a function"),
        ({"optimizer": "adam"}, r"it must be one of torch\.optim"),
        ({"scheduler": "cosine"}, r"it must be one of torch\.optim\.lr_scheduler"),
        ({"on_save": [print]}, "it must be a function"),
    ]
    for parts, sentence in given:
        with pytest.raises(TypeError, match=f"^{next(iter(parts))} is .*{sentence}"):
            make(**parts)
    with pytest.raises(TypeError, match=r"^after_step is \[\]; it must be one function"):
        Callbacks(after_step=[])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"A function of your own is Trainer\(schedule=function\)"):
        FitConfig(schedule=lambda step: 1.0)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"both a schedule function and FitConfig\(schedule='cosine'\)"):
        Trainer(Small(), batches(), loss=loss, config=FitConfig(schedule="cosine"), schedule=lambda step: 1.0)


def test_tensorboard_without_a_folder_is_warned_of() -> None:
    with pytest.warns(TrainingWarning, match="no run folder to write into; give the Trainer out=FOLDER"):
        make(tensorboard=True)
