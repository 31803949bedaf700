"""The gradient guard: what is not finite moves nothing, is counted, named, and after a while fatal."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from dirvae.training.errors import NonFiniteError
from dirvae.training.guard import MAX_SKIPPED_IN_A_ROW, GradientGuard
from dirvae.training.precision import Precision
from dirvae.training.update import Updater

CPU = torch.device("cpu")


class Poisonable(nn.Module):
    """Two weights; a poison makes the loss, or one gradient, not finite."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.second = nn.Parameter(torch.tensor(3.0))

    def terms(self, poison: str = "") -> dict[str, torch.Tensor]:
        fit = self.first.square().sum()
        size = self.second.square()
        if poison == "gradient":  # the square root of 0 is finite, its slope is not
            size = size + (self.second - self.second.detach()).abs().sqrt()
        if poison == "term":
            fit = fit * math.nan
        return {"loss": fit + size, "fit": fit, "size": size}


def updater_of(model: nn.Module, optimizer: torch.optim.Optimizer, precision: str = "fp32") -> Updater:
    return Updater(model, optimizer, Precision(precision, CPU))


def update(updater: Updater, terms: dict[str, torch.Tensor], **settings: Any) -> tuple[torch.Tensor, torch.Tensor]:
    updater.prepare()
    updater.add(terms["loss"])
    return updater.apply(terms, **settings)


def snapshot(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    state = [value.clone() for entry in optimizer.state.values() for value in entry.values()]
    return [value.detach().clone() for value in model.parameters()] + state


@pytest.mark.parametrize("poison", ["term", "gradient"])
@pytest.mark.parametrize("is_fused", [False, True])
def test_an_update_that_is_not_finite_leaves_weights_and_optimiser_untouched(poison, is_fused):
    model = Poisonable()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=is_fused)
    updater = updater_of(model, optimizer)
    assert bool(update(updater, model.terms(), clip=None)[0])
    before = snapshot(model, optimizer)
    assert not bool(update(updater, model.terms(poison), clip=1.0)[0])
    after = snapshot(model, optimizer)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert updater.tally().skipped == 1
    update(updater, model.terms(), clip=None)
    assert not torch.equal(snapshot(model, optimizer)[0], before[0])


def test_the_flag_of_a_fused_optimiser_skips_the_step_as_not_stepping_does():
    """The route a GPU takes, on the CPU's fused kernel: nothing is read, nothing moves."""
    model = Poisonable()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
    updater = updater_of(model, optimizer)
    updater._is_flag_free, updater._takes_flag = False, True
    update(updater, model.terms(), clip=None)
    before = snapshot(model, optimizer)
    update(updater, model.terms("gradient"), clip=None)
    assert all(map(torch.equal, before, snapshot(model, optimizer)))
    update(updater, model.terms(), clip=None)
    assert not torch.equal(snapshot(model, optimizer)[0], before[0])


@pytest.mark.parametrize(
    ("poison", "culprit"), [("term", "fit"), ("gradient", "the gradient of second"), ("", None)]
)
def test_the_first_that_was_not_finite_is_named(poison, culprit):
    model = Poisonable()
    updater = updater_of(model, torch.optim.SGD(model.parameters(), lr=0.0))
    update(updater, model.terms(poison), clip=None)
    update(updater, model.terms("term" if poison == "gradient" else poison), clip=None)
    assert updater.tally().culprit == culprit


def test_too_many_in_a_row_end_training_with_one_sentence():
    model = Poisonable()
    updater = updater_of(model, torch.optim.SGD(model.parameters(), lr=0.1))
    for _ in range(MAX_SKIPPED_IN_A_ROW - 1):
        update(updater, model.terms("gradient"), clip=None)
    with pytest.raises(NonFiniteError, match=r"20 updates in a row.*the gradient of second") as caught:
        update(updater, model.terms("gradient"), clip=None)
    assert "\n" not in str(caught.value)


def test_a_row_that_ends_between_two_readings_is_still_noticed():
    model = Poisonable()
    guard = GradientGuard(model, CPU)
    for poison in ["gradient"] * MAX_SKIPPED_IN_A_ROW + [""]:
        model.zero_grad()
        terms = model.terms(poison)
        terms["loss"].backward()
        guard.check(terms, clip=None)
    with pytest.raises(NonFiniteError):
        guard.read()


def test_a_finite_update_ends_the_row_but_not_the_count():
    model = Poisonable()
    updater = updater_of(model, torch.optim.SGD(model.parameters(), lr=0.0))
    for poison in ("term", "term", "", "term"):
        update(updater, model.terms(poison), clip=None)
    tally = updater.tally()
    assert (tally.skipped, tally.in_a_row) == (3, 1)
    restored = updater_of(model, torch.optim.SGD(model.parameters(), lr=0.0))
    restored.load_state_dict(updater.state_dict())
    update(restored, model.terms("term"), clip=None)
    assert (restored.tally().skipped, restored.tally().in_a_row) == (4, 2)


@pytest.mark.parametrize("clip", [None, 0.5, 1e6])
def test_gradients_are_clipped_as_torch_clips_them(clip):
    model, witness = Poisonable(), Poisonable()
    updater = updater_of(model, torch.optim.SGD(model.parameters(), lr=1.0))
    _, norm = update(updater, model.terms(), clip=clip)
    witness.terms()["loss"].backward()
    expected = nn.utils.clip_grad_norm_(witness.parameters(), math.inf if clip is None else clip)
    assert float(norm) == pytest.approx(float(expected))
    for moved, still in zip(model.parameters(), witness.parameters(), strict=True):
        torch.testing.assert_close(moved, still - still.grad)


def test_parameters_without_a_gradient_do_not_confuse_the_guard():
    model = Poisonable()
    model.unused = nn.Parameter(torch.zeros(3))
    updater = updater_of(model, torch.optim.SGD(model.parameters(), lr=0.0))
    assert bool(update(updater, model.terms(), clip=1.0)[0])
    update(updater, model.terms("gradient"), clip=None)
    assert updater.tally().culprit == "the gradient of second"


def test_fp16_skips_overflowing_steps_and_lowers_its_scale():
    model = Poisonable()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    updater = updater_of(model, optimizer, "fp16")
    scale = updater.state_dict()["scaler"]["scale"]
    update(updater, {"loss": model.terms()["loss"] * 1e36}, clip=None)
    assert updater.tally().skipped == 0, "a scale that is too large says nothing about the run"
    lowered = updater.state_dict()["scaler"]["scale"]
    assert lowered == scale / 2
    assert torch.equal(model.second, torch.tensor(3.0))
    restored = updater_of(model, optimizer, "fp16")
    restored.load_state_dict(updater.state_dict())
    assert restored.state_dict() == updater.state_dict()


def test_the_search_for_a_loss_scale_does_not_end_a_run_but_gradients_that_stay_nan_do():
    model = Poisonable()
    updater = updater_of(model, torch.optim.SGD(model.parameters(), lr=0.1), "fp16")
    for _ in range(30):
        update(updater, {"loss": model.terms()["loss"] * 1e36}, clip=None)
        updater._scaler.update(65536.0)
    assert updater.tally().skipped == 0
    with pytest.raises(NonFiniteError, match="20 updates in a row"):
        many_bad_updates(model, updater)


def many_bad_updates(model: Poisonable, updater: Updater) -> None:
    for _ in range(60):  # 30 until the scale is below 2**-14
        update(updater, model.terms("gradient"), clip=None)
