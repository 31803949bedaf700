"""The gradients of an update: its batches, their noise, the forward and backward passes, on one process or several.

    batches of the update ─▶ each by itself: noise, forward, backward ─▶ sums over the examples of all processes

An update has the same gradients, within rounding, however it is divided: a batch counts by its share of the examples.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dirvae.latents.dirichlet_prior import CollectsMoments
from dirvae.noise import example_noise
from dirvae.seeding import Purpose, derive_seed, seed_all_generators
from dirvae.training.activations import CheckpointedActivations
from dirvae.training.compiling import Compiler
from dirvae.training.config import FitConfig
from dirvae.training.feed import Feed, FeedBatch
from dirvae.training.first_batch import check_first_batch
from dirvae.training.objective import Bound, Loss, split_terms
from dirvae.training.precision import Precision
from dirvae.training.ranks import Ranks
from dirvae.training.signals import StopNow, interruptible
from dirvae.training.update import Updater

__all__ = ["Gradients", "Latest", "Summed"]


@dataclass(frozen=True)
class Latest:
    """The latest update: its step, the position in the data before it, and the keys of its batches.

    Batches themselves are not kept: they would fill the device until the next ones come.
    """

    step: int
    feed: dict[str, Any]
    keys_of_batches: list[Any]

    def keys(self) -> list[str]:
        """The keys of its examples on this process, as far as batches have keys."""
        return [str(key) for keys in self.keys_of_batches if isinstance(keys, list) for key in keys]


@dataclass(frozen=True)
class Summed:
    """What an update is made of.

    terms         scalars by name, means over the examples; with several processes this one's part of their sum
    numbers       plain numbers beside them
    num_examples  of all processes
    """

    terms: dict[str, Tensor]
    numbers: dict[str, float]
    num_examples: int


class Gradients:
    """Adds up the gradients of a model, one update after the other, and leaves them in its weights."""

    def __init__(
        self,
        module: nn.Module,
        feed: Feed,
        updater: Updater,
        loss: Loss,
        *,
        config: FitConfig,
        precision: Precision,
        ranks: Ranks,
    ) -> None:
        self.latest = Latest(0, {}, [])
        self._module, self._parallel = module, ranks.parallel(module)
        self._feed, self._updater, self._loss = feed, updater, loss
        self._config, self._precision, self._ranks = config, precision, ranks
        self._device: torch.device = precision.device
        self._has_checked_data = False
        self._activations = CheckpointedActivations(module) if config.checkpoint_activations else None
        self._compiler = Compiler(module, self._device) if config.compile else None
        self._moments = [part for part in module.modules() if isinstance(part, CollectsMoments)]

    def add(self, step: int) -> Summed:
        """The gradients of the next update, `step`. Raises `StopNow` where a stop ends compiling before it."""
        before = self._feed.state_dict()
        batches = self._take(step)
        self.latest = Latest(step, before, [getattr(batch.source, "keys", None) for batch in batches])
        (num_examples,) = self._ranks.sums([sum(batch.num_examples for batch in batches)])
        self._updater.prepare()
        sums: dict[str, Tensor] = {}
        numbers: dict[str, float] = {}
        for place, batch in enumerate(batches, start=1):
            self._check_data(batch)
            if self._compiler is not None:
                self._compile_for(batch, self._compiler)
            share = batch.num_examples / max(num_examples, 1)
            context = nullcontext() if place == len(batches) else self._ranks.apart(self._parallel)
            with context, self._noise(batch):
                terms, numbers = self._forward(batch)
                self._updater.add(terms["loss"], share=share * self._ranks.world_size)
            for name, value in terms.items():
                part = value.detach() * share
                sums[name] = sums[name] + part if name in sums else part
        for moments in self._moments:
            moments.commit(self._ranks.sum)
        return Summed(sums, numbers, num_examples)

    def rehearse(self, step: int) -> dict[str, Tensor]:
        """Go forward and backward on the next batch, without a trace; its terms."""
        batch = self._feed.take(step)
        self._check_data(batch)
        self._updater.prepare()
        return self._rehearse(batch)

    def bad(self, summed: Summed) -> list[str]:
        """What is not finite: terms, and gradients by the names of their weights. Waits for the device."""
        terms = [name for name, value in summed.terms.items() if not bool(value.isfinite())]
        gradients = ((name, value.grad) for name, value in self._module.named_parameters())
        return terms + [
            f"the gradient of {name}"
            for name, gradient in gradients
            if gradient is not None and not bool(gradient.isfinite().all())
        ]

    def forget(self) -> None:
        """Leave no trace of what was added since the last update."""
        for moments in self._moments:
            moments.forget()
        self._updater.forget()

    def _take(self, step: int) -> list[FeedBatch]:
        """The batches of an update: as many as are accumulated, or what is left of the epoch."""
        batches: list[FeedBatch] = []
        while len(batches) < self._config.accumulate:
            seed = derive_seed(self._config.seed, Purpose.STEP, self._ranks.index(self._feed.number))
            seed_all_generators(seed, self._device)
            batch = self._feed.take_more(step) if batches else self._feed.take(step)
            if batch is None:
                break
            batches.append(batch)
        return batches

    def _compile_for(self, batch: FeedBatch, compiler: Compiler) -> None:
        """Compile, which a stop ends at once on all ranks: no batch has been trained on before."""
        is_first, is_stopped = not compiler.is_tried, False
        try:
            with interruptible() if is_first else nullcontext():
                compiler.prepare(batch.data, partial(self._rehearse, batch))
        except StopNow:
            is_stopped = True
        if is_first and self._ranks.agree(is_stopped):
            self._feed.load_state_dict(self.latest.feed, step=self.latest.step)
            raise StopNow

    def _noise(self, batch: FeedBatch) -> AbstractContextManager[Any]:
        """Within this context each example of a batch has noise of its own, and moments are collected."""
        if batch.seeds is None:
            return nullcontext()
        for moments in self._moments:
            moments.collect(batch.mask)
        return example_noise(batch.seeds)

    def _forward(self, batch: FeedBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The loss terms of a batch, and the numbers beside them."""
        applied = nullcontext() if self._activations is None else self._activations.applied()
        with applied, self._precision.autocast():
            return split_terms(self._loss(self._parallel, batch))

    def _rehearse(self, batch: FeedBatch) -> dict[str, Tensor]:
        try:
            with self._ranks.apart(self._parallel), self._noise(batch):
                terms, _ = self._forward(batch)
                self._updater.add(terms["loss"])
            return {name: value.detach() for name, value in terms.items()}
        finally:
            self.forget()

    def _check_data(self, batch: FeedBatch) -> None:
        if not self._has_checked_data:
            is_own_loss = isinstance(self._loss, Bound) and self._loss.reads_data
            check_first_batch(self._module, batch, is_own_loss=is_own_loss)
            self._has_checked_data = True
