"""`FitConfig(checkpoint_activations=True)`: the same training to the bit, with fewer values kept."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.utils import parametrizations

from dirvae import MLPVAE, AudioVAE, ResNetVAE, VideoVAE
from dirvae.networks.audio import SoundClips
from dirvae.training import ConfigError, FitConfig, Trainer, TrainingWarning
from dirvae.training.activations import CheckpointedActivations

needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="torch.compile needs a C++ compiler: no g++"
)


class Noisy(nn.Module):
    """Layers that draw noise, count, and change buffers which their output depends on."""

    def __init__(self) -> None:
        super().__init__()
        first = parametrizations.spectral_norm(nn.Linear(6, 8))
        self.layers = nn.Sequential(
            *(
                first,
                nn.BatchNorm1d(8),
                nn.Dropout(0.5),
                nn.ReLU(),
                nn.Linear(8, 8),
                nn.Dropout(0.2),
                nn.Linear(8, 1),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.layers(x + torch.randn_like(x))
        return made


def squares(model: Any, batch: Any) -> dict[str, Tensor]:
    return {"loss": model(batch.data).square().mean()}


def sounds() -> SoundClips:
    generator = torch.Generator().manual_seed(0)
    samples = 0.3 * torch.randn(2, 1600, generator=generator)
    return SoundClips(samples, torch.full((2, 50), 220.0), torch.full((2, 50), -20.0), torch.tensor([1600, 900]))


def small(**options: Any) -> nn.Module:
    return ResNetVAE(32, preset="tiny", model_size=4, **options)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Any]]] = {
    "image": (small, lambda: torch.rand(3, 3, 32, 32)),
    "map": (lambda: small(grid=4, prior="learned"), lambda: torch.rand(3, 3, 32, 32)),
    "levels": (lambda: small(levels="both", map_size=4), lambda: torch.rand(3, 3, 32, 32)),
    "video": (
        lambda: VideoVAE(16, clip_frames=4, preset="tiny", model_size=4),
        lambda: torch.rand(2, 3, 4, 16, 16),
    ),
    "audio": (lambda: AudioVAE(8_000, preset="tiny", num_bands=9, reverb_seconds=0.1), sounds),
}


def backward(model: nn.Module, data: Any, *, is_checkpointed: bool) -> tuple[list[Tensor], list[Tensor], int]:
    """Gradients, buffers, and how many bytes were kept for the backward pass at the end of the forward pass."""
    kept: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return value

    torch.manual_seed(1)
    context = CheckpointedActivations(model).applied() if is_checkpointed else nullcontext()
    with context, saved_tensors_hooks(pack, lambda value: value):
        terms: dict[str, Tensor] = model.loss(data, model(data))  # type: ignore[operator]
    num_bytes = sum(kept.values())
    model.zero_grad(set_to_none=True)
    terms["loss"].backward()
    gradients = [torch.zeros(0) if value.grad is None else value.grad.clone() for value in model.parameters()]
    return gradients, [value.clone() for value in model.buffers()], num_bytes


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_same_and_less_is_kept(name: str) -> None:
    make, data = MODELS[name]
    torch.manual_seed(0)
    model, batch = make(), data()
    start = {key: value.clone() for key, value in model.state_dict().items()}
    expected, buffers, most = backward(model, batch, is_checkpointed=False)
    model.load_state_dict(start)
    found, buffers_found, kept = backward(model, batch, is_checkpointed=True)
    assert any(value.abs().sum() > 0 for value in expected)
    for one, other in zip([*expected, *buffers], [*found, *buffers_found], strict=True):
        assert torch.equal(one, other)
    assert kept < 0.6 * most
    assert not any("forward" in vars(module) for module in model.modules())


def trained(out: Path | None = None, *, stops: tuple[int, ...] = (), **changes: Any) -> dict[str, Tensor]:
    batches = list(torch.rand(5, 16, 6, generator=torch.Generator().manual_seed(2)))
    config = FitConfig(steps=12, device="cpu", log_every=100, learning_rate_warmup=0, clip=None, **changes)
    for stop in (*stops, 12):
        torch.manual_seed(0)
        trainer = Trainer(Noisy(), batches, loss=squares, config=config, out=out)
        assert out is None or trainer.resume() == (stop != min(*stops, 12))
        trainer.fit(should_stop=lambda trainer=trainer, stop=stop: trainer.step >= stop)  # type: ignore[misc]
    return trainer.model.state_dict()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_noise_and_buffers_are_those_of_a_run_without_it(accumulate: int) -> None:
    expected, found = trained(accumulate=accumulate), trained(accumulate=accumulate, checkpoint_activations=True)
    assert expected["layers.1.num_batches_tracked"] == {1: 12, 2: 20}[accumulate]  # 5 batches an epoch: 2, 2 and 1
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_a_run_resumed_with_it_ends_in_the_same_weights(tmp_path: Path) -> None:
    expected = trained()
    found = trained(tmp_path, stops=(3, 7), checkpoint_activations=True)
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


@pytest.mark.heavy
@needs_compiler
def test_it_goes_together_with_compile() -> None:
    pictures = list(torch.rand(4, 8, 1, 28, 28, generator=torch.Generator().manual_seed(2)).round())

    def weights(**changes: Any) -> dict[str, Tensor]:
        torch.manual_seed(0)
        config = FitConfig(steps=6, kl_warmup=0, device="cpu", log_every=100, **changes)
        trainer = Trainer(MLPVAE(model_size=4, widths=(16, 16)), pictures, config=config)
        trainer.fit()
        return trainer.model.state_dict()

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has some of its own
        warnings.simplefilter("error", TrainingWarning)
        expected, found = weights(), weights(compile=True, checkpoint_activations=True)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5)
    assert not torch._dynamo.utils.counters["graph_break"]


def test_a_model_without_layers_in_a_row_is_refused() -> None:
    config = FitConfig(steps=1, device="cpu", checkpoint_activations=True)
    with pytest.raises(ConfigError, match=r"Linear has no nn.Sequential .* activation_parts\(\)"):
        Trainer(nn.Linear(2, 2), [torch.rand(2, 2)], loss=squares, config=config)
