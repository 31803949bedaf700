"""The work of one batch: read its examples, decode each into its slot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..decode.decoder import Decoder, Details, FunctionDecoder, Run, RunDecoder
from ..errors import ExampleError, PipelineError, ShardError, SourceError
from ..order.randomness import Place, Purpose, derive_key
from ..sources.located import READ_CLOCK
from ..sources.source import Example, Source
from .batch import Batch
from .fields import FieldReader, gather_field
from .stats import Counters

__all__ = ["BatchJob", "ExampleSpec", "Slots", "Transform"]

MAX_TRIES = 16
LARGE_BYTES = 64 << 20
READ_ERRORS = (ExampleError, ShardError, SourceError)


class Transform(Protocol):
    """A user's own step for each example: array in, array out, randomness from `rng` alone."""

    def __call__(self, array: NDArray[Any], rng: np.random.Generator, example: Example, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class ExampleSpec:
    """How the examples of one stream become arrays; the same for every batch of an iterator."""

    source: Source
    seed: int
    decoder: Decoder
    fields: tuple[str, ...]
    transform: Transform | None
    substitute: bool
    counters: Counters

    @classmethod
    def of(cls, source: Source, decoder: Decoder, options: Options, counters: Counters) -> ExampleSpec:
        """What an iterator's settings say of its examples."""
        substitute = options.on_error == "substitute"
        return cls(source, options.seed, decoder, tuple(options.fields), options.transform, substitute, counters)


class Options(Protocol):
    """Of `ReadOptions`, what becomes of an example."""

    @property
    def seed(self) -> int: ...

    @property
    def fields(self) -> Sequence[str]: ...

    @property
    def transform(self) -> Transform | None: ...

    @property
    def on_error(self) -> str: ...


@dataclass(frozen=True)
class Slots:
    """What stands in the slots of a batch, or of several: all arrays are (slots,).

    Slot i holds the example at `indices[i]` of stream `streams[i]`, which stands at `positions[i]` of that stream's
    epoch `epochs[i]` of `examples[i]` examples. `streams` is None where there is one stream.
    """

    indices: NDArray[np.int64]
    positions: NDArray[np.int64]
    epochs: NDArray[np.int64]
    examples: NDArray[np.int64]
    streams: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def places(self) -> NDArray[np.int64]:
        """Stream, epoch and position of each slot: (slots, 3)."""
        streams = np.zeros_like(self.positions) if self.streams is None else self.streams
        return np.stack((streams, self.epochs, self.positions), 1)

    def part(self, start: int, stop: int) -> Slots:
        """Slots [start, stop)."""
        streams = None if self.streams is None else self.streams[start:stop]
        cut = slice(start, stop)
        return Slots(self.indices[cut], self.positions[cut], self.epochs[cut], self.examples[cut], streams)


class BatchJob:
    """One batch in the making, from one stream or several of the same output shape."""

    def __init__(
        self, specs: Sequence[ExampleSpec], slots: Slots, mask: NDArray[np.bool_] | None, *, next_position: int
    ) -> None:
        self._specs, self._slots, self._mask = specs, slots, mask
        self.next_position = next_position
        self._substitute = any(spec.substitute for spec in specs)
        whole = all(spec.transform is None for spec in specs)
        self._data = specs[0].decoder.allocate(len(slots)) if whole else None
        self._is_own = whole and not any(isinstance(spec.decoder, FunctionDecoder) for spec in specs)
        self._arrays: list[NDArray[Any] | None] = [None] * len(slots)
        self._details: list[Details] = [Details()] * len(slots)
        self._keys = [""] * len(slots)
        self._indices = [0] * len(slots)
        self._fields = {name: [None] * len(slots) for name in specs[0].fields}
        self.failures: list[tuple[int, int, PipelineError]] = []
        self._substituted = np.zeros(len(slots), np.bool_)

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def num_substituted(self) -> int:
        """Slots in which another example stands in; padding does not count."""
        return int((self._substituted if self._mask is None else self._substituted & self._mask).sum())

    def fill(self, start: int, stop: int) -> None:
        """Read and decode the examples of slots [start, stop)."""
        begun = perf_counter()
        part = self._slots.part(start, stop)
        examples = self._read(part)
        decoding = perf_counter()
        num_bytes = 0
        READ_CLOCK.take()
        streams = repeat(0, len(part)) if part.streams is None else part.streams.tolist()
        places = zip(range(start, stop), streams, part.epochs.tolist(), part.positions.tolist(), strict=True)
        for slot, stream, epoch, position in places:
            example, examples[slot - start] = examples[slot - start], None
            spec = self._specs[stream]
            place = Place(spec.seed, epoch, position)
            num_bytes += len(example.media) if example is not None else 0
            if example is None or spec.substitute:
                self._fill_or_substitute(spec, slot, example, place)
            else:
                self._decode(spec, slot, example, place)
        reading_on, num_read = READ_CLOCK.take()  # by decoders that read what they need of an example
        self._specs[0].counters.add(
            bytes=num_bytes + num_read,
            read_seconds=decoding - begun + reading_on,
            decode_seconds=perf_counter() - decoding - reading_on,
        )

    def runs(self) -> list[tuple[Run, int]] | None:
        """For each slot what it is decoded together with, and where in that; None where each slot is for itself.

        Also None where an example cannot be read: `fill` says so.
        """
        decoders = [spec.decoder for spec in self._specs]
        if not all(isinstance(decoder, RunDecoder) for decoder in decoders):
            return None
        slots = self._slots
        try:
            examples = self._read(slots)
        except PipelineError:
            return None
        streams = repeat(0, len(slots)) if slots.streams is None else slots.streams.tolist()
        found: list[tuple[Run, int]] = []
        for slot, (stream, example) in enumerate(zip(streams, examples, strict=True)):
            if example is None:
                found.append((Run(("unreadable", id(self), slot)), 0))
                continue
            run = decoders[stream].run_of(example)
            found.append((run._replace(name=(stream, run.name)), example.index))
        return found

    def _read(self, part: Slots) -> list[Example | None]:
        """The examples, all of a stream in one call; None for one that cannot be read and may be substituted."""
        if part.streams is None:
            return self._read_from(self._specs[0], part.indices.tolist())
        found: list[Example | None] = [None] * len(part)
        for stream in np.unique(part.streams):
            here = np.flatnonzero(part.streams == stream)
            read = self._read_from(self._specs[int(stream)], part.indices[here].tolist())
            for slot, example in zip(here.tolist(), read, strict=True):
                found[slot] = example
        return found

    @staticmethod
    def _read_from(spec: ExampleSpec, indices: list[int]) -> list[Example | None]:
        found: list[Example | None]
        try:
            found = list(spec.source.read(indices))
        except READ_ERRORS:
            if not spec.substitute:
                raise
            return [None] * len(indices)
        if len(found) != len(indices):
            raise ValueError(
                f"{type(spec.source).__name__}.read gave {len(found)} examples for {len(indices)} indices; it must "
                "give one for each, in their order."
            )
        return found

    def _fill_or_substitute(self, spec: ExampleSpec, slot: int, example: Example | None, place: Place) -> None:
        failures = []
        for attempt in range(MAX_TRIES):
            try:
                if attempt or example is None:
                    example = spec.source.read([self._candidate(slot, place, attempt)])[0]
                self._decode(spec, slot, example, place)
            except READ_ERRORS as error:
                failures.append(error)
                example = None
                if attempt == 0 and (self._mask is None or self._mask[slot]):
                    self.failures.append((place.epoch, place.position, error))
            else:
                self._substituted[slot] = attempt > 0
                return
        raise _without_substitute(failures[0])

    def _candidate(self, slot: int, place: Place, attempt: int) -> int:
        if attempt == 0:
            return int(self._slots.indices[slot])
        key = derive_key(place.seed, Purpose.SUBSTITUTE, place.epoch, place.position, attempt)
        return (key >> 1) % int(self._slots.examples[slot])

    def _decode(self, spec: ExampleSpec, slot: int, example: Example, place: Place) -> None:
        decoder, transform = spec.decoder, spec.transform
        try:
            if self._data is not None:
                details = decoder.decode_into(example, self._data[slot], place)
            else:
                array, details = _decode_alone(decoder, example, place)
                self._arrays[slot] = array if transform is None else _transformed(transform, array, place, example)
            self._details[slot] = details
            self._keys[slot], self._indices[slot] = details.key or example.key, example.index
            if self._fields:
                reader = FieldReader(example)
                for name, values in self._fields.items():
                    values[slot] = details.fields[name] if name in details.fields else reader.value(name)
        except ExampleError as error:
            explained = spec.source.explain(error)
            if explained is error:
                raise
            raise explained from error

    @property
    def mixed_rates(self) -> tuple[str, str] | None:
        """Two examples whose own rates differ, by key and rate in words; None where all agree."""
        first: dict[Fraction, str] = {}
        for key, details in zip(self._keys, self._details, strict=True):
            if details.rate is not None:
                first.setdefault(details.rate, key)
        if len(first) < 2:
            return None
        (rate, key), (other_rate, other_key) = list(first.items())[:2]
        return f"{key!r} has {float(rate):g}", f"{other_key!r} has {float(other_rate):g}"

    def batch(self, state: dict[str, Any]) -> Batch:
        """The finished batch. Raises `ValueError` where arrays of different shapes cannot be stacked."""
        data = self._data if self._data is not None else _stack(self._arrays, is_own=self._is_own)
        transforms = [details.transform for details in self._details]
        lengths = [details.length for details in self._details]
        return Batch(
            data=data,
            keys=self._keys,
            indices=np.array(self._indices, np.int64),
            state=state,
            fields={name: gather_field(name, values) for name, values in self._fields.items()},
            mask=self._mask,
            lengths=_lengths(lengths, data),
            substituted=self._substituted if self._substitute else None,
            transform=None if None in transforms else np.array(transforms, np.float32).reshape(-1, 2, 3),
            places=self._slots.places,
        )


def _without_substitute(error: PipelineError) -> PipelineError:
    if not isinstance(error, ExampleError):
        return error
    reason = f"{error.reason}, and neither can any of {MAX_TRIES - 1} others drawn in its place"
    return ExampleError(error.container, error.key, reason, offset=error.offset, remedy="Repair the data.")


def _lengths(lengths: list[int | None], data: NDArray[Any]) -> NDArray[np.int64] | None:
    """(batch,) valid steps of (batch, channel, time, …), None where all are whole."""
    if all(length is None for length in lengths):
        return None
    return np.array([data.shape[2] if length is None else length for length in lengths], np.int64)


def _transformed(transform: Transform, array: NDArray[Any], place: Place, example: Example) -> NDArray[Any]:
    try:
        return _as_array(transform(array, place.lend_generator(), example), "transform")
    except Exception as error:
        error.add_note(f"in transform(array, rng, example), for example {example.key!r} of {example.container}")
        raise


def _as_array(value: Any, giver: str) -> NDArray[Any]:
    """What a function of the user's returned, as an array. Raises `TypeError` for what is not an array of numbers."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return value
    try:
        array = np.asarray(value)
    except ValueError:  # sequences of different lengths
        array = np.empty((), object)
    if array.dtype.hasobject and not array.ndim and isinstance(value, np.ndarray):
        value = value.item()  # what `np.asarray` made of no array
    if isinstance(value, str | bytes) or array.dtype.hasobject:
        what = "None" if value is None else f"a value of type {type(value).__name__}"
        raise TypeError(f"{giver} returned {what}; it must return an array of numbers.")
    return array


def _decode_alone(decoder: Decoder, example: Example, place: Place) -> tuple[NDArray[Any], Details]:
    slots = decoder.allocate(1)
    if slots is None:
        return decoder.decode(example, place)
    details = decoder.decode_into(example, slots[0], place)
    return slots[0], details


def _stack(decoded: Sequence[NDArray[Any] | None], *, is_own: bool) -> NDArray[Any]:
    """(examples, …) of arrays of one shape; `is_own`: nobody else has them, as who gave a function's result may.

    Raises `ValueError` for arrays of different shapes.
    """
    arrays = [
        array if isinstance(array, np.ndarray) and not array.dtype.hasobject else _as_array(array, "the decoder")
        for array in decoded
    ]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(
            f"examples of shapes {sorted(shapes)} cannot share a batch. Give them "
            "one shape (size=… of pictures, channels=… of recordings), or read with batch_size=1."
        )
    if len(arrays) == 1 and is_own and arrays[0].nbytes > LARGE_BYTES:
        return arrays[0][None]  # a copy of a giant may not fit
    return np.concatenate([array[None] for array in arrays])  # np.stack takes twice as long
