"""Examples of webdataset tars, at random, by index."""

from __future__ import annotations

import hashlib
import math
import os
import weakref
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ExampleError, ShardError, SourceError
from ..order.checked_numbers import flag
from ..storage.blob import Blob, LocalFile, Read
from ..storage.cache import cached_array
from ..storage.frame_table import FrameRows, frames_name, parse_frames
from ..storage.index import Index, index_digest, spans_of
from ..storage.keys import split_member_name
from ..storage.live_cache import LiveCache
from ..storage.manifest import Manifest, chain_hashes
from ..storage.media_types import SIDECAR_SUFFIXES, media_suffix
from ..storage.plain_files import map_plain, path_setting
from ..storage.remote.ranges_ahead import RangesAhead
from ..storage.remote.shard_blob import ShardBlob
from ..storage.remote.shard_store import ShardStore
from ..storage.remote.urls import is_url, redacted
from ..storage.store import LOCAL, Store
from ..storage.tar import iter_members
from ..storage.tar_index import open_index, open_tar
from .located import FilePart, LocatedExample, Member, ReadOrder
from .open_shard import OpenShard
from .records import Probe, completed, is_known, measure_all
from .row_ranges import read_rows
from .source import Example, Source

__all__ = ["ShardSource"]

OPEN_SHARDS = 100  # each holds its tar and its mapped index: well below the 256 files of macOS


