"""The index of a tar: from beside it, from the cache, or for a tar that came without one by a scan of its headers."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import zlib
from pathlib import Path

import numpy as np

from ..errors import ShardError
from .blob import Blob, BlobFile, LocalFile, MemoryBlob, Read
from .cache import (
    cache_folder,
    cache_name,
    file_identity,
    is_own_file,
    read_entry,
    store_in_cache,
    write_entry,
)
from .index import (
    INDEX_DTYPE,
    INDEX_VERSION,
    Index,
    IndexFlag,
    Record,
    index_bytes,
    index_name,
    load_index,
    parse_index,
)
from .keys import split_member_name
from .media_types import media_names, media_suffix
from .remote.urls import redacted
from .store import LOCAL, Store
from .tar import BLOCK, Member, TarContinuesError, TarTruncatedError, iter_members

__all__ = ["is_gzip", "open_index", "open_tar", "scan_tar"]

MAX_INFLATED_BYTES = 64 << 30
INFLATION, FREE_INFLATED_BYTES = 200, 64 << 20
"""How many times larger than itself a gzipped tar may be, and what it may be besides."""
RESERVED_BYTES = 1 << 30
"""What is left free on the disk of the cache when a gzipped tar is unpacked."""
GZIP_MAGIC = b"\x1f\x8b"
OTHER_ARCHIVES = {
    b"\xfd7zXZ\0": ("compressed by xz", "Unpack it with xz -d."),
    b"BZh": ("compressed by bzip2", "Unpack it with bzip2 -d."),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "Unpack it with zstd -d."),
    b"\x04\x22\x4d\x18": ("compressed by lz4", "Unpack it with lz4 -d."),
    b"PK\x03\x04": ("a zip archive", "Unpack it into a folder, and open that."),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "Unpack it into a folder, and open that."),
    b"Rar!\x1a\x07": ("a rar archive", "Unpack it into a folder, and open that."),
}
"""By how they begin; what they are, and what to do."""


class UnpackedCopy(LocalFile):
    """The unpacked copy of a gzipped tar, in the cache folder."""


def open_index(
    name: str | os.PathLike[str], blob: Blob, *, store: Store = LOCAL, keep_whole: bool = False, digest: str = ""
) -> Index:
    """The index of a tar of the store, open in `blob`: from beside it, from the cache, or by a scan of its headers.

    Raises `ShardError` where tar and index do not fit, one beside it does not have the `digest` that is given, or the
    tar is damaged; it gives `name`, also where `blob` is the unpacked copy, which is then removed. With `keep_whole`,
    a tar that is cut off yields the examples before the cut.
    """
    name = os.fspath(name)
    beside = index_name(name)
    if store.size_of(beside) is not None:
        whole = _load_beside(store, beside, tar_bytes=None if keep_whole else blob.size, digest=digest)
        kept: Index = whole[whole["offset"] + whole["length"] <= blob.size] if keep_whole else whole
        return kept
    identity = store.identity_of(name)
    if identity is None:
        return scan_tar(blob.read, blob.size, where=redacted(name), keep_whole=keep_whole)
    entry = f"{cache_name(['index', INDEX_VERSION, identity, keep_whole])}.index.npy"
    if (cached := read_entry(entry)) is not None:
        try:
            return parse_index(cached, where=entry, tar_bytes=blob.size)
        except ShardError:
            pass  # the tar is the truth
    try:
        index = scan_tar(blob.read, blob.size, where=redacted(name), keep_whole=keep_whole)
    except ShardError:
        if isinstance(blob, UnpackedCopy):
            blob.path.unlink(missing_ok=True)
        raise
    write_entry(entry, index_bytes(index))
    return index


def _load_beside(store: Store, name: str, *, tar_bytes: int | None, digest: str) -> Index:
    """An index of the store: of a local file, mapped into memory."""
    blob = store.open(name)
    if isinstance(blob, LocalFile):
        return load_index(name, tar_bytes=tar_bytes, digest=digest)
    return parse_index(blob.read(0, blob.size), where=redacted(name), tar_bytes=tar_bytes, digest=digest)


def scan_tar(read: Read, size: int, *, where: str, keep_whole: bool = False) -> Index:
    """Group a tar's members into examples by webdataset's rule: adjacent members of one key.

    (examples,) records of INDEX_DTYPE without checksums. The media member is the first with a known suffix and,
    where no suffix is known, the largest. Links, folders, sparse members and names without a key are passed over.
    """
    groups: list[list[tuple[Member, str]]] = []
    last_key, suffixes = None, set[str]()
    try:
        for member in iter_members(read, 0, size, where=where, to_end=True):
            parts = split_member_name(member.name) if member.is_file else None
            if parts is None:
                continue
            key, suffix = parts[0], parts[1].lower()
            if key != last_key or suffix in suffixes:
                groups.append([])
                last_key, suffixes = key, set()
            groups[-1].append((member, suffix))
            suffixes.add(suffix)
    except TarContinuesError:
        if not keep_whole:
            raise
    except TarTruncatedError as error:
        if not keep_whole:
            raise
        cut_key = (split_member_name(error.name or "") or (last_key,))[0]
        if groups and cut_key == last_key:
            groups.pop()  # more members of this example may have stood behind the cut
    index = np.zeros(len(groups), INDEX_DTYPE)
    for row, group in enumerate(groups):
        index[row] = _record(group)
    return index


def _record(group: list[tuple[Member, str]]) -> Record:
    known = [member for member, suffix in group if media_suffix("." + suffix) in media_names()]
    media = known[0] if known else max((member for member, _ in group), key=lambda member: member.data_length)
    flags = IndexFlag.HAS_FIELDS if len(group) > 1 else IndexFlag(0)
    start, stop = group[0][0].start, group[-1][0].stop
    return Record(start, stop - start, media.data_start, media.data_length, frames=0, flags=int(flags))


def is_gzip(blob: Blob) -> bool:
    """Whether it begins with gzip's magic number."""
    return blob.read(0, len(GZIP_MAGIC)) == GZIP_MAGIC


