"""Schedules, averaged weights, early stopping and callbacks: against formulas written out, and resumed to the bit."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dirvae.run.loading import load_model
from dirvae.training import Callbacks, CheckpointError, ConfigError, FitConfig, Moment, Trainer, TrainingWarning
from dirvae.training.checkpoint import CheckpointFolder
from dirvae.training.feed import FeedBatch
from dirvae.training.schedule import learning_rate_factor


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """Networks this small are slower on several threads, the more so where other programs run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Small(nn.Module):
    """One layer with dropout, and a buffer that training changes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layer = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(torch.dropout(self.layer(x), 0.3, self.training))


def loss(model: Any, batch: Any) -> dict[str, Tensor]:
    return {"loss": (model(batch.data) - batch.data.flip(1)).square().mean()}


def batches(num: int = 5) -> list[Any]:
    return list(np.random.default_rng(0).normal(size=(num, 6, 4)).astype(np.float32))


def make(out: Path | None = None, *, given: list[Any] | None = None, **options: Any) -> Trainer:
    parts = {name: options.pop(name) for name in ("evaluate", "schedule", "callbacks") if name in options}
    values = {"steps": 12, "save_every": 4, "device": "cpu", "learning_rate": 0.05, "learning_rate_warmup": 2}
    config = FitConfig(**{**values, **options})
    return Trainer(Small(), given or batches(), loss=loss, config=config, out=out, **parts)


def files(out: Path) -> dict[str, bytes]:
    newest = CheckpointFolder(out / "checkpoints").newest()
    assert newest is not None
    return {path.name: path.read_bytes() for path in newest.path.glob("*.safetensors")}


def test_linear_and_cosine_rise_over_the_warm_up_and_fall_over_the_rest() -> None:
    for schedule, at_half in (("linear", 0.5), ("cosine", 0.5), ("constant", 1.0)):
        factors = [
            learning_rate_factor(step, total=104, warmup=4, cooldown=None, schedule=schedule) for step in range(104)
        ]
        assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
        assert factors[54] == pytest.approx(at_half)
        assert min(factors) > 0
    quarter = learning_rate_factor(29, total=104, warmup=4, cooldown=0.5, schedule="cosine")
    assert quarter == pytest.approx(0.5 + math.sqrt(2) / 4)
    assert learning_rate_factor(29, total=104, warmup=4, cooldown=0.5, schedule="linear") == pytest.approx(0.75)


def test_a_constant_schedule_is_what_training_did_before_there_were_others() -> None:
    for cooldown in (None, 0.5, 1.0):
        for step in range(50):
            falling = 1.0 if cooldown is None else max(50 - step, 1) / (max(1.0, cooldown * 50) + 1)
            expected = min(1.0, (step + 1) / 11, falling)
            assert learning_rate_factor(step, total=50, warmup=10, cooldown=cooldown) == expected
    assert FitConfig().schedule == "constant"


def own_schedule(step: int) -> float:
    return 1.0 / (1 + step)


@pytest.mark.parametrize(
    "options",
    [{"schedule": own_schedule}, {"ema": 0.9}, {"patience": 3}, {"precision": "bf16", "ema": 0.5}],
    ids=["own schedule", "averaged weights", "patience", "averaged weights in bf16"],
)
def test_a_run_resumed_after_any_step_ends_bit_identically(tmp_path: Path, options: dict[str, Any]) -> None:
    if "patience" in options:
        options = {
            **options,
            "evaluate": lambda model: {"objective": -float(model.layer.weight.detach().square().sum())},
        }
    make(tmp_path / "whole", **options).fit()
    for step in (1, 4, 7):
        out = tmp_path / str(step)
        first = make(out, **options)
        first.fit(should_stop=lambda first=first, step=step: first.step >= step)  # type: ignore[misc]
        second = make(out, **options)
        assert second.resume()
        second.fit()
        assert files(out) == files(tmp_path / "whole"), f"stopped after step {step}"


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_scheduled_run_resumes_bit_identically_and_its_rates_are_logged(tmp_path: Path, schedule: str) -> None:
    config = FitConfig(steps=12, save_every=4, device="cpu", log_every=1, schedule=schedule)

    def run(out: Path, stop: int) -> None:
        one = Trainer(Small(), batches(), loss=loss, config=config, out=out)
        one.resume()
        one.fit(should_stop=lambda: one.step >= stop)

    run(tmp_path / "a", 12)
    run(tmp_path / "b", 5)
    run(tmp_path / "b", 12)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    lines = [json.loads(line) for line in (tmp_path / "b/metrics.jsonl").read_text().splitlines()]
    expected = [
        1e-3 * learning_rate_factor(step, total=12, warmup=20, cooldown=0.5, schedule=schedule)
        for step in range(12)
    ]
    assert [line["learning_rate"] for line in lines if line["kind"] == "train"] == pytest.approx(expected)


def test_a_schedule_of_ones_own_gives_the_factor_and_is_checked() -> None:
    rates: list[float] = []
    callbacks = Callbacks(after_step=lambda moment: rates.append(moment.learning_rate))
    make(schedule=own_schedule, callbacks=callbacks, steps=4).fit()
    assert rates == pytest.approx([0.05, 0.025, 0.05 / 3, 0.0125])
    with pytest.raises(ConfigError, match="schedule gave nan at step 0; it must give a finite number"):
        make(schedule=lambda step: math.nan).fit()


def test_averaged_weights_are_the_average_written_out() -> None:
    seen: list[Tensor] = []
    trained = make(ema=0.6, steps=9)
    start = trained.model.layer.weight.detach().clone()  # type: ignore[union-attr]
    trained._callbacks = Callbacks(
        after_step=lambda moment: seen.append(trained.model.layer.weight.detach().clone())  # type: ignore[union-attr]
    )
    trained.fit()
    expected = start.double()
    for update, weight in enumerate(seen, start=1):
        decay = min(0.6, (update + 1) / (update + 10))
        expected = decay * expected + (1 - decay) * weight.double()
    own = trained.model.layer.weight.detach().clone()  # type: ignore[union-attr]
    with trained.averaged():
        found = trained.model.layer.weight.detach().clone()  # type: ignore[union-attr]
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=0)
    assert not torch.allclose(found, own)
    assert torch.equal(trained.model.layer.weight, own)  # type: ignore[union-attr]


def test_training_itself_is_the_same_with_and_without_averaged_weights(tmp_path: Path) -> None:
    make(tmp_path / "without").fit()
    make(tmp_path / "with", ema=0.9, evaluate=lambda model: {"objective": 1.0}).fit()
    assert files(tmp_path / "without")["model.safetensors"] == files(tmp_path / "with")["model.safetensors"]
    assert "average.safetensors" not in files(tmp_path / "without")


def test_a_skipped_update_leaves_the_average_as_it_is() -> None:
    given = batches(2)
    given[1] = np.full_like(given[1], np.nan)
    trained = make(given=given, ema=0.9, steps=2)
    averages: list[Tensor] = []

    def note(moment: Moment) -> None:
        with trained.averaged():
            averages.append(trained.model.layer.weight.detach().clone())  # type: ignore[union-attr]

    trained._callbacks = Callbacks(after_step=note)
    with pytest.warns(TrainingWarning, match="skipped"):
        trained.fit()
    assert torch.equal(averages[0], averages[1])


def test_averaged_weights_are_evaluated_saved_and_loaded(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def evaluate(model: Any) -> dict[str, float]:
        seen.append(model.layer.weight.detach().clone())
        return {"objective": 1.0}

    trained = make(tmp_path, ema=0.9, evaluate=evaluate)
    trained.fit()
    raw = trained.model.layer.weight.detach()  # type: ignore[union-attr]

    def weight(weights: str | None) -> Tensor:
        model = load_model(tmp_path, which="last", weights=weights, model=Small())
        found: Tensor = model.layer.weight.detach()
        return found

    assert torch.equal(weight("ema"), seen[-1])
    assert torch.equal(weight(None), seen[-1])
    assert torch.equal(weight("raw"), raw)
    assert not torch.equal(raw, seen[-1])
    with pytest.raises(CheckpointError, match="weights is 'best'; it must be 'ema', 'raw' or None"):
        weight("best")
    newest = CheckpointFolder(tmp_path / "checkpoints").newest()
    assert newest is not None
    (newest.path / "average.safetensors").write_bytes(b"cut short")
    with pytest.raises(CheckpointError, match=r"average.safetensors has 9 of"):
        CheckpointFolder(tmp_path / "checkpoints").open(newest.step)


def test_without_averaged_weights_there_are_none_to_load_and_none_to_resume(tmp_path: Path) -> None:
    make(tmp_path).fit()
    load_model(tmp_path, model=Small())
    with pytest.raises(
        CheckpointError, match=r"has no averaged weights\. Take the 'raw' ones, or train with --ema"
    ):
        load_model(tmp_path, weights="ema", model=Small())
    with pytest.raises(ConfigError, match=r"ema: None → 0.9"):
        make(tmp_path, ema=0.9).resume()


def run_with(objectives: list[float], out: Path, **options: Any) -> Trainer:
    """A trainer whose evaluation of step s is the number at s / save_every - 1."""

    def evaluate(model: Any) -> dict[str, float]:
        return {"objective": objectives[trained.step // 2 - 1]}

    trained = make(out, evaluate=evaluate, save_every=2, **options)
    return trained


OBJECTIVES = [1.0, 2.0, 1.5, 2.0, math.nan, 5.0]


def test_training_ends_after_so_many_evaluations_that_were_not_better(tmp_path: Path) -> None:
    trained = run_with(OBJECTIVES, tmp_path, patience=3)
    assert trained.fit() == 10
    assert trained.stopped_early
    assert trained.best == {"step": 4, "objective": 2.0}
    assert CheckpointFolder(tmp_path / "checkpoints").steps() == [4, 8, 10]
    assert run_with(OBJECTIVES, tmp_path / "all", patience=4).fit() == 12
    assert run_with(OBJECTIVES, tmp_path / "none").fit() == 12


def test_a_run_stopped_early_continues_with_more_patience_to_the_bit(tmp_path: Path) -> None:
    run_with(OBJECTIVES, tmp_path / "whole").fit()
    run_with(OBJECTIVES, tmp_path / "run", patience=2).fit()
    again = run_with(OBJECTIVES, tmp_path / "run", patience=2)
    assert again.resume()
    assert (again.fit(), again.stopped_early) == (8, True)
    more = run_with(OBJECTIVES, tmp_path / "run", patience=4)
    assert more.resume()
    assert (more.fit(), more.stopped_early) == (12, False)
    assert files(tmp_path / "run") == files(tmp_path / "whole")


def test_waiting_is_counted_on_over_a_resume(tmp_path: Path) -> None:
    first = run_with(OBJECTIVES, tmp_path, patience=3)
    first.fit(should_stop=lambda: first.step >= 7)
    second = run_with(OBJECTIVES, tmp_path, patience=3)
    assert second.resume()
    assert second.fit() == 10


def test_patience_without_an_evaluation_and_values_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"patience is 2, but nothing is evaluated\. Hold examples out"):
        make(patience=2)
    for bad in (
        {"ema": 1.0},
        {"ema": 0},
        {"patience": 0},
        {"schedule": "step"},
        {"schedule": "cosine", "cooldown": 0.2},
    ):
        with pytest.raises(ConfigError, match=f"{list(bad)[-1]} is "):
            FitConfig(**bad)  # type: ignore[arg-type]


def test_callbacks_see_every_step_evaluation_and_checkpoint(tmp_path: Path) -> None:
    moments: dict[str, list[Moment]] = {"step": [], "evaluation": [], "checkpoint": []}
    callbacks = Callbacks(
        after_step=moments["step"].append,
        after_evaluation=moments["evaluation"].append,
        after_checkpoint=moments["checkpoint"].append,
    )
    make(tmp_path, callbacks=callbacks, evaluate=lambda model: {"objective": 2.0}, steps=10).fit()
    assert [moment.step for moment in moments["step"]] == list(range(1, 11))
    assert [moment.epoch for moment in moments["step"]][-1] == 1
    assert all(math.isfinite(float(moment.terms["loss"])) for moment in moments["step"])
    assert not moments["step"][0].terms["loss"].requires_grad
    assert [moment.step for moment in moments["evaluation"]] == [4, 8, 10]
    assert moments["evaluation"][-1].evaluation == {"objective": 2.0}
    assert moments["evaluation"][-1].best == {"step": 4, "objective": 2.0}
    written = [moment.checkpoint for moment in moments["checkpoint"]]
    assert written == [tmp_path / "checkpoints" / f"{step:08d}" for step in (4, 8, 10)]
    with pytest.raises(dataclasses.FrozenInstanceError):
        moments["step"][0].step = 3  # type: ignore[misc]


def test_callbacks_do_not_change_training_and_their_errors_pass_through(tmp_path: Path) -> None:
    make(tmp_path / "without").fit()
    make(tmp_path / "with", callbacks=Callbacks(after_step=lambda moment: None)).fit()
    assert files(tmp_path / "with") == files(tmp_path / "without")

    def fail(moment: Moment) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        make(callbacks=Callbacks(after_step=fail)).fit()


class _Line(nn.Module):
    """y = w x, whose loss is a mean over the real examples of a batch, as those of all models are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 3, dtype=torch.float64))


