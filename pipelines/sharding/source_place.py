"""Where the files to be packed lie: a folder of this machine, or what is below a URL of a bucket.

How a place is said, of files and of shards alike (`places` has the rest):

    what users give         a path, or a URL as text; obstore's settings beside it, which both URLs share
    where files lie         `Path | SourceUrl`: the URL with those settings, since tasks carry it to their workers
    where shards go         `Path | str`: tasks carry a `ShardTarget`, which has been made from it and the settings

A URL has no slash at its end. As a text, a `SourceUrl` shows no secret.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from ..errors import SourceError
from ..storage.heads import HeadReader, LocalHeads
from ..storage.listing import Contents, list_folder, modality_folders
from ..storage.plain_files import path_setting
from ..storage.remote.urls import is_url, redacted, split_url

if TYPE_CHECKING:
    from .source_bucket import SourceUrl

__all__ = ["MakesHeads", "SourceFolder", "SourcePlace", "open_place", "source_of"]


MakesHeads: TypeAlias = Callable[[Path], AbstractContextManager[HeadReader]]


class SourcePlace(Protocol):
    """A place that is listed."""

    source: Path | SourceUrl

    @property
    def name(self) -> str:
        """Its last name, which the folder of its shards gets."""

    def modality_folders(self) -> list[str]:
        """The modalities it has a folder each for; empty for any other place. Raises `SourceError`."""

    def below(self, name: str) -> SourcePlace:
        """The folder of this name in it."""

    def contents(self, wanted: Collection[str], exclude: Collection[Path | str]) -> Contents:
        """Its files of these modalities, but those in the places `exclude`."""

    def has_files(self) -> bool:
        """Whether there is anything in it but hidden files."""

    def has_tars(self) -> bool:
        """Whether a tar lies right in it."""


class SourceFolder:
    """A folder."""

    def __init__(self, folder: Path, heads: MakesHeads = LocalHeads) -> None:
        self.source: Path | SourceUrl = folder
        self._folder, self._heads = folder, heads

    @property
    def name(self) -> str:
        """Its name as it was named: that of a link, not of what it leads to."""
        return self._folder.name if self._folder.name not in ("", "..") else self._folder.resolve().name

    def modality_folders(self) -> list[str]:
        """See `SourcePlace`."""
        return modality_folders(self._folder)

    def below(self, name: str) -> SourceFolder:
        """See `SourcePlace`."""
        return SourceFolder(self._folder / name, self._heads)

    def contents(self, wanted: Collection[str], exclude: Collection[Path | str]) -> Contents:
        """See `SourcePlace`."""
        folders = [one for one in exclude if isinstance(one, Path)]
        return list_folder(self._folder, wanted, exclude=folders, heads=self._heads)

    def has_files(self) -> bool:
        """See `SourcePlace`."""
        return any(not path.name.startswith(".") for path in self._folder.iterdir())

    def has_tars(self) -> bool:
        """See `SourcePlace`."""
        return next(self._folder.glob("*.tar"), None) is not None

    def __str__(self) -> str:
        return str(self._folder)


def source_of(value: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Path | SourceUrl:
    """What a source was named by: a folder, or a URL. Raises `SourceError` for a URL that cannot be listed."""
    if not isinstance(value, str) or not is_url(value):
        return path_setting("source", value)
    if split_url(value).is_web:
        raise SourceError(
            f"{redacted(value)}: a server of the web lists no sizes of files, so that shards cannot be planned. Name a "
            "bucket (s3, gs, az), or copy the files to this machine."
        )
    from ..storage.remote.remote_store import RemoteOptions
    from .source_bucket import SourceUrl

    return SourceUrl(value.rstrip("/"), RemoteOptions(storage_options=storage_options or {}))


def open_place(source: Path | SourceUrl, heads: MakesHeads = LocalHeads) -> SourcePlace:
    """The place of a source; `heads` reads what files of a folder begin with.

    Raises `SourceError` for a folder that is missing.
    """
    if not isinstance(source, Path):
        from .source_bucket import SourceBucket

        return SourceBucket(source)
    if not source.is_dir():
        problem = "a file; name the folder it is in" if source.exists() else "no such folder"
        raise SourceError(f"{source}: {problem}.")
    return SourceFolder(source, heads)
