"""The batches of training: any iterable's, as float tensors on the device, and the position in them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dirvae.seeding import Purpose, derive_seed, example_seeds, seed_all_generators, seeded_everywhere
from dirvae.training.errors import TrainingError
from dirvae.training.ranks import ONE_RANK, Ranks
from dirvae.transfer import send
from pipelines.batching.iteration import BatchIterator
from pipelines.torch_bridge import DevicePrefetcher

__all__ = ["NOISE_VERSION", "Feed", "FeedBatch", "data_of", "to_device"]

NOISE_VERSION = 3
"""How a run's noise is made.

1   by the step; the generator of a loader of the caller's was not seeded again per epoch
2   it is; noise is drawn for a batch as a whole
3   noise is drawn for each example by its place in the run: the same however an update is divided into batches
"""

_END = object()
_LAYOUTS = {4: torch.channels_last, 5: torch.channels_last_3d}


@dataclass(frozen=True)
class FeedBatch:
    """A batch on the device. `data` is (batch, channel, *dims), uint8 data scaled to [0, 1], as float32 or, for a
    model of float64 weights, float64; `mask` (batch,) bool marks real examples, None if all are; `num_examples` counts
    them; `step` is the update it is for, from 0. `source` is the batch as it was given, with its keys, fields or
    labels; the arrays of an iterator's batch are tensors on the device there. `seeds` (batch,) int64 are those of the
    examples' noise, on the device; None in a run whose noise is drawn for batches as a whole.
    """

    data: Tensor
    mask: Tensor | None
    num_examples: int
    step: int = 0
    source: Any = None
    seeds: Tensor | None = None


class Feed:
    """The epochs of an iterable, one after the other, with the position after the last batch taken.

    `batches` yields batches (anything with `.data`), tensors, arrays, tuples that begin with one of these, or dicts
    with one under "data", and can be iterated again for the next epoch. The position is the state of the last batch if
    it has one, otherwise the number of batches taken in the epoch: on resume those are read again and dropped.

    The global generators of torch, NumPy and Python are seeded by (seed, epoch) at the start of an epoch and by
    (seed, step) for each batch, and a generator that a `DataLoader` or its sampler was given by (its own first seed,
    epoch). Counting is therefore exact for whatever draws from them: an order, an augmentation, a binarisation. Worker
    processes that outlive an epoch (`persistent_workers=True`) keep generators of their own, which it cannot reach.

    Batches of an iterator of `pipelines` go through a `DevicePrefetcher`: a GPU receives the next one during the
    step before it. `close` moves the iterator back to the last batch taken.
    """

    def __init__(
        self,
        batches: Iterable[Any],
        device: torch.device,
        *,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
        ranks: Ranks = ONE_RANK,
    ) -> None:
        self._kind = type(batches).__name__
        self._description = _describe(batches)
        self._generators = _generators_of(batches)
        self._batches = DevicePrefetcher(batches, device) if isinstance(batches, BatchIterator) else batches
        self._device, self._dtype = device, dtype
        self._seed, self._ranks = seed, ranks
        self._noise_version = NOISE_VERSION
        self._epoch = 0
        self._count = 0
        self._number = 0
        self._in_update = 0
        self._state: dict[str, Any] | None = None
        self._iterator: Iterator[Any] | None = None
        self._wait_seconds = 0.0

    @property
    def epoch(self) -> int:
        """Epochs completed: the iterator's own number if its state has one."""
        saved = self._state.get("epoch") if self._state is not None else None
        return saved if isinstance(saved, int) else self._epoch

    def batches_per_epoch(self) -> int:
        """Batches of a whole epoch, if none was taken yet. Raises `TrainingError` if the number is unknown."""
        try:
            return len(self._batches)  # type: ignore[arg-type]
        except TypeError as error:
            raise TrainingError(
                f"{self._kind} has no length, so the steps of an epoch are unknown. Give steps instead of epochs."
            ) from error

    @property
    def number(self) -> int:
        """How many batches were taken since the run began: the number of the next one."""
        return self._number

    def take(self, step: int) -> FeedBatch:
        """The next batch, for the update `step`. Raises `TrainingError` if a whole epoch has no batch."""
        self._in_update = 0
        batch = self._timed(self._next)
        if batch is _END:
            raise TrainingError(
                f"{self._kind} gave no batch in epoch {self._epoch}: it is empty, holds less than one batch, or is a "
                "generator that is used up. Give batches that can be iterated again."
            )
        return self._taken(batch, step)

    def take_more(self, step: int) -> FeedBatch | None:
        """Another batch of the same epoch for the same update; None where the epoch is over."""
        iterator = self._iterator
        batch = _END if iterator is None else self._timed(lambda: next(iterator, _END))
        if batch is _END:
            self._epoch, self._count, self._iterator = self._epoch + 1, 0, None
            return None
        return self._taken(batch, step)

    def _timed(self, next_one: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        batch = next_one()
        self._wait_seconds += time.perf_counter() - began
        return batch

    def _taken(self, batch: Any, step: int) -> FeedBatch:
        self._count += 1
        self._number += 1
        self._state = getattr(batch, "state", None)
        mask = getattr(batch, "mask", None)
        data = to_device(data_of(batch), self._device, dtype=self._dtype)
        seeds = self._example_seeds(batch, len(data), step)
        if mask is None:
            return FeedBatch(data, None, len(data), step, batch, seeds)
        mask = torch.as_tensor(mask)
        counted = self._batches.num_examples if isinstance(self._batches, DevicePrefetcher) else None
        num_examples = int(mask.sum()) if counted is None else counted  # asking a GPU would wait for it
        return FeedBatch(data, send(mask, self._device), num_examples, step, batch, seeds)

    def _example_seeds(self, batch: Any, num: int, step: int) -> Tensor | None:
        """Seeds by stream, epoch and position; where these are unknown, by the update and the place in it."""
        if self._noise_version < 3:
            return None
        places = getattr(batch, "places", None)
        if places is None:
            first = (self._ranks.rank << 32) + self._in_update
            places = np.stack([np.full(num, -1), np.full(num, step), np.arange(first, first + num)], 1)
        self._in_update += num
        return send(torch.from_numpy(example_seeds(self._seed, places)), self._device)

    def take_wait_seconds(self) -> float:
        """Seconds spent waiting for batches since the last call."""
        waited, self._wait_seconds = self._wait_seconds, 0.0
        return waited

    def describe(self) -> dict[str, Any] | None:
        """What the batches are of, as JSON, if they are those of an iterator of `pipelines`; None for others.

        Its modality, where the source is, the share of it that is held out (None: none), and the batch size.
        """
        return self._description

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch taken, as JSON."""
        state = self._state
        if state is None and hasattr(self._batches, "state_dict"):
            state = self._batches.state_dict()
        position = {"epoch": self._epoch, "batches": self._count, "taken": self._number, "iterator": state}
        return {**position, "noise_version": self._noise_version}

    def load_state_dict(self, state: dict[str, Any], *, step: int = 0) -> None:
        """Continue after the batch at which `state` was saved; the iterator's own errors pass through.

        `step`: how many batches were before it, where the state does not say so.
        """
        self.close()
        self._epoch, self._count, self._state = state["epoch"], state["batches"], state["iterator"]
        self._number = state.get("taken", step)
        self._noise_version = state.get("noise_version", 1)
        if self._state is None:
            if (self._epoch or self._count) and hasattr(self._batches, "state_dict"):
                raise TrainingError(
                    f"the run was saved with batches that have no state, but {self._kind} has one. Resume with the "
                    "same kind of batches."
                )
            return
        if not hasattr(self._batches, "load_state_dict"):
            raise TrainingError(
                f"the run was saved with an iterator that has a state, but {self._kind} has no load_state_dict. "
                "Resume with the same kind of batches."
            )
        self._batches.load_state_dict(self._state)

    def close(self) -> None:
        """End the iteration in progress; the iterator's own state is then that of the last batch taken."""
        iterator, self._iterator = self._iterator, None
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
        if iterator is not None and isinstance(self._batches, DevicePrefetcher):
            self._batches.load_state_dict(self._batches.state_dict())

    def _next(self) -> Any:
        if self._iterator is not None:
            batch = next(self._iterator, _END)
        elif self._count:
            batch = self._go_on()
        else:
            batch = self._begin()
        if batch is _END:
            self._epoch, self._count = self._epoch + 1, 0
            batch = self._begin()
        return batch

    def _begin(self) -> Any:
        """Start an epoch: its first batch."""
        with self._seeded_by_epoch():
            self._iterator = iter(self._batches)
            return next(self._iterator, _END)

    def _go_on(self) -> Any:
        """Start in the middle of an epoch: the next batch, drawn as if the ones before had been trained on.

        Batches without a state are read from the first one of the epoch, each as at its own number.
        """
        if self._state is not None:
            with self._seeded_by_epoch():
                self._iterator = iter(self._batches)
            return next(self._iterator, _END)
        batch = self._begin()
        for taken in range(self._number - self._count + 1, self._number + 1):
            if batch is not _END and self._iterator is not None:
                seed = derive_seed(self._seed, Purpose.STEP, self._ranks.index(taken))
                seed_all_generators(seed, self._device)
                batch = next(self._iterator, _END)
        return batch

    def _seeded_by_epoch(self) -> AbstractContextManager[None]:
        if self._noise_version > 1:
            for generator, first_seed in self._generators:
                generator.manual_seed(derive_seed(first_seed, Purpose.EPOCH, self._epoch))
        return seeded_everywhere(derive_seed(self._seed, Purpose.EPOCH, self._epoch), self._device)


def to_device(data: Tensor | NDArray[Any], device: torch.device, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """An array or tensor as `dtype` on a device: uint8 is scaled to [0, 1], 4 and 5 axes are laid out channels last.

    Floats stay as they are, and Booleans become 0 and 1. Raises `TypeError` for other types, whose range is unknown.
    """
    kind = str(data.dtype).removeprefix("torch.")
    if not (kind in ("uint8", "bool", "bfloat16") or kind.startswith("float")):
        raise TypeError(f"a batch holds {kind}; give uint8, which is scaled from 0–255 to [0, 1], or floats.")
    if isinstance(data, np.ndarray):
        data = torch.from_numpy(data if data.flags.writeable else data.copy())
    moved = send(data, device)
    scaled = moved.to(dtype) / 255 if moved.dtype == torch.uint8 else moved.to(dtype)
    layout = _LAYOUTS.get(scaled.ndim)
    return scaled if layout is None else scaled.contiguous(memory_format=layout)


def data_of(batch: Any) -> Any:
    """The tensor or array of a batch. Raises `TypeError` for one that has none."""
    if isinstance(batch, Mapping):
        if not isinstance(batch.get("data"), Tensor | np.ndarray):
            keys = ", ".join(map(repr, batch)) or "(none)"
            raise TypeError(
                f"a batch is a {type(batch).__name__} with the keys {keys}; name the tensor to train on 'data'."
            )
        return batch["data"]
    if isinstance(batch, tuple | list) and batch and not hasattr(batch, "data"):
        batch = batch[0]
    data = batch if isinstance(batch, Tensor | np.ndarray) else getattr(batch, "data", None)
    if not isinstance(data, Tensor | np.ndarray):
        raise TypeError(f"a batch is {type(batch).__name__}; give a tensor, an array or an object with .data.")
    return data


def _describe(batches: Any) -> dict[str, Any] | None:
    modality, source = getattr(batches, "modality", None), getattr(batches, "source", None)
    if not isinstance(batches, BatchIterator) or not isinstance(modality, str) or source is None:
        return None
    held_out = None
    while hasattr(source, "source"):  # a view of another source: a part of it, or its clips
        held_out = getattr(source, "fraction", held_out)
        source = source.source
    batch_size = getattr(batches, "batch_size", None)
    place = getattr(source, "shown_name", source.name)
    return {"modality": modality, "source": str(place), "held_out": held_out, "batch_size": batch_size}


def _generators_of(batches: Any) -> list[tuple[torch.Generator, int]]:
    """The generators that a loader or its samplers were given, each once, with the seed that each began with."""
    sampler = getattr(batches, "sampler", None)
    inner = getattr(getattr(batches, "batch_sampler", None), "sampler", None)
    found = [getattr(part, "generator", None) for part in (batches, sampler, inner)]
    generators = {id(one): one for one in found if isinstance(one, torch.Generator)}
    return [(one, one.initial_seed()) for one in generators.values()]
