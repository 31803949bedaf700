"""What a step minimises: the KL term's weight over the steps, and free nats, as a config asks for them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dirvae import AutoEncoder
from dirvae.training import ConfigError, FeedBatch, FitConfig
from dirvae.training.objective import Bound


def weights(num: int, **settings: object) -> list[float]:
    bound = Bound(FitConfig(**settings))
    return [bound.kl_weight(step) for step in range(num)]


def test_the_weight_rises_once_and_stays() -> None:
    assert weights(6, kl_warmup=4) == [0, 0.25, 0.5, 0.75, 1, 1]
    assert weights(4, kl_warmup=2, kl_weight=3.0) == [0, 1.5, 3, 3]


def test_without_a_warm_up_the_weight_is_constant() -> None:
    assert weights(3, kl_warmup=0, kl_weight=0.5) == [0.5, 0.5, 0.5]


def test_in_cycles_the_weight_rises_anew() -> None:
    assert weights(10, kl_warmup=2, kl_cycle=4) == [0, 0.5, 1, 1, 0, 0.5, 1, 1, 0, 0.5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"kl_cycle": 3, "kl_warmup": 4},
            "kl_cycle is 3; it must be None or a whole number ≥ 1, and no shorter than the KL warm-up, 4",
        ),
        ({"kl_cycle": 3, "kl_warmup": 0}, "kl_cycle is 3"),
        ({"kl_cycle": 0}, "kl_cycle is 0"),
        ({"kl_weight": -1.0}, "kl_weight is -1.0"),
        ({"free_nats": -1.0}, "free_nats is -1.0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FitConfig(**settings)


def small_model() -> AutoEncoder:
    torch.manual_seed(0)
    return AutoEncoder(nn.Linear(10, 6), nn.Linear(6, 10), 6)


def test_the_terms_are_the_models_with_the_weight_of_the_step_beside_them() -> None:
    x = torch.rand(4, 10)
    bound = Bound(FitConfig(kl_warmup=10, kl_weight=0.5))
    terms = bound(small_model(), FeedBatch(x, None, 4, step=4))
    assert terms["kl_weight"] == 0.2
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 0.2 * terms["kl"])


def test_free_nats_reach_the_model_and_one_that_has_none_trains_without_them() -> None:
    x = torch.rand(4, 10)
    terms = Bound(FitConfig(kl_warmup=0, free_nats=1e4))(small_model(), FeedBatch(x, None, 4))
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + 1e4)

    class Old(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

        def loss(self, x: Tensor, out: Tensor, *, kl_weight: float, mask: Tensor | None) -> dict[str, Tensor]:
            return {"loss": (out * kl_weight).sum()}

    assert Bound(FitConfig())(Old(), FeedBatch(x, None, 4, step=300))["loss"] == x.sum()
