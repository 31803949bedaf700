"""A training step beside pythae's, on the same network, batch and threads: python benchmarks/latents/step.py.

Two comparisons, each in interleaved rounds within one process. "step": forward, loss, backward and Adam on a batch
that lies ready, as each library's own loop writes them. "epoch": what a user waits for a batch, with each library's
own trainer and data in memory; ours draws the pixels' binarisation afresh, theirs are drawn once.
pip install pythae pydantic
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from binarisation import BinarisedBatches
from models import make_model
from torch import nn

from dirvae.networks.mlp import dense_stack
from dirvae.training import FitConfig, Trainer

Round = Callable[[], float]
"""Runs some steps and returns seconds per step."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Milliseconds of a training step, side by side.")
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds (default 9)")
    parser.add_argument("--steps", type=int, default=50, help="steps in a round (default 50)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default 2)")
    parser.add_argument("--batch-size", type=int, default=100, help="images in a batch (default 100)")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    print(f"784-500-500-50, batches of {options.batch_size}, {options.threads} threads, torch {torch.__version__}")
    for title, contestants in (
        ("step", step_rounds(options.batch_size, options.steps)),
        ("epoch", _epochs(options.batch_size, options.steps)),
    ):
        _print_table(title, interleaved(contestants, options.rounds))
    return 0


def interleaved(contestants: dict[str, Round], rounds: int) -> dict[str, list[float]]:
    """Seconds per step of each, by round, after one round that does not count."""
    for once in contestants.values():
        once()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, once in contestants.items():
            times[name].append(once())
    return times


def _print_table(title: str, times: dict[str, list[float]]) -> None:
    theirs = times["pythae"]
    print(f"\n{title:<24}{'ms':>8}{'from':>8}{'to':>8}{'pythae takes':>15}")
    for name, seconds in times.items():
        ratio = statistics.median(other / own for other, own in zip(theirs, seconds, strict=True))
        shown = [1000 * value for value in (statistics.median(seconds), min(seconds), max(seconds))]
        print(f"{name:<24}{shown[0]:>8.2f}{shown[1]:>8.2f}{shown[2]:>8.2f}{ratio:>14.2f}×")


def step_rounds(
    batch_size: int, steps: int, *, device: str = "cpu", is_compiled_too: bool = False
) -> dict[str, Round]:
    """The contestants of "step" by name; with `is_compiled_too` ours through `torch.compile` as well."""
    x = (torch.rand(batch_size, 1, 28, 28, generator=torch.Generator().manual_seed(0)) > 0.8).float().to(device)
    names = ("gaussian", "dirichlet")
    contestants = {f"ours, {name}": _our_steps(name, x, steps) for name in names}
    if is_compiled_too:
        contestants |= {f"ours, {name}, compiled": _our_steps(name, x, steps, is_compiled=True) for name in names}
    return {**contestants, "pythae": _their_steps(x, steps)}


def _our_steps(name: str, x: torch.Tensor, steps: int, *, is_compiled: bool = False) -> Round:
    model = make_model(name, seed=0).to(x.device)
    if is_compiled:
        model.compile()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)

    def once() -> float:
        began = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            model.loss(x, model(x))["loss"].backward()
            optimizer.step()
        _wait_for(x.device)
        return (time.perf_counter() - began) / steps

    return once


def _their_steps(x: torch.Tensor, steps: int) -> Round:
    """The body of pythae's `BaseTrainer.train_step`."""
    model = _their_model().to(x.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)

    def once() -> float:
        began, total = time.perf_counter(), 0.0
        for _ in range(steps):
            loss = model({"data": x}).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        _wait_for(x.device)
        return (time.perf_counter() - began) / steps

    return once


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _epochs(batch_size: int, steps: int) -> dict[str, Round]:
    pixels = np.random.Generator(np.random.Philox(0)).integers(0, 256, (steps * batch_size, 784), np.uint8)
    contestants = {f"ours, {name}": _our_epochs(name, pixels, batch_size) for name in ("gaussian", "dirichlet")}
    return {**contestants, "pythae": _their_epochs(pixels, batch_size)}


def _our_epochs(name: str, pixels: np.ndarray[Any, np.dtype[np.uint8]], batch_size: int) -> Round:
    model = make_model(name, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
    batches = BinarisedBatches(pixels, batch_size=batch_size, seed=0)
    config = FitConfig(
        steps=len(batches),
        learning_rate=5e-4,
        learning_rate_warmup=0,
        cooldown=None,
        kl_warmup=0,
        clip=None,
        precision="fp32",
        device="cpu",
    )

    def once() -> float:
        with contextlib.redirect_stderr(io.StringIO()):
            trainer = Trainer(model, batches, optimizer=optimizer, config=config)
            began = time.perf_counter()
            trainer.fit()
            return (time.perf_counter() - began) / len(batches)

    return once


def _their_epochs(pixels: np.ndarray[Any, np.dtype[np.uint8]], batch_size: int) -> Round:
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    x = (torch.from_numpy(pixels) > 127).float().view(-1, 1, 28, 28)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        trainer = BaseTrainer(
            model=_their_model(),
            train_dataset=BaseDataset(x, torch.zeros(len(x))),
            training_config=BaseTrainerConfig(
                output_dir=folder, per_device_train_batch_size=batch_size, learning_rate=5e-4, no_cuda=True
            ),
        )
        trainer.prepare_training()
    trainer.callback_handler.callbacks = []

    def once() -> float:
        began = time.perf_counter()
        trainer.train_step(epoch=1)
        return (time.perf_counter() - began) / len(trainer.train_loader)

    return once


def _their_model() -> nn.Module:
    """pythae's VAE around the same layers."""
    try:
        from pythae.models import VAE, VAEConfig
        from pythae.models.base.base_utils import ModelOutput
        from pythae.models.nn import BaseDecoder, BaseEncoder
    except ImportError as error:
        raise SystemExit(f"pythae cannot be imported ({error}); pip install pythae pydantic.") from error

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), *dense_stack(784, 500, 500), nn.Softplus())
            self.mean, self.log_variance = nn.Linear(500, 50), nn.Linear(500, 50)

        def forward(self, x: torch.Tensor) -> Any:
            hidden = self.layers(x)
            return ModelOutput(embedding=self.mean(hidden), log_covariance=self.log_variance(hidden))

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(*dense_stack(50, 500, 500, 784), nn.Sigmoid())

        def forward(self, z: torch.Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z).view(-1, 1, 28, 28))

    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=50, reconstruction_loss="bce")
    model: nn.Module = VAE(config, Encoder(), Decoder())
    return model


if __name__ == "__main__":
    sys.exit(main())
