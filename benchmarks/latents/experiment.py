"""One job from data to numbers: train or continue training, then measure on the test images."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from binarisation import BinarisedBatches, draw_all
from digits import Digits
from jobs import SHORT, Job
from models import make_model
from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.evaluate import ImportanceEstimate, estimate_likelihood, neighbour_errors, usage
from dirvae.seeding import Purpose, derive_seed, seeded
from dirvae.training import FitConfig, Trainer
from pipelines.order.epoch_order import permutation

__all__ = ["LIKELIHOOD_IMAGES", "measure", "train"]

BATCH_SIZE = 100
LEARNING_RATE = 5e-4
SAVE_EVERY_EPOCHS = 3
TEST_SEED = 1_000_003
NEIGHBOURS = (3, 5, 10)
ROWS = 500
LIKELIHOOD_IMAGES = {SHORT: 2000}
"""Test images whose likelihood is estimated after this many epochs, all unless named: a fixed choice at random."""


def train(
    job: Job, data: Digits, run: Path, *, should_stop: Callable[[], bool] = lambda: False
) -> AutoEncoder | None:
    """Train a job's model to its last epoch in a run folder, from wherever that stands; None if it was stopped.

    Adam at a constant rate, no warm-up, no clipping: a run of 100 epochs passes through that of 30.
    """
    batches = BinarisedBatches(data.train.pixels, batch_size=BATCH_SIZE, seed=job.seed)
    model = make_model(job.model, seed=job.seed)
    config = FitConfig(
        steps=None,
        epochs=job.epochs,
        learning_rate=LEARNING_RATE,
        learning_rate_warmup=0,
        cooldown=None,
        kl_warmup=0,
        clip=None,
        precision="fp32",
        device="cpu",
        seed=job.seed,
        save_every=SAVE_EVERY_EPOCHS * len(batches),
        log_every=SAVE_EVERY_EPOCHS * len(batches),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    trainer = Trainer(model, batches, optimizer=optimizer, config=config, out=run)
    trainer.resume()
    trainer.fit(should_stop=should_stop)
    return model.eval() if trainer.step == trainer.total_steps else None


def measure(
    model: AutoEncoder,
    data: Digits,
    *,
    samples: int,
    images: int | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any] | None:
    """Everything the tables show, on the test images binarised once: JSON values, nats per image. None if stopped.

    The likelihood and its bound are estimated for `images` of them, a fixed choice; everything else for all.
    """
    test = draw_all(data.test.pixels, seed=TEST_SEED)
    chosen = test[torch.from_numpy(permutation(len(test), TEST_SEED)[:images])]
    began = time.perf_counter()
    parts = []
    for index, part in enumerate(chosen.split(ROWS)):
        if should_stop():
            return None
        seed = derive_seed(TEST_SEED, Purpose.IMPORTANCE, index)
        parts.append(estimate_likelihood(model, part, samples=samples, rows=ROWS, seed=seed))
    estimate = ImportanceEstimate.joined(parts).means()
    seconds = time.perf_counter() - began
    test_means = _means(model, test)
    train_means = _means(model, draw_all(data.train.pixels, seed=TEST_SEED + 1))
    errors = neighbour_errors(
        train_means,
        torch.from_numpy(data.train.labels),
        test_means,
        torch.from_numpy(data.test.labels),
        counts=NEIGHBOURS,
    )
    return {
        **estimate,
        "importance_samples": samples,
        "importance_images": len(chosen),
        "importance_seconds": round(seconds, 1),
        "negative_bound_as_trained": _objective(model, test),
        "neighbour_errors": {str(count): error for count, error in errors.items()},
        **usage(model, test_means),
        "test_images": len(test),
    }


@torch.inference_mode()
def _means(model: AutoEncoder, x: Tensor) -> Tensor:
    return torch.cat([model.encode(part).mean for part in x.split(ROWS)])


@torch.inference_mode()
def _objective(model: AutoEncoder, x: Tensor) -> float:
    """What training minimises: with the model's own sampler and divergence, be they approximations or not."""
    total = 0.0
    for index, part in enumerate(x.split(ROWS)):
        with seeded(derive_seed(TEST_SEED, Purpose.EVALUATION, index), torch.device("cpu")):
            total += len(part) * float(model.loss(part, model(part))["loss"])
    return total / len(x)
