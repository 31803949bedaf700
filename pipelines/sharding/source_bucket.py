"""Files to be packed that lie below a URL of a bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..modality import modalities, packed_modalities
from ..storage.listing import Contents, list_walked
from ..storage.media_types import is_media_name
from ..storage.remote.folder_listing import reading_heads, walk_url
from ..storage.remote.remote_store import RemoteOptions, RemoteStore
from ..storage.remote.urls import join, redacted, split_url
from ..storage.walk import Walk

__all__ = ["SourceBucket", "SourceUrl"]


@dataclass(frozen=True)
class SourceUrl:
    """The URL of a source and how it is reached. As a text it shows nothing that may be secret."""

    url: str = field(repr=False)
    options: RemoteOptions = field(default_factory=RemoteOptions, repr=False)

    def store(self) -> RemoteStore:
        """The files below it."""
        return RemoteStore(self.url, self.options)

    @property
    def bucket(self) -> str:
        """The name of the bucket."""
        return split_url(self.url).host

    def __str__(self) -> str:
        return redacted(self.url)


class SourceBucket:
    """The files below a URL, which is listed once; `walked` has them where that has been done."""

    def __init__(self, source: SourceUrl, walked: Walk | None = None) -> None:
        self.source: Path | SourceUrl = source
        self._url, self._known = source, walked

    @property
    def name(self) -> str:
        """The last part of its path, or its bucket."""
        url = split_url(self._url.url)
        return url.path.rstrip("/").rpartition("/")[2] or url.host

    @cached_property
    def _walked(self) -> Walk:
        if self._known is not None:
            return self._known
        with contextlib.closing(self._url.store()) as store:
            return walk_url(store)

    def modality_folders(self) -> list[str]:
        """See `SourcePlace`."""
        folders, known = set[str](), {one.name for one in modalities()}
        for path in self._walked.files.paths:
            first, slash, _ = path.partition("/")
            if slash:
                folders.add(first)
            elif any(is_media_name(path, one.name) for one in packed_modalities()):
                return []
            if len(folders - known):
                return []
        return sorted(folders)

    def below(self, name: str) -> SourceBucket:
        """See `SourcePlace`."""
        source = SourceUrl(join(self._url.url, name), self._url.options)
        return SourceBucket(source, Walk(self._walked.files.below(name)))

    def contents(self, wanted: Collection[str], exclude: Collection[Path | str]) -> Contents:
        """See `SourcePlace`."""
        files, root = self._walked.files, f"{self._url.url}/"
        for target in exclude:
            if isinstance(target, str) and target.startswith(root):
                files = files.without(target[len(root) :].rstrip("/"))
        with contextlib.closing(self._url.store()) as store, reading_heads(store) as heads:
            return list_walked(Walk(files), heads, wanted)

    def has_files(self) -> bool:
        """See `SourcePlace`."""
        return len(self._walked.files) > 0

    def has_tars(self) -> bool:
        """See `SourcePlace`."""
        return any(path.endswith(".tar") and "/" not in path for path in self._walked.files.paths)

    def __str__(self) -> str:
        return str(self._url)
