"""The trainer: exact resume from every step, any batches, any loss and optimiser, and nothing hidden."""

import json
import math
import os
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dirvae.training import ConfigError, FitConfig, NonFiniteError, SaveError, Trainer, TrainingWarning
from dirvae.training.checkpoint import CheckpointFolder
from dirvae.training.errors import TrainingError
from dirvae.training.logging import read_metrics


@pytest.fixture(autouse=True)
def _one_torch_thread():
    """Networks this small are slower on several threads, the more so where other programs run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Noisy(nn.Module):
    """A few convolutions with dropout: its loss depends on the weights, the batch and the step's noise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Dropout(0.3), nn.Conv2d(8, 4, 3))
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        return self.layers(x)


def loss(model, batch):
    out = model(batch.data)
    fit = (out - batch.data[:, :1, 2:-2, 2:-2]).square().mean()
    return {"loss": fit + 0.01 * out.abs().mean(), "fit": fit, "weight": batch.step / 10}


def images(num: int = 40) -> list[np.ndarray]:
    pixels = np.random.default_rng(0).integers(0, 256, (num, 8, 8, 3), np.uint8)
    return [pixels[start : start + 6].transpose(0, 3, 1, 2) for start in range(0, num, 6)]


class Stateful:
    """Batches with a state of their own, JSON, as the iterators have."""

    class Batch:
        def __init__(self, data, state):
            self.data, self.state, self.mask = data, state, None

    def __init__(self) -> None:
        self._epoch = self._position = 0

    def __len__(self) -> int:
        return 7

    def __iter__(self):
        order = np.random.default_rng(self._epoch).permutation(7)
        while self._position < 7:
            batch = images()[order[self._position]]
            self._position += 1
            if self._position == 7:
                yield self.Batch(batch, {"epoch": self._epoch + 1, "position": 0})
                self._epoch, self._position = self._epoch + 1, 0
                return
            yield self.Batch(batch, {"epoch": self._epoch, "position": self._position})

    def state_dict(self):
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state):
        self._epoch, self._position = json.loads(json.dumps(state)).values()


def loader() -> DataLoader:
    return DataLoader(TensorDataset(torch.from_numpy(np.concatenate(images()))), batch_size=6, shuffle=True)


def settings(**changes) -> FitConfig:
    values = {
        "steps": 18,
        "save_every": 5,
        "log_every": 2,
        "learning_rate_warmup": 3,
        "kl_warmup": 0,
        "device": "cpu",
    }
    return FitConfig(**{**values, **changes})


def trainer(batches, out=None, **options) -> Trainer:
    config = options.pop("config", None) or settings(**options.pop("changes", {}))
    return Trainer(Noisy(), batches, **{"loss": loss, "config": config, "out": out, **options})


def stop_after(trained: Trainer, step: int):
    return lambda: trained.step >= step


