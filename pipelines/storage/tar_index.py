"""The index of a tar that came without one: from its headers, once, kept in the user's cache folder."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..errors import ShardError
from .blob import LocalFile
from .index import INDEX_DTYPE, INDEX_VERSION, Index, IndexFlag, index_path, load_index, save_index
from .keys import split_member_name
from .media_types import media_names, media_suffix
from .tar import Member, TarTruncatedError, iter_members

__all__ = [
    "cache_folder",
    "file_fingerprint",
    "is_gzip",
    "open_index",
    "plain_tar",
    "scan_tar",
    "store_in_cache",
]

MAX_INFLATED_BYTES = 64 << 30


def cache_folder() -> Path:
    """Where indexes of foreign tars are kept: $DIRVAE_CACHE, or `dirvae` below $XDG_CACHE_HOME or ~/.cache.

    Without a home folder, as some containers are, below the folder for temporary files.
    """
    if chosen := os.environ.get("DIRVAE_CACHE"):
        return Path(chosen)
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "dirvae"
    try:
        return Path.home() / ".cache" / "dirvae"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"dirvae-{os.getuid()}"


def open_index(path: Path, file: LocalFile, *, keep_whole: bool = False) -> Index:
    """The index of a tar, open in `file`: from beside it, from the cache, or by a scan of its headers.

    Raises `ShardError` where tar and index do not fit, or the tar is damaged; it names `path`, also where `file` is
    the unpacked copy. With `keep_whole`, a tar that is cut off yields the examples before the cut.
    """
    beside = index_path(path)
    if beside.exists():
        if keep_whole:
            whole = load_index(beside)
            kept: Index = whole[whole["offset"] + whole["length"] <= file.size]
            return kept
        return load_index(beside, tar_bytes=file.size)
    cached = cache_folder() / f"{file_fingerprint(path)}{'-whole' if keep_whole else ''}.index.npy"
    try:
        return load_index(cached, tar_bytes=file.size)
    except (OSError, ShardError):
        pass  # absent, or damaged: the tar is the truth
    index = scan_tar(file.read, file.size, where=str(path), keep_whole=keep_whole)
    store_in_cache(cached, lambda temporary: save_index(temporary, index))
    return index


def scan_tar(read: Callable[[int, int], bytes], size: int, *, where: str, keep_whole: bool = False) -> Index:
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


def _record(group: list[tuple[Member, str]]) -> tuple[int, ...]:
    known = [member for member, suffix in group if media_suffix("." + suffix) in media_names()]
    media = known[0] if known else max((member for member, _ in group), key=lambda member: member.data_length)
    flags = IndexFlag.HAS_FIELDS if len(group) > 1 else IndexFlag(0)
    start, stop = group[0][0].start, group[-1][0].stop
    span = (start, stop - start, media.data_start, media.data_length)
    return (*span, 0, -1, 0, 0, 0, 0, 0, int(flags), 0, INDEX_VERSION)


def is_gzip(path: Path) -> bool:
    """Whether a file begins with gzip's magic number."""
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def plain_tar(path: Path) -> Path:
    """The uncompressed copy of a gzipped tar, in the cache folder; random access needs one.

    Made once for each path, size and time of change. Raises `ShardError` where it is damaged or does not fit.
    """
    copy = cache_folder() / f"{file_fingerprint(path)}.tar"
    if copy.exists():
        return copy
    no_room = ShardError(f"{path}: gzipped, and {cache_folder()} cannot be written to. Set DIRVAE_CACHE.")
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        limit = min(MAX_INFLATED_BYTES, shutil.disk_usage(cache_folder()).free)
    except OSError as error:
        raise no_room from error

    def inflate(temporary: Path) -> None:
        with gzip.open(path, "rb") as packed, open(temporary, "wb") as plain:
            while piece := packed.read(1 << 20):
                if plain.tell() + len(piece) > limit:
                    raise ShardError(
                        f"{path}: unpacks to more than the {limit:,} bytes there is room for in {cache_folder()}. "
                        "Set DIRVAE_CACHE to a larger disk, or pack the tar again without gzip."
                    )
                plain.write(piece)

    try:
        stored = store_in_cache(copy, inflate)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ShardError(f"{path}: the gzip stream is damaged ({error}). Copy or make it again.") from error
    if not stored:
        raise no_room
    return copy


def file_fingerprint(path: Path) -> str:
    """Identifies a file on this machine by path, size and time of change: 32 hexadecimal digits."""
    status = path.stat()
    text = f"{INDEX_VERSION}\0{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def store_in_cache(path: Path, write: Callable[[Path], None]) -> bool:
    """Write a cache entry beside its place and rename it in; False where the cache cannot be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=path.stem, dir=path.parent)
    except OSError:
        return False
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.replace(path)
    except gzip.BadGzipFile:
        raise
    except OSError:  # the disk is full
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True