def open_tar(name: str, store: Store = LOCAL) -> Blob:
    """A tar of the store; of a gzipped one the uncompressed copy in the cache folder, for random access needs one.

    The copy is made once for each identity of the tar, and again where it was changed or is not this user's. Raises
    `SourceError` for a missing tar, `ShardError` where the gzip stream is damaged, holds no tar, or its content does
    not fit.
    """
    blob = store.open(name)
    if not is_gzip(blob):
        _refuse_other_archives(blob, name)
        return blob
    identity = store.identity_of(name)
    if identity is None:
        raise ShardError(
            f"{redacted(name)}: gzipped, and only gzipped tars on a disk are unpacked. Store it without gzip."
        )
    copy = cache_folder() / f"{cache_name(['plain tar', identity])}.tar"
    seal = f"{copy.name}.json"
    known = read_entry(seal)
    if known is None or not is_own_file(copy) or bytes(known) != _identity_of(copy):
        _unpack(name, blob, copy)
        write_entry(seal, _identity_of(copy))
    return UnpackedCopy(copy)


def _refuse_other_archives(blob: Blob, name: str) -> None:
    """Raise `ShardError` for an archive that is compressed otherwise, or is no tar: they are not read at random."""
    head = blob.read(0, 8)
    for magic, (what, remedy) in OTHER_ARCHIVES.items():
        if head.startswith(magic):
            raise ShardError(f"{redacted(name)}: {what}, which cannot be read here. {remedy}")


def _identity_of(copy: Path) -> bytes:
    """What changes when somebody writes to a copy."""
    return file_identity(copy).encode()


def _unpack(name: str, blob: Blob, copy: Path) -> None:
    no_room = ShardError(f"{redacted(name)}: gzipped, and {cache_folder()} cannot be written to. Set DIRVAE_CACHE.")
    try:
        cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
        limit = min(MAX_INFLATED_BYTES, max(0, shutil.disk_usage(cache_folder()).free - RESERVED_BYTES))
    except OSError as error:
        raise no_room from error

    most = INFLATION * blob.size + FREE_INFLATED_BYTES

    def inflate(temporary: Path) -> None:
        packed = gzip.GzipFile(fileobj=io.BufferedReader(BlobFile(blob.read, blob.size)))
        with packed, open(temporary, "wb") as plain:
            try:
                while piece := packed.read(1 << 20):
                    if not plain.tell():
                        _check_begins_like_tar(piece[:BLOCK], name)
                    if plain.tell() + len(piece) > limit:
                        raise ShardError(
                            f"{redacted(name)}: unpacks to more than the {limit:,} bytes there is room for in "
                            f"{cache_folder()}. Set DIRVAE_CACHE to a larger disk, or pack the tar again without gzip."
                        )
                    if plain.tell() + len(piece) > most:
                        raise ShardError(
                            f"{redacted(name)}: unpacks to more than {INFLATION} times its {blob.size:,} bytes. "
                            "Where it is meant to, unpack it with gunzip."
                        )
                    plain.write(piece)
            except (gzip.BadGzipFile, EOFError, zlib.error) as error:
                raise ShardError(
                    f"{redacted(name)}: the gzip stream is damaged ({error}). Copy it or make it again."
                ) from error

    if not store_in_cache(copy, inflate):
        raise no_room


def _check_begins_like_tar(block: bytes, name: str) -> None:
    """Raise `ShardError` for what is not a tar, before all of it is unpacked."""
    try:
        next(iter_members(MemoryBlob(block).read, 0, BLOCK, where=redacted(name)), None)
    except TarTruncatedError:
        pass  # its first member is longer than its header
    except ShardError as error:
        raise ShardError(f"{redacted(name)}: gzipped, and what is in it is not a tar. Name a tar.") from error
