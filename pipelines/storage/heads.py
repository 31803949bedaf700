"""What files begin with, read in batches: one after the other while the disk answers at once, else by many threads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol

from .media_types import read_head
from .plain_files import system_path

__all__ = ["HeadReader", "LocalHeads"]

SNIFF_THREADS = 16
SNIFF_CHUNK = 64
TRIED_FILES = 32
SLOW_SECONDS = 100e-6
"""For one file. A disk that answers sooner is read by one thread: more would only wait for each other."""


class HeadReader(Protocol):
    """Reads the first bytes of files."""

    def read(self, paths: Sequence[str], sizes: Sequence[int]) -> list[bytes | str]:
        """Of each file, of so many bytes, the bytes that tell its format, or in a few words why they cannot be read."""


class LocalHeads:
    """Reads the heads of files below a folder, inside a `with`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = folder, ExitStack()
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> LocalHeads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._threads = None

    def read(self, paths: Sequence[str], sizes: Sequence[int]) -> list[bytes | str]:
        """Of each file its first bytes, or why they cannot be read; threads hide the latency of network disks."""
        began = time.perf_counter()
        heads = self._read_all(paths[:TRIED_FILES])
        tried = len(heads)
        if time.perf_counter() - began <= SLOW_SECONDS * tried:
            return heads + self._read_all(paths[tried:])
        return heads + [head for chunk in self._chunks(paths[tried:]) for head in chunk]

    def _chunks(self, paths: Sequence[str]) -> Iterator[list[bytes | str]]:
        if self._threads is None:
            self._threads = self._stack.enter_context(ThreadPoolExecutor(SNIFF_THREADS))
        chunks = (paths[start : start + SNIFF_CHUNK] for start in range(0, len(paths), SNIFF_CHUNK))
        return self._threads.map(self._read_all, chunks)

    def _read_all(self, paths: Sequence[str]) -> list[bytes | str]:
        return [self._read_one(system_path(self._folder, path)) for path in paths]

    def _read_one(self, path: str) -> bytes | str:
        try:
            return read_head(path)
        except OSError as error:
            return error.strerror or type(error).__name__
