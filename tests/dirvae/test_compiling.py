"""`FitConfig(compile=True)`: the weights of a run without it, and a sentence where nothing can be compiled."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from dirvae import MLPVAE
from dirvae.training import FitConfig, Trainer, TrainingWarning


def pictures() -> list[torch.Tensor]:
    """Three batches, the last one smaller."""
    made = torch.rand(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return list(made.round().split(8))


def trained(*, steps: int, **settings: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    model = MLPVAE(model_size=4, widths=(16,))
    config = FitConfig(steps=steps, kl_warmup=0, learning_rate=1e-3, device="cpu", **settings)
    trainer = Trainer(model, pictures(), config=config)
    trainer.fit()
    return model.state_dict()


@pytest.mark.heavy
def test_a_compiled_model_learns_what_it_does_without() -> None:
    torch._dynamo.reset()
    counter = torch._dynamo.utils.counters
    counter.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has some of its own
        warnings.simplefilter("error", TrainingWarning)
        expected, found = trained(steps=7), trained(steps=7, compile=True)
    assert list(found) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=0, msg=name)
    assert counter["stats"]["unique_graphs"] > 0


@pytest.mark.heavy
def test_a_compiled_run_that_is_resumed_ends_in_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", TrainingWarning)
        expected = trained(steps=7, compile=True)
        for stop in (3, 7):
            torch.manual_seed(0)
            config = FitConfig(steps=7, kl_warmup=0, learning_rate=1e-3, device="cpu", compile=True)
            trainer = Trainer(MLPVAE(model_size=4, widths=(16,)), pictures(), config=config, out=tmp_path)
            assert trainer.resume() == (stop > 3)
            trainer.fit(should_stop=lambda trainer=trainer, stop=stop: trainer.step >= stop)  # type: ignore[misc]
    for name, value in expected.items():
        assert torch.equal(trainer.model.state_dict()[name], value), name


def test_training_goes_on_where_nothing_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.exc import CppCompileError

    def compile_badly(self: nn.Module, **options: Any) -> None:
        def fail(*given: Any) -> None:
            torch.rand(9)  # what went before the failure leaves no trace
            raise CppCompileError(["c++"], "no such file")

        self._compiled_call_impl = fail

    monkeypatch.setattr(nn.Module, "compile", compile_badly)
    with pytest.warns(TrainingWarning, match="the model cannot be compiled here .*training goes on without"):
        found = trained(steps=4, compile=True)
    for name, value in trained(steps=4).items():
        assert torch.equal(found[name], value), name
