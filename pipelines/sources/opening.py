"""From what a user writes — a folder, a tar, a pattern, a list — to a source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from glob import escape, glob, has_magic
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..modality import find_modality
from ..order.checked_numbers import flag
from ..storage.blob import LocalFile
from ..storage.listing import modality_folders
from ..storage.manifest import Manifest
from ..storage.plain_files import path_setting
from ..storage.remote.reading import RemoteReading
from ..storage.remote.urls import is_url, redacted
from ..storage.tar_index import is_gzip
from .arrays.array_location import is_array
from .arrays.array_source import ArraySource
from .folder import FolderSource
from .remote_opening import TAR_SUFFIXES, open_remote, open_remote_tars
from .shards import ShardSource
from .source import Source

__all__ = ["SourceLike", "expand_braces", "matching_paths", "open_source"]

SourceLike = Source | str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
OTHER_SUFFIXES = (".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst", ".tar.lz4")


def open_source(
    data: SourceLike,
    *,
    modality: str = "image",
    allow_truncated: bool = False,
    verify: bool = False,
    remote: RemoteReading | None = None,
) -> Source:
    """Open data for random access.

    data        a folder of files, a folder of shards (or of one such folder a modality), a tar, a brace or glob
                pattern (`"shards/{000..031}.tar"`), a list of tars, a zarr or NumPy array, or a source, which is
                returned as it is. Shards may be remote: s3://bucket/set, gs://, az://, https://.
    modality    "image", "audio" or "video": which files of a plain folder are meant.
    allow_truncated   of a tar that is cut off, read the whole examples instead of refusing it.
    verify      compare every example of a shard with its checksum when it is read.
    remote      how remote shards are read: the bound of the cache, whole or by ranges, and so on.

    Raises `SourceError` if there is nothing to read, `ShardError` for a damaged tar, index or manifest.
    """
    allow_truncated, verify = flag("allow_truncated", allow_truncated), flag("verify", verify)
    if isinstance(data, Source):
        return data
    find_modality(modality)
    reading = RemoteReading() if remote is None else remote
    try:
        opened = _opened(data, modality, reading, allow_truncated=allow_truncated, verify=verify)
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else data
        reason = type(error).__name__ if isinstance(data, str) and is_url(data) else error
        raise SourceError(f"{redacted(str(name))}: cannot be read ({error.strerror or reason}).") from error
    opened.origin = os.fspath(data) if isinstance(data, str | os.PathLike) else None
    return opened


def _opened(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    modality: str,
    reading: RemoteReading,
    *,
    allow_truncated: bool,
    verify: bool,
) -> Source:
    if not isinstance(data, str | os.PathLike | Sequence):
        raise TypeError(f"data is {data!r}; it must be a folder, a tar, a pattern, a list of tars, or a Source.")
    if not isinstance(data, str | os.PathLike):
        items = list(data)
        if wrong := [item for item in items if not isinstance(item, str | os.PathLike)]:
            raise TypeError(f"the list of tars holds {wrong[0]!r}; it must hold paths alone.")
        if any(isinstance(item, str) and is_url(item) for item in items):
            return _open_urls(items, reading, allow_truncated=allow_truncated, verify=verify)
        paths = [path_setting("a tar", item) for item in items]
        if not paths:
            raise SourceError("An empty list of shards was given. Name at least one tar.")
        return _open_tars(paths, allow_truncated=allow_truncated, verify=verify)
    text = os.fspath(data)
    path = path_setting("data", text)
    if is_array(text):
        return ArraySource(text)
    if is_url(text):
        names = expand_braces(text) if "{" in text else [text]
        if len(names) > 1:
            return _open_urls(names, reading, allow_truncated=allow_truncated, verify=verify)
        return open_remote(text, modality, reading, allow_truncated=allow_truncated, verify=verify)
    if path.is_dir():
        return _open_folder(path, modality, allow_truncated=allow_truncated, verify=verify)
    if path.exists():
        return _open_tars([path], allow_truncated=allow_truncated, verify=verify)
    expanded = matching_paths(text)
    if expanded == [text] or not expanded:
        raise SourceError(f"{text}: no such file or folder." if expanded else f"{text}: no file matches it.")
    return _open_tars([Path(name) for name in expanded], allow_truncated=allow_truncated, verify=verify)


def _open_urls(items: Sequence[Any], reading: RemoteReading, *, allow_truncated: bool, verify: bool) -> Source:
    if wrong := [item for item in items if not isinstance(item, str) or not is_url(item)]:
        raise SourceError(f"{redacted(str(wrong[0]))}: a path, in a list of URLs. Name tars of one kind.")
    return open_remote_tars(items, reading, allow_truncated=allow_truncated, verify=verify)


def matching_paths(text: str) -> list[str]:
    """The paths that a pattern stands for. What exists under its very name is not a pattern: folders, then files."""
    folder, pattern = _existing_folder(text)
    names: list[str] = []
    for part in expand_braces(pattern):
        name = folder + part
        is_pattern = has_magic(part) and not os.path.lexists(name)
        names += sorted(glob(escape(folder) + part)) if is_pattern else [name]
    return names


def _existing_folder(text: str) -> tuple[str, str]:
    """The longest beginning of a pattern that is a folder as it is written, and the rest."""
    end = len(text)
    while (end := text.rfind(os.sep, 0, end)) >= 0:
        folder = text[: end + 1]
        if Path(folder).is_dir():
            return folder, text[end + 1 :]
    return "", text


def expand_braces(text: str) -> list[str]:
    """The paths and glob patterns that a pattern with braces stands for. Raises `SourceError`."""
    try:
        from braceexpand import braceexpand
    except ImportError as error:
        if "{" not in text:
            return [text]
        raise SourceError(
            f"{redacted(text)}: a pattern with braces needs braceexpand: pip install braceexpand. Or list the tars, "
            "or use *."
        ) from error
    try:
        return list(braceexpand(text))
    except ValueError as error:
        reason = "its braces do not match" if is_url(text) else error  # which holds the whole text
        raise SourceError(f"{redacted(text)}: not a pattern that can be expanded ({reason}).") from error


def _open_folder(folder: Path, modality: str, *, allow_truncated: bool, verify: bool) -> Source:
    for place in (folder, folder / modality):
        if (manifest := Manifest.find(place)) is not None:
            paths = [place / name for name in manifest.shards.name]
            if not paths:
                raise SourceError(f"{place}: its manifest names no shards. Pack some data into it first.")
            return ShardSource(paths, manifest=manifest, allow_truncated=allow_truncated, verify=verify)
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    archives = (*TAR_SUFFIXES, *OTHER_SUFFIXES)  # the others are refused when they are opened, not passed over
    tars = sorted(path for path in visible if path.name.endswith(archives) and path.is_file())
    if tars:
        return ShardSource(tars, allow_truncated=allow_truncated, verify=verify)
    inside = modality_folders(folder)  # packing reads these apart, too
    if inside and modality not in inside:
        raise SourceError(f"{folder}: holds {' and '.join(inside)}, no {modality} files. Name one of these.")
    return FolderSource(folder / modality if inside else folder, modality=modality)


def _open_tars(paths: list[Path], *, allow_truncated: bool, verify: bool) -> Source:
    for path in paths:
        if path.is_dir():
            raise SourceError(f"{path}: it is a folder, where tars were to be listed. Name the tars in it.")
        if not path.is_file():
            raise SourceError(f"{path}: no such file.")
        if not path.name.endswith((*TAR_SUFFIXES, *OTHER_SUFFIXES)) and not _looks_like_tar(path):
            raise SourceError(f"{path}: not a tar. Name a tar, or the folder the files lie in.")
    return ShardSource(paths, allow_truncated=allow_truncated, verify=verify)


def _looks_like_tar(path: Path) -> bool:
    blob = LocalFile(path)
    return is_gzip(blob) or blob.read(257, 5) == b"ustar"
