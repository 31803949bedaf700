"""Reading one shard in one pass: its tar, its index and its frame table are compared."""

from __future__ import annotations

import hashlib
import threading
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ..errors import ShardError, SourceError
from ..stopping import StoppedError
from ..storage.frame_table import parse_frames
from ..storage.index import Index, index_digest, parse_index
from ..storage.remote.urls import redacted
from ..storage.tar_index import is_gzip, open_tar
from .findings import Findings
from .index_compare import IndexComparison
from .opened_set import OpenedSet, Shard
from .stored_files import AT_ONCE, read_index_file, stream_file
from .summary import Summary
from .tar_walk import TarFault, TarWalk, WalkedExample

__all__ = ["CheckedShard", "SidecarFile", "check_shard", "key_hash", "parse_frames_or_none"]


@dataclass(frozen=True, slots=True)
class SidecarFile:
    """The file of an index or a frame table: its bytes, None if it is missing, and their digest."""

    name: str
    content: memoryview | None
    digest: str = ""

    @property
    def shown(self) -> str:
        """Its name without secrets."""
        return redacted(self.name)


@dataclass
class CheckedShard:
    """The results of one pass over a shard.

    key_hashes   (examples,) uint64: hashes of the keys
    offsets      (examples,) int64: where each example begins, in bytes
    media        (examples, 2) int64: offset and length of each media file, in bytes
    sha256       of all bytes of the tar; `head_sha256` of the first ones, as many as the manifest says
    error        why the tar cannot be read; empty if it can
    """

    shard: Shard
    index_file: SidecarFile
    frames_file: SidecarFile
    is_there: bool = True
    error: str = ""
    num_bytes: int = 0
    sha256: str = ""
    head_sha256: str = ""
    fault: TarFault | None = None
    index: Index | None = None
    index_error: str = ""
    comparison: IndexComparison = field(default_factory=lambda: IndexComparison(None))
    summary: Summary = field(default_factory=Summary)
    findings: Findings = field(default_factory=Findings)
    key_hashes: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    offsets: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    media: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 2), np.int64))

    @property
    def num_examples(self) -> int:
        """The number of examples in the tar."""
        return len(self.offsets)

    @property
    def tar_is_right(self) -> bool:
        """Whether the tar has the SHA-256 that the manifest gives."""
        return bool(self.shard.sha256) and self.sha256 == self.shard.sha256


class _Pass:
    """One pass over the bytes of a tar; it starts again if a remote file changes meanwhile."""

    def __init__(self, shard: Shard, index: Index | None, progress: Callable[[int], None]) -> None:
        self._shard, self._index, self._progress = shard, index, progress
        self.begin()

    def begin(self) -> None:
        """Start again."""
        self.sha256, self.head_sha256, self.num_bytes = hashlib.sha256(), "", 0
        self.comparison, self.summary = IndexComparison(self._index), Summary()
        self.walk = TarWalk(self._on_example)
        self.key_hashes, self.offsets, self.media = array("Q"), array("q"), array("q")

    def feed(self, piece: bytes) -> None:
        """The next bytes."""
        wanted = self._shard.num_bytes
        if wanted is not None and self.num_bytes < wanted <= self.num_bytes + len(piece):
            head = self.sha256.copy()
            head.update(memoryview(piece)[: wanted - self.num_bytes])
            self.head_sha256 = head.hexdigest()
        self.sha256.update(piece)
        self.num_bytes += len(piece)
        self.walk.feed(piece)
        self._progress(len(piece))

    def _on_example(self, example: WalkedExample) -> None:
        self.summary.add_example(example)
        self.media.extend(self.comparison.add(example))
        self.key_hashes.append(key_hash(example.key))
        self.offsets.append(example.offset)


def key_hash(key: str) -> int:
    """64 bits that tell keys apart, so that those of a large set can be compared in little memory."""
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def check_shard(
    opened: OpenedSet, shard: Shard, *, stop: threading.Event, progress: Callable[[int], None]
) -> CheckedShard:
    """Read a whole shard once. `shard_verdict.judge_shard` makes the findings from the result.

    Raises `SourceError` for a remote shard that cannot be read.
    """
    checked = CheckedShard(shard, _sidecar(opened, shard.index), SidecarFile(shard.frames, None))
    content = checked.index_file.content
    if content is not None:
        try:
            checked.index = parse_index(content, where=checked.index_file.shown)
        except ShardError as error:
            checked.index_error = str(error).removeprefix(f"{checked.index_file.shown}: ").partition(". ")[0]
    has_tables = checked.index is not None and checked.index["table_offset"].max(initial=-1) >= 0
    if shard.frames_hash or has_tables:
        checked.frames_file = _sidecar(opened, shard.frames)
    one = _Pass(shard, checked.index, progress)
    try:
        checked.is_there = _stream(opened, shard, one, stop)
    except SourceError as error:
        if opened.is_far or isinstance(error, StoppedError):
            raise
        checked.error = str(error)
    one.walk.finish()
    one.comparison.finish(one.walk.num_examples)
    one.summary.shards, one.summary.tar_bytes = 1, one.num_bytes
    checked.num_bytes, checked.sha256, checked.head_sha256 = one.num_bytes, one.sha256.hexdigest(), one.head_sha256
    checked.fault, checked.comparison, checked.summary = one.walk.fault, one.comparison, one.summary
    checked.key_hashes = np.frombuffer(one.key_hashes, np.uint64) if one.key_hashes else checked.key_hashes
    checked.offsets = np.frombuffer(one.offsets, np.int64) if one.offsets else checked.offsets
    checked.media = np.frombuffer(one.media, np.int64).reshape(-1, 2) if one.media else checked.media
    return checked


def _sidecar(opened: OpenedSet, name: str) -> SidecarFile:
    try:
        content = read_index_file(opened.store, name)
    except SourceError:
        if opened.is_far:
            raise
        content = memoryview(b"")  # a folder, or a file that may not be read: no index in any case
    return SidecarFile(name, content, "" if content is None else index_digest(content))


def _stream(opened: OpenedSet, shard: Shard, one: _Pass, stop: threading.Event) -> bool:
    """Feed all bytes of the tar to a pass; a gzipped tar without a manifest is unpacked first."""
    if not shard.sha256 and shard.name.endswith((".gz", ".tgz")) and not opened.is_far:
        blob = open_tar(shard.tar)
        if not is_gzip(blob):
            for offset in range(0, blob.size, AT_ONCE):
                one.feed(blob.read(offset, min(AT_ONCE, blob.size - offset)))
            return True
    return stream_file(opened.store, shard.tar, one.feed, restart=one.begin, stop=stop)


def parse_frames_or_none(file: SidecarFile) -> tuple[NDArray[np.void] | None, str]:
    """The frame tables in a file; None and the reason if they cannot be read."""
    assert file.content is not None
    try:
        return parse_frames(file.content, where=file.shown), ""
    except ShardError as error:
        return None, str(error).removeprefix(f"{file.shown}: ").partition(". ")[0]
