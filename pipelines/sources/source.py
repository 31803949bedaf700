"""What an iterator draws from: random access to examples by index."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ExampleError
from ..order.curve_rates import CurveRates
from ..storage.index import Index
from ..storage.remote.urls import redacted
from .located import LocatedExample, Member, ReadOrder
from .records import Probe, measure_all

__all__ = ["Example", "ReadOrder", "Source", "joined_fingerprint"]


@dataclass(slots=True, repr=False)  # not frozen: that would triple the time it takes to make one
class Example:
    """One example as it is stored: encoded bytes, not yet decoded.

    `index` is its place in the source, `media` the encoded picture, recording or clip, `fields` its other members
    by suffix; `container` and `offset` (bytes, None for a plain file) say where the media came from.
    """

    index: int
    key: str
    media: bytes
    container: str = ""
    offset: int | None = None
    fields: Mapping[str, bytes] = field(default_factory=dict)

    def error(self, reason: str) -> ExampleError:
        """The error that says this example cannot be decoded, and why."""
        return ExampleError(self.container, self.key, reason, offset=self.offset)

    def __repr__(self) -> str:
        where = f"{self.container!r}" + ("" if self.offset is None else f" at byte {self.offset}")
        size, fields = len(self.media), list(self.fields)
        return f"{type(self).__name__}({self.index}, {self.key!r}, {size:,} bytes of {where}, fields={fields})"


class Source(ABC):
    """Random access to a fixed number of examples, safe to read from many threads at once.

    A source of your own needs `name`, `__len__` and `read`. Everything else here tells an iterator about shards and
    about growth; the defaults describe a single block of data that is identified by its name and its length.
    """

    name: str
    """Named in errors."""

    origin: str | None = None
    """The path or pattern that `open_source` opened it by, and opens it again by; None for what was made of parts."""

    @property
    def shown_name(self) -> str:
        """As the user wrote it, without what may be secret in a URL."""
        return redacted(self.origin or self.name)

    modality: str | None = None
    """What the examples are ("image", "audio" …), None if it is not known."""

    cuts_recordings: bool = False
    """Whether several examples are known to be segments of one recording."""

    curve_rates: CurveRates = MappingProxyType({})
    """Rows per second of fields that are curves, where they are known."""

    @abstractmethod
    def __len__(self) -> int:
        """Examples."""

    @abstractmethod
    def read(self, indices: Sequence[int]) -> list[Example]:
        """The examples at these indices, in this order. Raises `PipelineError` for one that cannot be read."""

    def explain(self, error: ExampleError) -> ExampleError:
        """The error of an example that could not be decoded, with the reason that lies in how it is stored, if any."""
        return error

    def __getitem__(self, index: int) -> Example:
        num = len(self)
        if not -num <= index < num:
            raise IndexError(f"{self.name}: example {index} of {num}.")
        return self.read([index % num])[0]

    def keys(self) -> list[str]:
        """The key of every example, in order; costs one pass over the source."""
        return [example.key for index in range(len(self)) for example in self.read([index])]

    def find(self, key: str) -> int:
        """The index of the example with this key, by one pass over the keys. Raises `KeyError`."""
        for index, found in enumerate(self.keys()):
            if found == key:
                return index
        raise KeyError(f"{self.name}: no example {key!r}.")

    @property
    def shard_counts(self) -> NDArray[np.int64]:
        """Examples in each shard, in storage order: (shards,)."""
        return np.array([len(self)], np.int64)

    @property
    def data_hash(self) -> str:
        """Identifies the data: 32 hexadecimal digits."""
        return self.prefix_hash(len(self)) or ""

    def prefix_hash(self, examples: int) -> str | None:
        """The data hash of the first `examples` examples, None if they are not a whole number of shards.

        Data that only grew by appending keeps the hash of every earlier length.
        """
        if examples != len(self):
            return None
        return hashlib.sha256(f"{self.name}\0{len(self)}".encode()).hexdigest()[:32]

    @property
    def file_counts(self) -> NDArray[np.int64] | None:
        """Clips in each recording, in storage order: (recordings,); None if examples are not clips."""
        return None

    @property
    def clip_spec(self) -> dict[str, Any] | None:
        """How clips are cut, as JSON; None if examples are not clips."""
        return None

    def locate(self, index: int) -> LocatedExample:
        """Where an example lies, so that it can be read in parts; by default each part costs reading all of it."""
        example = self.read([index])[0]
        members = {name: self._member(index, name, len(content)) for name, content in example.fields.items()}
        media = self._member(index, None, len(example.media))
        return LocatedExample(example.index, example.key, media, example.container, example.offset, members)

    def _member(self, index: int, name: str | None, size: int) -> Member:
        return Member(partial(self._read_member, index, name), size, must_read_whole=True)

    def _read_member(self, index: int, name: str | None, offset: int, length: int) -> bytes:
        example = self.read([index])[0]
        content = example.media if name is None else example.fields[name]
        return content[offset : offset + length]

    def records(self, shard: int, probe: Probe) -> Index:
        """What is known of each example of a shard: (examples,) of INDEX_DTYPE; by default each is looked at.

        Lengths and rates are known then; what says where an example lies may be left out.
        """
        num = int(self.shard_counts[shard])
        start = int(self.shard_counts[:shard].sum())
        return measure_all(map(self.locate, range(start, start + num)), probe, num)

    def expect(self, indices: NDArray[np.int64] | None, *, order: ReadOrder) -> None:  # noqa: B027 (a hint)
        """Say which examples are read next, after those that were announced before; None: a new order begins.

        `order` is the kind of order they come in. A hint: a source that has no use for it does nothing, as by default.
        """

    examples_ahead: int = 0
    """How many examples beyond the next ones `expect` should announce."""

    @property
    def fetches_shards(self) -> bool:
        """Whether whole shards are fetched, so that announcing one example announces all of its shard."""
        return True

    def begin_order(self, order: ReadOrder, share: float) -> None:  # noqa: B027 (a hint)
        """A new order begins, in which this process reads within a `share` (0 to 1) of all data at a time.

        Raises `SourceError` if the source cannot be read in such an order.
        """

    @property
    def fetch_counts(self) -> dict[str, float]:
        """What was asked of other machines so far: attributes of `Stats` by name; empty for local data."""
        return {}

    def fingerprint(self, shard: int) -> str | None:
        """Identifies the bytes of a shard on this machine, for caches; None if nothing may be kept."""
        return None

    def close(self) -> None:  # noqa: B027 (a source without files has nothing to close)
        """Close open files; the source can be read again afterwards."""


def joined_fingerprint(source: Source) -> str | None:
    """Over those of all shards of a source; None if one of them has none."""
    digest = hashlib.sha256()
    for shard in range(len(source.shard_counts)):
        found = source.fingerprint(shard)
        if found is None:
            return None
        digest.update(found.encode() + b"\0")
    return digest.hexdigest()[:32]
