"""What files begin with, read in batches: one after the other while the system has it at hand, else by many threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol

from .media_types import read_head, searched_names
from .plain_files import system_paths

__all__ = ["HeadReader", "HeadsTask", "LocalHeads"]

SNIFF_THREADS = 16
SNIFF_CHUNK = 64
TRIED_FILES, MOST_WAITS = 32, 8
"""Where a thread had to wait for more of the first files, many threads wait at once; else they would only wait for each
other."""
STATUS = Path("/proc/thread-self/status")
WAITS = "voluntary_ctxt_switches:"


class HeadReader(Protocol):
    """Reads the first bytes of files."""

    def read(self, paths: Sequence[str], sizes: Sequence[int]) -> list[bytes | str]:
        """Of each file, of so many bytes, the bytes that tell its format, or in a few words why they cannot be read."""


@dataclass(frozen=True, slots=True)
class HeadsTask:
    """A request to another process: read the first bytes of these files below a folder.

    `searched` is `searched_names()` of the asking process.
    """

    folder: str
    paths: Sequence[str]
    searched: frozenset[tuple[str, str]]

    def read(self) -> list[bytes | str]:
        """As `HeadReader.read`. Empty if this process knows other modalities and might read other bytes."""
        if self.searched != searched_names():
            return []
        with LocalHeads(Path(self.folder)) as heads:
            return heads.read(self.paths, ())


class LocalHeads:
    """Reads the heads of files below a folder, inside a `with`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._stack = str(folder), ExitStack()
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
        before = _num_waits()
        heads, rest = self._read_all(paths[:TRIED_FILES]), paths[TRIED_FILES:]
        after = _num_waits()
        if before is not None and after is not None and after - before <= MOST_WAITS:
            return heads + self._read_all(rest)
        return heads + [head for chunk in self._chunks(rest) for head in chunk]

    def _chunks(self, paths: Sequence[str]) -> Iterator[list[bytes | str]]:
        if self._threads is None:
            self._threads = self._stack.enter_context(ThreadPoolExecutor(SNIFF_THREADS))
        chunks = (paths[start : start + SNIFF_CHUNK] for start in range(0, len(paths), SNIFF_CHUNK))
        return self._threads.map(self._read_all, chunks)

    def _read_all(self, paths: Sequence[str]) -> list[bytes | str]:
        return [self._read_one(path) for path in system_paths(self._folder, paths)]

    def _read_one(self, path: str) -> bytes | str:
        try:
            return read_head(path)
        except OSError as error:
            return error.strerror or type(error).__name__


def _num_waits() -> int | None:
    """How often this thread has given up its core because it had to wait, for a disk above all; None if not known."""
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # a system without it
        return None
    return next((int(line.removeprefix(WAITS)) for line in lines if line.startswith(WAITS)), None)
