"""From a URL to a source: a folder of shards with its manifest, tars, or a pattern of tars."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from contextlib import closing

from ..errors import SourceError
from ..storage.frame_table import frames_name
from ..storage.index import index_name
from ..storage.manifest import MANIFEST_NAME, Manifest
from ..storage.remote.reading import RemoteReading
from ..storage.remote.remote_store import RemoteStore
from ..storage.remote.shard_fetcher import ShardFacts
from ..storage.remote.shard_store import ShardStore
from ..storage.remote.urls import join, redacted
from .shards import ShardSource

__all__ = ["TAR_SUFFIXES", "matching_urls", "open_remote", "open_remote_tars", "read_far_manifest"]

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def open_remote(
    url: str, modality: str, reading: RemoteReading, *, allow_truncated: bool = False, verify: bool = False
) -> ShardSource:
    """The set at a URL: a folder with a manifest costs one request, or two if it holds one per modality.

    Raises `SourceError` if there is nothing to read, `ShardError` for a damaged manifest.
    """
    _refuse_manifest(url)
    store = RemoteStore(url, reading.options)
    path = url.partition("?")[0]
    if path.endswith(TAR_SUFFIXES):
        names = matching_urls(store, url) if any(letter in path for letter in "*?[") else [url]
        return open_remote_tars(names, reading, store=store, allow_truncated=allow_truncated, verify=verify)
    for folder in (url, join(url, modality)):
        content = store.find_whole(join(folder, MANIFEST_NAME))
        if content is not None:
            manifest = Manifest.parse(content, where=redacted(join(folder, MANIFEST_NAME)))
            return _open_set(folder, manifest, store, reading, allow_truncated=allow_truncated, verify=verify)
    names = [one.name for one in store.list() if one.name.partition("?")[0].endswith(TAR_SUFFIXES)]
    if not names:
        raise SourceError(
            f"{redacted(url)}: no {MANIFEST_NAME} and no tars in it. Name the folder of a set of shards, or its tars "
            "as in shard-{000..031}.tar; only shards are read from elsewhere, not single files."
        )
    return open_remote_tars(names, reading, store=store, allow_truncated=allow_truncated, verify=verify)


def read_far_manifest(url: str) -> Manifest | None:
    """The manifest in the folder at a URL, None if there is none. Raises as `open_remote` does."""
    _refuse_manifest(url)
    with closing(RemoteStore(url)) as store:
        if url.partition("?")[0].endswith(TAR_SUFFIXES):
            return None
        place = join(url, MANIFEST_NAME)
        content = store.find_whole(place)
        return None if content is None else Manifest.parse(content, where=redacted(place))


def _refuse_manifest(url: str) -> None:
    path = url.partition("?")[0]
    if path.endswith(f"/{MANIFEST_NAME}"):
        folder = redacted(path.removesuffix(MANIFEST_NAME))
        raise SourceError(f"{redacted(url)}: a manifest, and not a set. Name its folder, {folder}.")


def open_remote_tars(
    names: Sequence[str],
    reading: RemoteReading,
    *,
    store: RemoteStore | None = None,
    allow_truncated: bool = False,
    verify: bool = False,
) -> ShardSource:
    """Tars by their URLs, without a manifest: each is asked for its size, and for its index or its headers."""
    store = RemoteStore(names[0], reading.options) if store is None else store
    shards = {}
    for name in names:
        size = store.size_of(name)
        if size is None:
            raise SourceError(f"{redacted(name)}: no such file. Look at the name and the place, or restore it.")
        shards[name] = ShardFacts(size)
    found = ShardStore(store.with_sizes({name: facts.size for name, facts in shards.items()}), reading, shards)
    return ShardSource(names, store=found, allow_truncated=allow_truncated, verify=verify)


def _open_set(
    folder: str,
    manifest: Manifest,
    store: RemoteStore,
    reading: RemoteReading,
    *,
    allow_truncated: bool,
    verify: bool,
) -> ShardSource:
    columns = manifest.shards
    if not columns.name:
        raise SourceError(f"{redacted(folder)}: its manifest names no shards. Pack some data into it first.")
    shards = {}
    for name, size, sha256, index, frames in zip(
        columns.name, columns.bytes, columns.sha256, columns.index_hash, columns.frames_hash, strict=True
    ):
        tar = join(folder, name)
        digests = {index_name(tar): index, **({frames_name(tar): frames} if frames else {})}
        shards[tar] = ShardFacts(size, sha256, digests)
    found = ShardStore(store.with_sizes({tar: facts.size for tar, facts in shards.items()}), reading, shards)
    return ShardSource(list(shards), manifest=manifest, store=found, allow_truncated=allow_truncated, verify=verify)


def matching_urls(store: RemoteStore, pattern: str) -> list[str]:
    """The files that a pattern with *, ? or [ in its last part stands for, by one listing of its folder."""
    folder, _, last = pattern.rpartition("/")
    if folder.endswith(":/"):  # a pattern in the root, as in memory://*.tar
        folder += "/"
    if any(letter in folder for letter in "*?["):
        raise SourceError(
            f"{redacted(pattern)}: *, ? and [ stand in the last part of a URL alone. Name the folder, or list the tars."
        )
    names = [one.name for one in store.list(folder) if one.name.rpartition("/")[0] == folder]
    found = sorted(name for name in names if fnmatch.fnmatchcase(name.rpartition("/")[2], last))
    if not found:
        raise SourceError(f"{redacted(pattern)}: no file matches it.")
    return found