def final_files(out) -> dict[str, bytes]:
    newest = CheckpointFolder(out / "checkpoints").newest()
    assert newest is not None
    return {name: (newest.path / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}


@pytest.mark.parametrize("batches", [images, Stateful, loader])
def test_a_run_stopped_at_any_step_and_resumed_ends_bit_identically(tmp_path, batches):
    steps = {"steps": 9}  # an epoch has 7 batches
    assert trainer(batches(), tmp_path / "undisturbed", changes=steps).fit() == 9
    expected = final_files(tmp_path / "undisturbed")
    for step in range(10):
        out = tmp_path / str(step)
        first = trainer(batches(), out, changes=steps)
        assert first.fit(should_stop=stop_after(first, step)) == step
        second = trainer(batches(), out, changes=steps)
        assert second.resume()
        assert second.step == step
        second.fit()
        assert final_files(out) == expected, f"stopped after step {step}"


def test_the_witness_of_exact_resume_can_fail(tmp_path):
    """Another seed must end in other weights, or the test above would prove nothing."""
    trainer(images(), tmp_path / "a").fit()
    trainer(images(), tmp_path / "b", changes={"seed": 1}).fit()
    assert final_files(tmp_path / "a") != final_files(tmp_path / "b")


def test_resuming_many_times_in_a_row_ends_bit_identically(tmp_path):
    trainer(Stateful(), tmp_path / "undisturbed").fit()
    for step in (1, 2, 7, 8, 14, 17, 18):
        again = trainer(Stateful(), tmp_path / "run")
        again.resume()
        again.fit(should_stop=stop_after(again, step))
    assert final_files(tmp_path / "run") == final_files(tmp_path / "undisturbed")


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    first = trainer(images(), tmp_path)
    first.fit(should_stop=stop_after(first, 10))
    metrics = tmp_path / "metrics.jsonl"
    before = read_metrics(metrics)
    with open(metrics, "a") as file:
        file.write('{"kind": "train", "step": 12, "loss": 1.0}\n{"kind": "train", "step": 14, "lo')
    second = trainer(images(), tmp_path)
    second.resume()
    assert read_metrics(metrics) == before
    second.fit()
    steps = [line["step"] for line in map(json.loads, metrics.read_text().splitlines())]
    assert steps == [2, 4, 5, 6, 8, 10, 12, 14, 15, 16, 18]


def test_logged_terms_are_the_means_of_the_steps_since_the_last_line(tmp_path):
    seen = []

    def watched(model, batch):
        terms = loss(model, batch)
        seen.append(float(terms["fit"].detach()))
        return terms

    trainer(images(), tmp_path, loss=watched, changes={"steps": 8, "log_every": 4}).fit()
    lines = {line["step"]: line for line in read_metrics(tmp_path / "metrics.jsonl")}
    assert lines[4]["fit"] == pytest.approx(np.mean(seen[:4]), rel=1e-6)
    assert lines[5]["fit"] == pytest.approx(seen[4], rel=1e-6)
    assert lines[8]["fit"] == pytest.approx(np.mean(seen[5:]), rel=1e-6)
    assert lines[8]["weight"] == 0.7
    assert lines[8]["examples_per_second"] > 0
    assert 0 <= lines[8]["wait_share"] <= 1


@pytest.mark.parametrize(("before", "after"), [(images, Stateful), (Stateful, images)])
def test_a_run_does_not_go_on_with_another_kind_of_batches(tmp_path, before, after):
    """Neither could say where in the data the run stood, nor whether it is the same data."""
    first = trainer(before(), tmp_path, changes={"steps": 9})
    first.fit(should_stop=stop_after(first, 4))
    with pytest.raises(TrainingError, match="Resume with the same kind of batches"):
        trainer(after(), tmp_path, changes={"steps": 9}).resume()


def test_resume_without_a_checkpoint_starts_fresh(tmp_path):
    fresh = trainer(images(), tmp_path)
    assert not fresh.resume()
    assert fresh.fit() == 18


def test_resume_after_the_newest_checkpoint_was_damaged_still_ends_bit_identically(tmp_path):
    trainer(images(), tmp_path / "undisturbed").fit()
    first = trainer(images(), tmp_path / "run")
    first.fit(should_stop=stop_after(first, 13))
    newest = tmp_path / "run" / "checkpoints" / "00000013" / "optimizer.safetensors"
    newest.write_bytes(newest.read_bytes()[:-10])
    second = trainer(images(), tmp_path / "run")
    with pytest.warns(TrainingWarning, match="Going back"):
        second.resume()
    assert second.step == 10
    second.fit()
    assert final_files(tmp_path / "run") == final_files(tmp_path / "undisturbed")


def test_a_changed_setting_is_refused_readably_and_a_longer_run_is_not(tmp_path):
    trainer(images(), tmp_path, changes={"steps": 5}).fit()
    with pytest.raises(ConfigError, match=r"learning_rate: 0\.001 → 0\.1; clip: 1\.0 → None"):
        trainer(images(), tmp_path, changes={"learning_rate": 0.1, "clip": None}).resume()
    longer = trainer(images(), tmp_path, changes={"steps": 9})
    with pytest.warns(
        TrainingWarning, match=r"cooling down at step 5; continued to 9 steps.*from 28\.6% to 72\.7%"
    ):
        assert longer.resume()
    assert longer.fit() == 9


def test_a_folder_with_checkpoints_is_not_trained_over(tmp_path):
    trainer(images(), tmp_path, changes={"steps": 5}).fit()
    with pytest.raises(ConfigError, match="Call resume"):
        trainer(images(), tmp_path).fit()


def test_a_user_s_own_optimiser_is_used_scheduled_and_resumed(tmp_path):
    def with_sgd(out):
        model = Noisy()
        groups = [{"params": model.layers[0].parameters()}, {"params": model.layers[3].parameters(), "lr": 0.1}]
        optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9)
        return Trainer(model, images(), loss=loss, optimizer=optimizer, config=settings(cooldown=None), out=out)

    undisturbed = with_sgd(tmp_path / "undisturbed")
    undisturbed.fit()
    assert [group["lr"] for group in undisturbed.optimizer.param_groups] == [0.01, 0.1]
    first = with_sgd(tmp_path / "run")
    first.fit(should_stop=stop_after(first, 4))
    second = with_sgd(tmp_path / "run")
    second.resume()
    second.fit()
    assert final_files(tmp_path / "run") == final_files(tmp_path / "undisturbed")
    with pytest.raises(TrainingError, match="optimiser is SGD over 2"):
        trainer(images(), tmp_path / "run", changes={"cooldown": None}).resume()


def test_epochs_are_counted_in_batches(tmp_path):
    run = trainer(Stateful(), tmp_path, changes={"steps": None, "epochs": 2, "log_every": 1})
    assert run.total_steps == 14
    assert run.fit() == 14
    assert trainer(images(), changes={"steps": 9, "epochs": 2}).total_steps == 9
    with pytest.raises(TrainingError, match="Give steps instead of epochs"):
        trainer(iter(images()), changes={"steps": None, "epochs": 1})


