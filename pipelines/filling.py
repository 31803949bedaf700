"""The work of one batch: read its examples, decode each into its slot."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .batch import Batch
from .decode.decoder import Decoder, Details
from .errors import ExampleError, ShardError, SourceError
from .fields import gather_field
from .randomness import Domain, Place, derive_key
from .sources.source import Example, Source
from .stats import Counters

__all__ = ["BatchJob", "Recipe", "Transform"]

MAX_TRIES = 16


class Transform(Protocol):
    """A user's own step for each example: array in, array out, randomness from `rng` alone."""

    def __call__(self, array: NDArray[Any], rng: np.random.Generator, example: Example, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Recipe:
    """How examples become a batch; the same for every batch of an iterator."""

    source: Source
    decoder: Decoder
    fields: tuple[str, ...]
    transform: Transform | None
    substitute: bool
    counters: Counters


class BatchJob:
    """One batch in the making: slot i holds the example at `indices[i]`, which stands at `positions[i]`."""

    def __init__(
        self,
        recipe: Recipe,
        *,
        positions: NDArray[np.int64],
        indices: NDArray[np.int64],
        mask: NDArray[np.bool_] | None,
        seed: int,
        epoch: int,
        num_examples: int,
        next_position: int,
    ) -> None:
        self._recipe, self._mask = recipe, mask
        self._positions, self._indices = positions, indices
        self._seed, self._epoch, self._num_examples = seed, epoch, num_examples
        self.next_position = next_position
        self._data = recipe.decoder.allocate(len(indices)) if recipe.transform is None else None
        self._arrays: list[NDArray[Any] | None] = [None] * len(indices)
        self._details: list[Details] = [Details()] * len(indices)
        self._examples: list[Example | None] = [None] * len(indices)
        self._substituted = np.zeros(len(indices), np.bool_)

    def __len__(self) -> int:
        return len(self._indices)

    @property
    def num_substituted(self) -> int:
        """Slots in which another example stands in; padding does not count."""
        return int((self._substituted if self._mask is None else self._substituted & self._mask).sum())

    def fill(self, start: int, stop: int) -> None:
        """Read and decode the examples of slots [start, stop)."""
        begun = perf_counter()
        examples = self._read(start, stop)
        decoding = perf_counter()
        num_bytes = 0
        for slot, example in enumerate(examples, start):
            num_bytes += len(example.media) if example is not None else 0
            self._fill_slot(slot, example)
        self._recipe.counters.add(
            bytes=num_bytes, read_seconds=decoding - begun, decode_seconds=perf_counter() - decoding
        )

    def _read(self, start: int, stop: int) -> list[Example | None]:
        """The examples, all in one call; None for one that cannot be read and may be substituted."""
        indices = self._indices[start:stop].tolist()
        if not self._recipe.substitute:
            return list(self._recipe.source.read(indices))
        try:
            return list(self._recipe.source.read(indices))
        except (ExampleError, ShardError, SourceError):
            return [None] * len(indices)

    def _fill_slot(self, slot: int, example: Example | None) -> None:
        place = Place(self._seed, self._epoch, int(self._positions[slot]))
        if not self._recipe.substitute:
            assert example is not None
            self._decode(slot, example, place)
            return
        failures = []
        for attempt in range(MAX_TRIES):
            try:
                if attempt or example is None:
                    example = self._recipe.source.read([self._candidate(slot, attempt)])[0]
                self._decode(slot, example, place)
            except (ExampleError, ShardError, SourceError) as error:
                failures.append(error)
                example = None
            else:
                self._substituted[slot] = attempt > 0
                return
        raise failures[0]

    def _candidate(self, slot: int, attempt: int) -> int:
        if attempt == 0:
            return int(self._indices[slot])
        key = derive_key(self._seed, Domain.SUBSTITUTE, self._epoch, int(self._positions[slot]), attempt)
        return (key >> 1) % self._num_examples

    def _decode(self, slot: int, example: Example, place: Place) -> None:
        decoder, transform = self._recipe.decoder, self._recipe.transform
        if self._data is not None:
            self._details[slot] = decoder.decode_into(example, self._data[slot], place)
        else:
            array, self._details[slot] = self._decode_alone(example, place)
            self._arrays[slot] = array if transform is None else transform(array, place.generator(), example)
        self._examples[slot] = example

    def _decode_alone(self, example: Example, place: Place) -> tuple[NDArray[Any], Details]:
        slots = self._recipe.decoder.allocate(1)
        if slots is None:
            return self._recipe.decoder.decode(example, place)
        details = self._recipe.decoder.decode_into(example, slots[0], place)
        return slots[0], details

    def batch(self, state: dict[str, Any]) -> Batch:
        """The finished batch. Raises `ValueError` where arrays of different shapes cannot be stacked."""
        examples = [example for example in self._examples if example is not None]
        assert len(examples) == len(self)
        data = self._data if self._data is not None else _stack([a for a in self._arrays if a is not None])
        transforms = [details.transform for details in self._details]
        lengths = [details.length for details in self._details]
        return Batch(
            data=data,
            keys=[example.key for example in examples],
            indices=np.array([example.index for example in examples], np.int64),
            state=state,
            fields={name: gather_field(name, examples) for name in self._recipe.fields},
            mask=self._mask,
            lengths=None if None in lengths else np.array(lengths, np.int64),
            substituted=self._substituted if self._recipe.substitute else None,
            transform=None if None in transforms else np.array(transforms, np.float32).reshape(-1, 2, 3),
        )


def _stack(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    shapes = {np.shape(array) for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"examples of shapes {sorted(shapes)} cannot share a batch. Give a size, or batch_size=1.")
    return np.stack(arrays)
