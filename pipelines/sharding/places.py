"""Which place a set goes to: a folder of this machine, or a folder of a bucket by its URL; see `source_place`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import SourceError
from ..storage.plain_files import path_setting
from ..storage.remote.urls import is_url, join, redacted, split_url
from .folder_place import FolderPlace
from .set_place import SetPlace

__all__ = ["folder_above", "out_setting", "place_below", "place_of"]


def out_setting(value: object) -> Path | str:
    """The setting `out`: a path, or a URL as text. Raises `TypeError` or `ValueError` for what is neither."""
    if not (isinstance(value, str) and is_url(value)):
        return path_setting("out", value)
    try:
        url = split_url(value)
    except SourceError as error:
        raise ValueError(f"out: {error}") from error
    if url.scheme == "file":
        return Path(url.path)
    if url.scheme not in ("s3", "gs", "az"):
        raise ValueError(
            f"out is {redacted(value)!r}; shards are written to a folder, or to an address of s3://, gs:// or az://."
        )
    return value.rstrip("/")


def place_below(out: Path | str, name: str) -> Path | str:
    """The place of a set in a place of several."""
    return join(out, name) if isinstance(out, str) else out / name


def folder_above(out: Path | str) -> Path | str:
    """The place in which the place of a set is."""
    return out.rpartition("/")[0] if isinstance(out, str) else out.parent


def place_of(out: Path | str, storage_options: Mapping[str, Any]) -> SetPlace:
    """What reads and changes the set that is there, or will be."""
    if isinstance(out, Path):
        return FolderPlace(out)
    from ..storage.remote.bucket import Bucket
    from ..storage.remote.remote_store import RemoteOptions
    from .bucket_place import BucketPlace

    return BucketPlace(Bucket(out, RemoteOptions(storage_options=storage_options)))