def test_batches_that_are_used_up_are_told_of():
    with pytest.raises(TrainingError, match="can be iterated again"):
        trainer(iter(images())).fit()
    with pytest.raises(TrainingError, match="gave no batch"):
        trainer([]).fit()


def test_a_loss_without_a_loss_is_refused():
    with pytest.raises(TrainingError, match="'fit'; one of them must be 'loss'"):
        trainer(images(), loss=lambda model, batch: {"fit": model(batch.data).mean()}).fit()


def test_skipped_updates_are_counted_in_the_metrics_and_warned_of(tmp_path):
    def sometimes(model, batch):
        terms = loss(model, batch)
        return {**terms, "loss": terms["loss"] * (math.nan if batch.step in (3, 4) else 1.0)}

    run = trainer(images(), tmp_path, loss=sometimes)
    with pytest.warns(TrainingWarning) as caught:
        run.fit()
    assert [str(one.message) for one in caught] == [
        "step 4: updates skipped because loss was NaN or infinite: 1 since the last line, 1 since the start.",
        "step 5: updates skipped because loss was NaN or infinite: 1 since the last line, 2 since the start.",
    ]
    lines = {line["step"]: line for line in read_metrics(tmp_path / "metrics.jsonl")}
    assert run.skipped_updates == 2
    assert [lines[step]["skipped_updates"] for step in (2, 4, 6, 18)] == [0, 1, 2, 2]
    assert lines[4]["loss"] == pytest.approx(lines[4]["fit"], rel=0.01), "the mean of the finite step alone"
    assert lines[5]["loss"] is None, "no finite step since the last line"


def test_a_loss_that_stays_nan_ends_training_and_keeps_the_last_good_weights(tmp_path):
    def diverges(model, batch):
        terms = loss(model, batch)
        return {**terms, "loss": terms["loss"] * (math.nan if batch.step >= 5 else 1.0)}

    run = trainer(images(), tmp_path, loss=diverges, changes={"steps": 100, "log_every": 100, "save_every": 5})
    with (
        pytest.warns(TrainingWarning, match="updates skipped"),
        pytest.raises(NonFiniteError, match="20 updates in a row"),
    ):
        run.fit()
    good = CheckpointFolder(tmp_path / "checkpoints").open(20).model_tensors()
    assert all(value.isfinite().all() for value in good.values())


def test_a_failed_periodic_save_warns_and_training_goes_on(tmp_path, monkeypatch):
    bounds = iter([4.0, 3.0, 2.0, 1.0])
    run = trainer(images(), tmp_path, evaluate=lambda model: {"bound": next(bounds)})
    fsync, calls = os.fsync, []

    def full_for_a_while(descriptor):
        calls.append(descriptor)
        if len(calls) < 2:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_for_a_while)
    with pytest.warns(TrainingWarning, match="00000005.*No space left.*Training continues"):
        assert run.fit() == 18
    assert CheckpointFolder(tmp_path / "checkpoints").steps() == [10, 15, 18]
    assert run.best == {"step": 10, "bound": 3.0}, "step 5 had a higher bound, but its weights were never saved"


def test_a_failed_last_save_is_an_error(tmp_path, monkeypatch):
    run = trainer(images(), tmp_path, changes={"save_every": 100})
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(SaveError, match="No space left"):
        run.fit()


def test_the_best_checkpoint_is_the_one_with_the_highest_bound(tmp_path):
    bounds = iter([1.0, 3.0, 2.0, math.nan])
    run = trainer(images(), tmp_path, evaluate=lambda model: {"bound": next(bounds)}, changes={"keep": 1})
    run.fit()
    assert run.best == {"step": 10, "bound": 3.0}
    assert CheckpointFolder(tmp_path / "checkpoints").steps() == [10, 18]
    held_out = [line for line in read_metrics(tmp_path / "metrics.jsonl") if line["kind"] == "held_out"]
    assert [line["bound"] for line in held_out] == [1.0, 3.0, 2.0, None]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_and_resumes_bit_identically(tmp_path, precision):
    def run(out, stop):
        one = trainer(images(), out, changes={"precision": precision})
        one.resume()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TrainingWarning)  # fp16 finds its scale by skipping
            one.fit(should_stop=stop_after(one, stop))
        return one

    straight = run(tmp_path / "a", 18)
    run(tmp_path / "b", 7)
    run(tmp_path / "b", 18)
    assert final_files(tmp_path / "a") == final_files(tmp_path / "b")
    assert all(value.dtype == torch.float32 for value in straight.model.parameters())
    assert read_metrics(tmp_path / "a" / "metrics.jsonl")[-1]["loss"] is not None


def test_training_leaves_the_caller_s_random_numbers_alone():
    run = trainer(images())
    state = torch.get_rng_state()
    run.fit()
    assert torch.equal(torch.get_rng_state(), state)
