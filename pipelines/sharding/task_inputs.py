"""The files of one shard as they are packed: of a folder where they lie, of a URL as `fetched_inputs` has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..storage.source_files import SourceFile
from .source_reader import SourceReader

if TYPE_CHECKING:
    from .source_bucket import SourceUrl

__all__ = ["TaskInputs", "open_inputs"]


class TaskInputs(Protocol):
    """Opens the files of a shard, in their order, until it is closed."""

    def reader(self, number: int, path: str, size: int) -> SourceReader:
        """The file `number` of the shard, or a sidecar of it; it is entered before the next one is asked for."""

    def close(self) -> None:
        """Close all files."""


def open_inputs(source: Path | SourceUrl, files: Sequence[SourceFile]) -> TaskInputs:
    """The files of a shard, wherever they lie."""
    if isinstance(source, Path):
        return FolderInputs(source)
    from .fetched_inputs import FetchedInputs

    return FetchedInputs(source, files)


class FolderInputs:
    """Files of a folder, read where they lie."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def reader(self, number: int, path: str, size: int) -> SourceReader:
        """See `TaskInputs`."""
        return SourceReader(self._folder, path, size)

    def close(self) -> None:
        """Nothing to close."""
