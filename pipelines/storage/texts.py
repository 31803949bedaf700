"""Many texts in one buffer: a path takes its own bytes and nine more, where a list of `str` takes about a hundred.

    blob       a/x.jpg ␀ a/y.jpg ␀ b.jpg ␀
    offsets    0         8         16      22

They are kept in UTF-8, lone surrogates included, so that the order of the bytes is that of the code points, which is
the order in which Python sorts texts.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .row_sequence import BATCH, RowSequence, batches

__all__ = ["Texts", "TextsWriter"]

Rows = NDArray[np.int64]


class Texts(RowSequence[str]):
    """Texts without a null character: `blob` has them one after the other, each with one behind it.

    `offsets` is (n + 1,) int64: where each begins, and where the last ends.
    """

    def __init__(self, blob: bytes | bytearray, offsets: Rows) -> None:
        self._blob, self._offsets = blob, offsets

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """These texts, in their order. Raises `ValueError` for one with a null character."""
        writer = TextsWriter()
        for text in texts:
            writer.add([text])
        return writer.finish()

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def _objects(self, rows: slice) -> list[str]:
        start, stop, step = rows.indices(len(self))
        return self.between(start, max(start, stop)) if step == 1 else self.take(np.arange(start, stop, step))

    def between(self, start: int, stop: int) -> list[str]:
        """The texts of the rows from `start` to before `stop`."""
        if start == stop:
            return []
        joined = bytes(self._blob[self._offsets[start] : self._offsets[stop] - 1])
        return joined.decode("utf-8", "surrogatepass").split("\0")

    def take(self, rows: Rows) -> list[str]:
        """The texts of these rows, (n,) int64, in their order."""
        is_one_stretch = len(rows) == 1 or (
            len(rows) > 1 and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all())
        )
        if is_one_stretch:
            return self.between(int(rows[0]), int(rows[-1]) + 1)
        blob, starts, stops = self._blob, self._offsets[rows].tolist(), (self._offsets[rows + 1] - 1).tolist()
        pairs = zip(starts, stops, strict=True)
        return [blob[start:stop].decode("utf-8", "surrogatepass") for start, stop in pairs]

    @property
    def lengths(self) -> Rows:
        """(n,) int64: the bytes of each text."""
        return np.diff(self._offsets) - 1

    def are_ascii(self) -> NDArray[np.bool_]:
        """(n,) bool: whether each is ASCII alone."""
        found = np.ones(len(self), np.bool_)
        for start, stop in batches(len(self)):
            if not self._blob[self._offsets[start] : self._offsets[stop]].isascii():
                found[start:stop] = [text.isascii() for text in self.between(start, stop)]
        return found

    def encoded_between(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes of each text of the rows from `start` to before `stop`."""
        for first in range(start, stop, BATCH):
            last = min(first + BATCH, stop)
            yield from bytes(self._blob[self._offsets[first] : self._offsets[last] - 1]).split(b"\0")

    def in_order(self, rows: Rows) -> Texts:
        """A copy with the texts of these rows, (n,) int64, in their order."""
        blob = bytearray()
        for start, stop in batches(len(rows)):
            some = rows[start:stop]
            places = zip(self._offsets[some].tolist(), self._offsets[some + 1].tolist(), strict=True)
            blob += b"".join([self._blob[begin:end] for begin, end in places])
        lengths = np.diff(self._offsets)[rows]
        return Texts(blob, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]))


class TextsWriter:
    """Collects texts."""

    def __init__(self) -> None:
        self._blob, self._offsets = bytearray(), array("q", [0])

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def add(self, texts: Sequence[str]) -> None:
        """Append texts. Raises `ValueError` for one with a null character."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        joined = b"\0".join([*encoded, b""])
        if joined.count(b"\0") != len(encoded):
            odd = next(text for text in texts if "\0" in text)
            raise ValueError(f"{odd!r} holds a null character, which no path has.")
        place = len(self._blob)
        self._blob += joined
        for one in encoded:
            place += len(one) + 1
            self._offsets.append(place)

    def cut(self, num: int) -> None:
        """Forget all but the first `num`."""
        del self._offsets[num + 1 :]
        del self._blob[self._offsets[-1] :]

    def finish(self) -> Texts:
        """The texts; nothing can be added after."""
        return Texts(self._blob, np.frombuffer(self._offsets, np.int64))