class ShardSource(Source):
    """The examples of a list of tars, in order.

    The tars are blobs of `store`, by default files of this machine. With `manifest` (of the folder all of them lie in)
    nothing is read before the first example is; without one, each tar's index is opened once to count.
    `allow_truncated` keeps the whole examples of a tar that is cut off; `verify` compares every example that has a
    checksum with it.

    Raises `SourceError` for a missing tar, `ShardError` for one that is damaged or does not fit its index.
    """

    def __init__(
        self,
        tars: Sequence[str | os.PathLike[str]],
        *,
        manifest: Manifest | None = None,
        store: Store = LOCAL,
        allow_truncated: bool = False,
        verify: bool = False,
    ) -> None:
        if not isinstance(tars, str | os.PathLike | Iterable):
            raise TypeError(f"tars is {tars!r}; it must be a list of paths.")
        tars = [tars] if isinstance(tars, str | os.PathLike) else list(tars)
        if not tars:
            raise SourceError("An empty list of shards was given. Name at least one tar.")
        self.tars, self.store = [_name_of(tar) for tar in tars], store
        first = redacted(self.tars[0])
        self.name = first if len(self.tars) == 1 else f"{first.rpartition('/')[0] or '.'} ({len(self.tars)} shards)"
        self._allow_truncated, self._verify = flag("allow_truncated", allow_truncated), flag("verify", verify)
        self._sha256 = None if manifest is None else manifest.shards.sha256
        self._index_hashes = [] if manifest is None else list(manifest.shards.index_hash)
        self._frames_hashes = [] if manifest is None else list(manifest.shards.frames_hash)
        self.modality = None if manifest is None else manifest.modality
        self.cuts_recordings = manifest is not None and manifest.settings.get("segment") is not None
        self.curve_rates = {} if manifest is None else manifest.known_rates()
        self._shards = LiveCache[int, OpenShard](OPEN_SHARDS)
        self._far = store if isinstance(store, ShardStore) else None
        self._ahead: RangesAhead | None = None
        if manifest is not None and not allow_truncated:
            if self._far is None:  # elsewhere each would cost a request; a missing one is named when it is read
                self._check_present(manifest)
            self._counts = np.array(manifest.shards.examples, np.int64)
            self._hashes = chain_hashes(manifest.shards.sha256, manifest.shards.examples)
        else:
            indexes = [self._shards.get(number, self._open).index for number in range(len(self.tars))]
            self._counts = np.array([len(index) for index in indexes], np.int64)
            self._hashes = chain_hashes([_span_digest(index) for index in indexes], self._counts.tolist())
        self._stops = np.cumsum(self._counts)
        if not len(self):
            raise SourceError(f"{self.name}: no examples in it. Name a tar of files that share a base name.")

    def _check_present(self, manifest: Manifest) -> None:
        for tar, size in zip(self.tars, manifest.shards.bytes, strict=True):
            found = self.store.size_of(tar)
            if found is None:
                raise ShardError(f"{tar}: in the manifest, but there is no such file. Restore the shard.")
            if found != size:
                raise ShardError(
                    f"{tar}: {found:,} bytes, but the manifest says {size:,}: it is cut off or was replaced. "
                    "Copy it or make it again."
                )

    def __len__(self) -> int:
        return int(self._stops[-1]) if len(self._stops) else 0

    @property
    def shard_counts(self) -> NDArray[np.int64]:
        """Examples in each tar: (shards,) int64."""
        return self._counts

    def prefix_hash(self, examples: int) -> str | None:
        """The rolling hash after the first shard that ends with this many examples; None if none does."""
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
        ahead, verify = self._ahead, self._verify and self._far is None  # remote bytes are checked as they come
        for index, number, row in zip(rows.tolist(), shards.tolist(), within.tolist(), strict=True):
            if shard is None or number != last:
                last, shard = number, self._shards.get(number, self._open)
            ready = ahead.take(number, row) if ahead is not None and isinstance(shard.blob, ShardBlob) else None
            found.append(shard.read(index, row, ready=ready, verify=verify))
        return found

    def keys(self) -> list[str]:
        """The key of every example, from the tars' headers alone."""
        found = []
        for number in range(len(self.tars)):
            shard = self._shards.get(number, self._open)
            for offset, length in zip(shard.index["offset"].tolist(), shard.index["length"].tolist(), strict=True):
                stop = offset + length
                members = iter_members(shard.blob.read, offset, stop, where=shard.name, verify=False)
                parts = (split_member_name(member.name) for member in members if member.is_file)
                found.append(next((part[0] for part in parts if part), ""))
        return found

    def explain(self, error: ExampleError) -> ExampleError:
        """The same error, or a clearer one if the example has fields but no media file."""
        number = next((number for number, tar in enumerate(self.tars) if redacted(tar) == error.container), None)
        if number is None:
            return error
        shard = self._shards.get(number, self._open)
        for row in np.flatnonzero(shard.index["data_offset"] == error.offset).tolist():
            offset, length = shard.spans[row].tolist()[:2]
            members = iter_members(shard.blob.read, offset, offset + length, where=shard.name, verify=False)
            suffixes = {media_suffix(member.name) for member in members if member.is_file}
            if suffixes <= SIDECAR_SUFFIXES:
                only = " and ".join(sorted(suffixes))
                reason = f"it has no media file, only {only}; members of one key lie side by side"
                remedy = 'Pack the tar again (tar --sort=name), or read with on_error="substitute".'
                return ExampleError(error.container, error.key, reason, offset=error.offset, remedy=remedy)
        return error

    def locate(self, index: int) -> LocatedExample:
        """Where an example lies; its headers are read, and with `verify` all of it, to check its checksum."""
        number = int(np.searchsorted(self._stops, index, side="right"))
        row = index - int(self._stops[number] - self._counts[number])
        shard = self._shards.get(number, self._open)
        offset, length, data_offset, data_length = shard.spans[row].tolist()
        if self._verify:
            shard.check_crc32(row)

        def read(start: int, count: int) -> bytes:
            return shard.blob.read(offset + start, count)

        key, members = "", {}
        for member in iter_members(read, 0, length, where=shard.name, verify=False):
            name = split_member_name(member.name) if member.is_file else None
            if name is not None:
                key = name[0]
                start, size = offset + member.data_start, member.data_length
                part = partial(self._read_span, number, start, size)
                members[start] = name[1].lower(), Member(part, size, file=_file_part(shard.blob, start))
        media = members.pop(data_offset, None)
        if media is None or media[1].size != data_length:
            raise shard.misfit(offset)
        table_offset = int(shard.index[row]["table_offset"])
        frames = None if shard.frames is None or table_offset < 0 else (shard.frames, table_offset)
        return LocatedExample(index, key, media[1], shard.name, data_offset, dict(members.values()), frames)

    def _read_span(self, number: int, start: int, size: int, offset: int, length: int) -> bytes:
        return self._shards.get(number, self._open).blob.read(start + offset, max(0, min(length, size - offset)))

    def index_of(self, shard: int) -> Index:
        """The index of a tar as it is: (examples,) rows. Raises `ShardError`, and `SourceError` for remote data."""
        return self._shards.get(shard, self._open).index

    def reader_of(self, shard: int) -> Read:
        """Reads the bytes of a tar by offset."""
        return self._shards.get(shard, self._open).blob.read

    def records(self, shard: int, probe: Probe) -> Index:
        """The index; what it does not say is looked at once, and kept in the cache."""
        records = self._shards.get(shard, self._open).index
        known = is_known(records)
        if known.all():
            return records
        start, unknown = int(self._stops[shard] - self._counts[shard]), np.flatnonzero(~known)

        def complete() -> Index:
            located = (self.locate(start + row) for row in unknown.tolist())
            return completed(records, unknown, measure_all(located, probe, len(unknown)))

        identity = self.fingerprint(shard)
        what = None if identity is None else ["records", identity, probe.kind, self._allow_truncated]
        return cached_array(what, complete, records.dtype, len(records))

    @property
    def examples_ahead(self) -> int:  # type: ignore[override]
        """Enough for the shards that may be fetched ahead."""
        if self._far is None:
            return 0
        return math.ceil(len(self) * self._far.read_ahead_bytes / max(1, self._far.total_bytes))

    @property
    def fetches_shards(self) -> bool:
        """Whether whole shards are fetched; else the ranges of examples, or nothing."""
        return self._far is None or self._far.fetches_shards

    def begin_order(self, order: ReadOrder, share: float) -> None:
        """Decide how remote shards are read. Raises `SourceError` if the cache is too small."""
        if self._far is not None:
            self._far.begin_order(order, share)
            self._ahead = None if self._far.fetches_shards else self._ranges_ahead(self._far)

    def _ranges_ahead(self, far: ShardStore) -> RangesAhead:
        """What fetches examples ahead, with nothing expected yet."""
        if self._ahead is not None and self._ahead.process == os.getpid():
            self._ahead.clear()
            return self._ahead
        me = weakref.proxy(self)  # open tars are closed with the last reference
        return RangesAhead(
            lambda number, first, stop: me._read_rows(number, first, stop),
            row_bytes=far.total_bytes / len(self),
            read_ahead_bytes=far.read_ahead_bytes,
            threads=2 * far.reading.threads,
        )

    def _read_rows(self, number: int, first: int, stop: int) -> list[bytes | None]:
        shard = self._shards.get(number, self._open)
        if not isinstance(shard.blob, ShardBlob):  # an unpacked copy
            return [None] * (stop - first)
        return read_rows(shard.blob, shard.index[first:stop])

    def expect(self, indices: NDArray[np.int64] | None, *, order: ReadOrder) -> None:
        """Have remote shards, or ranges of examples, fetched in the order in which they are needed."""
        if self._far is not None and indices is not None:
            numbers = np.searchsorted(self._stops, indices, side="right")
            if self._ahead is not None:
                rows = indices - (self._stops[numbers] - self._counts[numbers])
                self._ahead.expect(numbers.tolist(), rows.tolist())
                return
            first = np.unique(numbers, return_index=True)[1]
            self._far.expect([self.tars[number] for number in numbers[np.sort(first)].tolist()])

    @property
    def fetch_counts(self) -> dict[str, float]:
        """Counts of requests and bytes of remote shards."""
        if self._far is None:
            return {}
        counts, ahead = self._far.counts, self._ahead
        return (
            counts if ahead is None else {**counts, "stall_seconds": counts["stall_seconds"] + ahead.stall_seconds}
        )

    def fingerprint(self, shard: int) -> str | None:
        """The SHA-256 of the manifest, or the identity that the store gives the tar; None if it gives none."""
        return self._sha256[shard] if self._sha256 is not None else self.store.identity_of(self.tars[shard])

    def _open(self, number: int) -> OpenShard:
        tar = self.tars[number]
        is_plain = self._far is not None and self._sha256 is not None  # else it may be gzipped, which costs a look
        blob = self.store.open(tar) if is_plain else open_tar(tar, self.store)
        digest = self._index_hashes[number] if self._index_hashes else ""
        index = open_index(tar, blob, store=self.store, keep_whole=self._allow_truncated, digest=digest)
        if digest:
            self._index_hashes[number] = ""  # compared once
        frames = self._open_frames(number) if len(index) and index["table_offset"].max() >= 0 else None
        rows = np.asarray(index)  # plain rows are faster than mapped ones
        shard = OpenShard(redacted(tar), blob, rows, spans_of(index), frames)
        if hasattr(self, "_counts") and len(shard.index) != self._counts[number]:
            raise ShardError(
                f"{shard.name}: its index holds {len(shard.index)} examples, {int(self._counts[number])} were "
                "expected. Make the shards again."
            )
        return shard

    def _open_frames(self, number: int) -> FrameRows | None:
        """The frame tables beside a tar; None if they are missing, so that its videos are measured again."""
        name = frames_name(self.tars[number])
        if self.store.size_of(name) is None:
            return None
        blob, digest = self.store.open(name), self._frames_hashes[number] if self._frames_hashes else ""
        content = map_plain(name) if isinstance(blob, LocalFile) else blob.read(0, blob.size)
        if digest and index_digest(content) != digest:
            raise ShardError(
                f"{redacted(name)}: is not the frame table that the manifest says: it is damaged or was replaced. "
                "Restore it, or make the shards again with --overwrite."
            )
        if digest:
            self._frames_hashes[number] = ""  # compared once
        return parse_frames(content, where=redacted(name))

    def close(self) -> None:
        """Close open tars and mapped indexes; they are opened again when read."""
        if self._ahead is not None:
            self._ahead.close()
        self._shards.clear()
        if self._far is not None:
            self._far.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ahead": None}

    def __repr__(self) -> str:
        return f"ShardSource({self.name!r}, {len(self):,} examples)"


def _name_of(tar: str | os.PathLike[str]) -> str:
    """A path, or a URL as it is."""
    return tar if isinstance(tar, str) and is_url(tar) else str(path_setting("tars", tar))


def _file_part(blob: Blob, offset: int) -> FilePart | None:
    """Where a byte of a tar lies on this machine."""
    return FilePart(os.path.abspath(blob.path), offset) if isinstance(blob, LocalFile) else None  # noqa: PTH100


def _span_digest(index: Index) -> str:
    columns = [np.ascontiguousarray(index[name]) for name in ("offset", "length", "data_offset", "data_length")]
    return hashlib.sha256(b"".join(column.tobytes() for column in columns)).hexdigest()