def _line_loss(model: _Line, batch: FeedBatch) -> dict[str, torch.Tensor]:
    error = (batch.data.double() @ model.weight - 1).square()
    mask = torch.ones(len(error), dtype=torch.bool) if batch.mask is None else batch.mask
    return {"loss": error[mask].mean()}


def _masked(data: torch.Tensor, mask: torch.Tensor) -> SimpleNamespace:
    return SimpleNamespace(data=data, mask=mask)


def test_batches_of_unequal_size_accumulate_to_the_update_of_one_batch(tmp_path: Path) -> None:
    """Batches of 5, 5 with 3 padded, and 2 examples: 9 real ones of 12, each with the same weight."""
    data = torch.rand(6, 12, 3, dtype=torch.float64)
    mask = torch.ones(12, dtype=torch.bool)
    mask[[5, 8, 9]] = False
    parts = [_masked(d, m) for x in data for d, m in zip(x.split([5, 5, 2]), mask.split([5, 5, 2]), strict=True)]
    runs = []
    for batches, count in (([_masked(x, mask) for x in data], 1), (parts, 3)):
        config = FitConfig(epochs=2, accumulate=count, learning_rate=0.1, log_every=1, clip=0.5, device="cpu")
        out = tmp_path / str(count)
        trainer = Trainer(_Line(), batches, loss=_line_loss, config=config, out=out)
        assert trainer.total_steps == 12
        trainer.fit()
        metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
        runs.append((trainer.model.weight.detach(), metrics))
    (whole, told), (accumulated, also_told) = runs
    torch.testing.assert_close(accumulated, whole, atol=1e-12, rtol=0)
    assert [entry["loss"] for entry in also_told] == pytest.approx([entry["loss"] for entry in told], rel=1e-6)
    assert (whole - torch.linspace(-1, 1, 3)).abs().max() > 0.1


def test_an_accumulating_run_resumes_exactly_where_batches_are_drawn_at_random(tmp_path: Path) -> None:
    class Random(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.rand(3)

    def trainer(folder: Path) -> Trainer:
        loader = torch.utils.data.DataLoader(Random(), batch_size=4, shuffle=True)
        config = FitConfig(steps=7, accumulate=2, learning_rate=0.1, device="cpu")
        return Trainer(_Line(), loader, loss=_line_loss, config=config, out=folder)

    whole = trainer(tmp_path / "whole")
    whole.fit()
    calls = iter(range(5))
    trainer(tmp_path / "stopped").fit(should_stop=lambda: next(calls) == 4)
    again = trainer(tmp_path / "stopped")
    assert again.resume()
    assert again.step == 4
    again.fit()
    assert torch.equal(again.model.weight, whole.model.weight)
