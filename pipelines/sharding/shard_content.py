"""The bytes of one shard, written example by example to a file: the tar, and beside it what goes into its index.

They depend on what is added and on nothing else: no clock, no owner, no host.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

import numpy as np

from ..storage.frame_table import FrameRows, FrameTable
from ..storage.index import INDEX_DTYPE, Index, IndexFlag, Record
from ..storage.keys import split_member_name
from ..storage.tar import BLOCK, padded
from .tar_header import tar_header

__all__ = ["NO_FIELDS", "EncodedExample", "ShardContent", "ShardSummary", "encode_example"]

END_OF_ARCHIVE = bytes(2 * BLOCK)
NO_FIELDS: Mapping[str, bytes] = MappingProxyType({})
NO_RECORD = Record()
MOST_JOINED_BYTES = 1 << 16
_PLAIN_KEY = re.compile(r"(?!__)(?:[\w-]+/)*[\w-]+", re.ASCII).fullmatch
WITHOUT_FIELDS = int(IndexFlag.HAS_CRC32)
WITH_FIELDS = int(IndexFlag.HAS_CRC32 | IndexFlag.HAS_FIELDS)


@dataclass(frozen=True, slots=True)
class ShardSummary:
    """A finished shard: file name, number of examples, bytes, SHA-256 in hex, and two digests.

    They are of its index, and of its frame tables, empty where it has none.
    """

    name: str
    examples: int
    bytes: int
    sha256: str
    index_hash: str = ""
    frames_hash: str = ""


class EncodedExample(NamedTuple):
    """An example as it will stand in the tar: the members of its fields and the media's header, then the media.

    The chunks of a large file are read while it is written, `media_bytes` of them together. `record` is its row of
    the index, as far as it is known before the example has a place in a tar.
    """

    key: str
    lead: bytes
    media: Iterable[bytes]
    media_bytes: int
    has_fields: bool
    record: Record
    table: FrameTable | None = None

    @property
    def span_bytes(self) -> int:
        """Bytes of the whole example: headers, payloads and their padding."""
        return len(self.lead) + padded(self.media_bytes)

    def chunks(self) -> Iterable[bytes]:
        """All bytes in order; those of a small example in one piece, which is written and summed at once."""
        padding = bytes(-self.media_bytes % BLOCK)
        pieces = itertools.chain((self.lead,), self.media, (padding,))
        return pieces if self.media_bytes > MOST_JOINED_BYTES else (b"".join(pieces),)


class ShardContent:
    """The examples of a shard called `name`, in an empty file that can be sought in and cut."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name, self._file = name, file
        self._sha256 = hashlib.sha256()
        self._keys: dict[str, None] = {}  # in the order of the rows
        self._rows: list[Record] = []
        self._tables: list[FrameRows] = []
        self._table_rows = 0
        self.bytes = 0

    @property
    def examples(self) -> int:
        """Examples added so far."""
        return len(self._rows)

    def add(self, example: EncodedExample) -> None:
        """Append one example. Raises `ValueError` where its key is taken."""
        if example.key in self._keys:
            raise ValueError(f"{self.name}: there is an example {example.key!r} already; keys must differ.")
        offset, crc32, num_bytes = self.bytes, 0, example.span_bytes
        for chunk in example.chunks():
            self._write(chunk)
            crc32 = zlib.crc32(chunk, crc32)
        assert self.bytes - offset == num_bytes, "the media has the length that its header gives"
        known = example.record  # `_replace` costs three times as much
        row = Record(
            offset,
            num_bytes,
            offset + len(example.lead),
            example.media_bytes,
            known.frames,
            self._add_table(example.table),
            known.rate_numerator,
            known.rate_denominator,
            known.width,
            known.height,
            known.channels,
            WITH_FIELDS if example.has_fields else WITHOUT_FIELDS,
            crc32,
            known.version,
        )
        self._rows.append(row)
        self._keys[example.key] = None

    def _add_table(self, table: FrameTable | None) -> int:
        """Keep the frames of a video; returns the row at which they will begin, -1 without."""
        if table is None:
            return -1
        begin = self._table_rows
        self._tables.append(table.to_rows())
        self._table_rows += len(self._tables[-1])
        return begin

    @contextlib.contextmanager
    def all_or_none(self) -> Iterator[None]:
        """What is added inside stays if nothing is raised; otherwise the shard is again as it was before."""
        start, examples, digest = self.bytes, self.examples, self._sha256.copy()
        tables, table_rows = len(self._tables), self._table_rows
        try:
            yield
        except BaseException:
            self._file.seek(start)
            self._file.truncate()
            self.bytes, self._sha256 = start, digest
            del self._rows[examples:], self._tables[tables:]
            self._table_rows = table_rows
            for key in list(self._keys)[examples:]:
                del self._keys[key]
            raise

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._sha256.update(content)
        self.bytes += len(content)

    def end(self) -> None:
        """End the archive; everything is handed to the system."""
        self._write(END_OF_ARCHIVE)
        self._file.flush()

    @property
    def index(self) -> Index:
        """A row for each example."""
        return np.array(self._rows, INDEX_DTYPE)

    @property
    def frames(self) -> FrameRows | None:
        """The frame tables of all videos, one after the other; None without any."""
        return np.concatenate(self._tables) if self._tables else None

    def summary(self, index_hash: str, frames_hash: str) -> ShardSummary:
        """What a manifest says of the shard, which has ended."""
        return ShardSummary(self.name, self.examples, self.bytes, self._sha256.hexdigest(), index_hash, frames_hash)


