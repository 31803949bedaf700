"""What an iterator draws from: random access to examples by index."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import ExampleError

__all__ = ["Example", "Source"]


@dataclass(frozen=True, slots=True)
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


class Source(ABC):
    """Random access to a fixed number of examples, safe to read from many threads at once.

    A source of one's own needs `name`, `__len__` and `read`. What else is here tells an iterator about shards and
    about growth; the defaults describe a single block of data that is identified by its name and its length.
    """

    name: str
    """Named in errors."""

    @abstractmethod
    def __len__(self) -> int:
        """Examples."""

    @abstractmethod
    def read(self, indices: Sequence[int]) -> list[Example]:
        """The examples at these indices, in this order. Raises `PipelineError` for one that cannot be read."""

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
        """The data hash of the first `examples` examples, None where they are not a whole number of shards.

        Data that only grew by appending keeps the hash of every earlier length.
        """
        if examples != len(self):
            return None
        return hashlib.sha256(f"{self.name}\0{len(self)}".encode()).hexdigest()[:32]

    def close(self) -> None:  # noqa: B027 (a source without files has nothing to close)
        """Let go of open files; the source can be read again afterwards."""
