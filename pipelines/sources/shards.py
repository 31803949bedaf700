"""Examples of webdataset tars, at random, by index."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ShardError, SourceError
from ..storage.blob import LocalFile
from ..storage.index import Index, IndexFlag, spans_of
from ..storage.keys import header_key, split_member_name
from ..storage.manifest import Manifest, chain_hashes
from ..storage.tar import BLOCK, iter_members, padded
from ..storage.tar_index import file_fingerprint, is_gzip, open_index, plain_tar
from .lengths import FactsArray, Probe, cached_array, facts_of_index, is_known, measure_all
from .located import Part, StoredExample
from .source import Example, Source

__all__ = ["ShardSource"]

SMALL_BYTES = 1 << 16
OPEN_SHARDS = 100  # each holds its tar and its mapped index: well below the 256 files of macOS


@dataclass(frozen=True, slots=True)
class OpenShard:
    """A tar and its index while they are in use; `path` is the user's, `file` may be an unpacked copy of it.

    `spans` are those of the index, of which a row is quicker to read.
    """

    path: str
    file: LocalFile
    index: Index
    spans: NDArray[np.int64]


class ShardSource(Source):
    """The examples of a list of tars, in order.

    With `manifest` (of the folder all of them lie in) nothing is read before the first example is; without one,
    each tar's index is opened once to count. `allow_truncated` keeps the whole examples of a tar that is cut off;
    `verify` holds every example that has a checksum against it.

    Raises `SourceError` for a missing tar, `ShardError` for one that is damaged or does not fit its index.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        manifest: Manifest | None = None,
        allow_truncated: bool = False,
        verify: bool = False,
    ) -> None:
        self.paths = list(paths)
        self.name = str(self.paths[0]) if len(self.paths) == 1 else f"{self.paths[0].parent} ({len(paths)} shards)"
        self._allow_truncated, self._verify = allow_truncated, verify
        self._sha256 = None if manifest is None else manifest.shards.sha256
        self.modality = None if manifest is None else manifest.modality
        self.cuts_recordings = manifest is not None and manifest.settings.get("segment") is not None
        self._forget_live()
        if manifest is not None and not allow_truncated:
            self._check_present(manifest)
            self._counts = np.array(manifest.shards.examples, np.int64)
            self._hashes = chain_hashes(manifest.shards.sha256, manifest.shards.examples)
        else:
            indexes = [self._shard(number).index for number in range(len(self.paths))]
            self._counts = np.array([len(index) for index in indexes], np.int64)
            self._hashes = chain_hashes([_span_digest(index) for index in indexes], self._counts.tolist())
        self._stops = np.cumsum(self._counts)
        if not len(self):
            raise SourceError(f"{self.name}: no examples in it. Name a tar of files that share a base name.")

    def _forget_live(self) -> None:
        self._lock = threading.Lock()
        self._open: OrderedDict[int, OpenShard] = OrderedDict()

    def _check_present(self, manifest: Manifest) -> None:
        for path, size in zip(self.paths, manifest.shards.bytes, strict=True):
            try:
                found = path.stat().st_size
            except OSError as error:
                message = f"{path}: in the manifest, but it cannot be read ({error.strerror}). Restore the shard."
                raise ShardError(message) from error
            if found != size:
                raise ShardError(
                    f"{path}: {found:,} bytes, but the manifest says {size:,}: it is cut off or was replaced. "
                    "Copy or make it again."
                )

    def __len__(self) -> int:
        return int(self._stops[-1]) if len(self._stops) else 0

    @property
    def shard_counts(self) -> NDArray[np.int64]:
        """Examples in each tar: (shards,) int64."""
        return self._counts

    def prefix_hash(self, examples: int) -> str | None:
        """The rolling hash after the first shard that ends with this many examples; None where none does."""
        shard = int(np.searchsorted(self._stops, examples, side="left"))
        if examples <= 0 or shard == len(self._stops) or self._stops[shard] != examples:
            return None
        return self._hashes[shard]

    def read(self, indices: Sequence[int]) -> list[Example]:
        """The examples at these indices: one read of a contiguous span each."""
        rows = np.asarray(indices, np.int64)
        shards = np.searchsorted(self._stops, rows, side="right")
        within = rows - (self._stops[shards] - self._counts[shards])
        found: list[Example] = []
        last, shard = -1, None
        for index, number, row in zip(rows.tolist(), shards.tolist(), within.tolist(), strict=True):
            if shard is None or number != last:
                last, shard = number, self._shard(number)
            found.append(self._read_one(shard, index, row))
        return found

    def keys(self) -> list[str]:
        """The key of every example, from the tars' headers alone."""
        found = []
        for number in range(len(self.paths)):
            shard = self._shard(number)
            for offset, length in zip(shard.index["offset"].tolist(), shard.index["length"].tolist(), strict=True):
                stop = offset + length
                members = iter_members(shard.file.read, offset, stop, where=shard.path, verify=False)
                parts = (split_member_name(member.name) for member in members if member.is_file)
                found.append(next((part[0] for part in parts if part), ""))
        return found

    def _read_one(self, shard: OpenShard, index: int, row: int) -> Example:
        """What stands before the media (its header, and fields), and the media.

        One read where copying the media out of it is cheaper than a second read, two where it is not.
        """
        offset, length, data_offset, data_length = shard.spans[row].tolist()
        file, path = shard.file, shard.path
        num_head = data_offset - offset
        if data_length <= SMALL_BYTES:
            head = file.read(offset, num_head + data_length)  # and the media, which is looked past
            media = head[num_head:]
        else:
            head, media = file.read(offset, num_head), file.read(data_offset, data_length)
        if len(media) < data_length:
            raise ShardError(f"{path}: cut off at byte {data_offset + len(media):,}. Copy or make it again.")
        if self._verify and shard.index[row]["flags"] & IndexFlag.HAS_CRC32:
            self._check_crc32(shard, row, head[:num_head] + media)
        if num_head == BLOCK <= len(head) and num_head + padded(data_length) >= length:
            sole_key = header_key(head)
            if sole_key is None:
                raise ShardError(_misfit(path, offset))
            return Example(index, sole_key, media, path, data_offset)

        def read(start: int, count: int) -> bytes:
            inside = start + count <= len(head)
            return head[start : start + count] if inside else file.read(offset + start, count)

        key, fields, has_media = "", {}, False
        for member in iter_members(read, 0, length, where=path, verify=False):
            parts = split_member_name(member.name) if member.is_file else None
            if parts is None:
                continue
            key, suffix = parts
            if offset + member.data_start != data_offset:
                fields[suffix.lower()] = read(member.data_start, member.data_length)
            elif member.data_length == data_length:
                has_media = True
        if not has_media:
            raise ShardError(_misfit(path, offset))
        return Example(index, key, media, path, data_offset, fields)

    def locate(self, index: int) -> StoredExample:
        """Where an example lies; its headers are read, and with `verify` all of it, to hold it against its checksum."""
        number = int(np.searchsorted(self._stops, index, side="right"))
        row = index - int(self._stops[number] - self._counts[number])
        shard = self._shard(number)
        offset, length, data_offset, data_length = shard.spans[row].tolist()
        if self._verify and shard.index[row]["flags"] & IndexFlag.HAS_CRC32:
            self._check_crc32(shard, row, b"")

        def read(start: int, count: int) -> bytes:
            return shard.file.read(offset + start, count)

        key, parts = "", {}
        for member in iter_members(read, 0, length, where=shard.path, verify=False):
            name = split_member_name(member.name) if member.is_file else None
            if name is not None:
                key = name[0]
                part = partial(self._read_member, number, offset + member.data_start, member.data_length)
                parts[offset + member.data_start] = name[1].lower(), Part(part, member.data_length)
        media = parts.pop(data_offset, None)
        if media is None or media[1].size != data_length:
            raise ShardError(_misfit(shard.path, offset))
        return StoredExample(index, key, media[1], shard.path, data_offset, dict(parts.values()))

    def _read_member(self, number: int, start: int, size: int, offset: int, length: int) -> bytes:
        return self._shard(number).file.read(start + offset, max(0, min(length, size - offset)))

    def facts(self, shard: int, probe: Probe) -> FactsArray:
        """From the index; what it does not say is looked at once, and kept in the cache."""
        start = int(self._stops[shard] - self._counts[shard])

        def complete() -> FactsArray:
            unknown = np.flatnonzero(~is_known(facts))
            located = (self.locate(start + row) for row in unknown.tolist())
            facts[unknown] = measure_all(located, probe, len(unknown))
            return facts

        facts = facts_of_index(self._shard(shard).index)
        if is_known(facts).all():
            return facts
        name = f"{self.fingerprint(shard)}\0{probe.kind}\0{self._allow_truncated}"
        return cached_array(name, complete, facts.dtype, len(facts))

    def fingerprint(self, shard: int) -> str:
        """The SHA-256 of the manifest, or path, size and time of change."""
        return self._sha256[shard] if self._sha256 is not None else file_fingerprint(self.paths[shard])

    def _check_crc32(self, shard: OpenShard, row: int, begin: bytes) -> None:
        offset, length = int(shard.index[row]["offset"]), int(shard.index[row]["length"])
        rest = shard.file.read(offset + len(begin), length - len(begin))
        if zlib.crc32(rest, zlib.crc32(begin)) != shard.index[row]["crc32"]:
            raise ShardError(
                f"{shard.path}: example {row} at byte {offset:,} fails its checksum. Copy or make it again."
            )

    def _shard(self, number: int) -> OpenShard:
        with self._lock:
            shard = self._open.get(number)
            if shard is not None:
                self._open.move_to_end(number)
                return shard
        path = self.paths[number]
        if not path.is_file():
            raise SourceError(f"{path}: no such file.")
        file = LocalFile(plain_tar(path) if is_gzip(path) else path)
        index = np.asarray(open_index(path, file, keep_whole=self._allow_truncated))  # plain rows are faster
        shard = OpenShard(str(path), file, index, spans_of(index))
        if hasattr(self, "_counts") and len(shard.index) != self._counts[number]:
            raise ShardError(
                f"{path}: its index holds {len(shard.index)} examples, {int(self._counts[number])} were expected. "
                "Make the shards again."
            )
        with self._lock:
            self._open[number] = shard
            while len(self._open) > OPEN_SHARDS:
                self._open.popitem(last=False)
        return shard

    def close(self) -> None:
        """Let go of open tars and mapped indexes; they are opened again when read."""
        with self._lock:
            self._open.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_lock", "_open")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget_live()

    def __repr__(self) -> str:
        return f"ShardSource({self.name!r}, {len(self):,} examples)"


def _misfit(path: str, offset: int) -> str:
    return f"{path}: its index does not fit it at byte {offset:,}. Delete the index to have it rebuilt."


def _span_digest(index: Index) -> str:
    columns = [np.ascontiguousarray(index[name]) for name in ("offset", "length", "data_offset", "data_length")]
    return hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()