def encode_example(
    key: str,
    media: bytes | Iterable[bytes],
    suffix: str,
    *,
    media_bytes: int | None = None,
    fields: Mapping[str, bytes] = NO_FIELDS,
    record: Record = NO_RECORD,
    table: FrameTable | None = None,
) -> EncodedExample:
    """Lay out one example: its fields, sorted by name, then its media, as it is or in chunks of `media_bytes` bytes.

    Raises `ValueError` for a key or suffix from which webdataset would read another key or suffix, `TypeError` for what
    is not a text or not bytes.
    """
    if type(media) is bytes and not fields and _is_plain_name(key, suffix):
        lead = tar_header(f"{key}.{suffix}", len(media))
        return EncodedExample(key, lead, (media,), len(media), False, record, table)
    if not isinstance(fields, Mapping):
        raise TypeError(f"example {key!r}: fields is {fields!r}; it must give the bytes of each suffix.")
    for name in (key, suffix, *fields):
        if not isinstance(name, str):
            raise TypeError(f"example {key!r}: {name!r} is to be a text: a key, or the suffix of a member.")
    fields = {name: _as_bytes(content, f"example {key!r}: its field {name!r}") for name, content in fields.items()}
    if isinstance(media, bytearray | memoryview):
        media = _as_bytes(media, f"example {key!r}: its media")
    if suffix in fields:
        raise ValueError(f"example {key!r}: {suffix!r} names both the media and a field; one must be renamed.")
    if key.startswith(("__", "/")):
        raise ValueError(f"example {key!r}: a key does not begin with two underscores or a slash.")
    if isinstance(media, bytes):
        media, media_bytes = (media,), len(media)
    elif media_bytes is None:
        raise TypeError("media in chunks needs media_bytes, which stands in its header.")
    members: list[bytes] = []
    for name in [*sorted(fields), suffix]:
        is_odd = not name or name.startswith(".") or name != name.lower()
        if is_odd or split_member_name(f"{key}.{name}") != (key, name):
            raise ValueError(
                f"example {key!r} with a member {name!r}: a key needs a base name without a dot, and a suffix is "
                "in lower case, without a leading dot or a slash."
            )
        if name in fields:
            payload = fields[name]
            members += [
                tar_header(f"{key}.{name}", len(payload)),
                payload,
                bytes(padded(len(payload)) - len(payload)),
            ]
    members.append(tar_header(f"{key}.{suffix}", media_bytes))
    return EncodedExample(key, b"".join(members), media, media_bytes, bool(fields), record, table)


def _is_plain_name(key: object, suffix: object) -> bool:
    """Whether this is an ordinary key with an ordinary suffix, at a glance."""
    return (
        type(key) is str
        and type(suffix) is str
        and _PLAIN_KEY(key) is not None
        and suffix.isalnum()
        and suffix.isascii()
        and suffix == suffix.lower()
    )


def _as_bytes(content: object, what: str) -> bytes:
    if not isinstance(content, bytes | bytearray | memoryview):
        raise TypeError(
            f"{what} is of type {type(content).__name__}; it must be bytes, encoded as they are stored."
        )
    return bytes(content)
