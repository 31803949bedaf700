"""How far packing has come: a bar on a terminal where tqdm is installed, else a line every ten seconds."""

from __future__ import annotations

import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, TextIO

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["Progress"]

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts source files over all shards being packed; silent if `stream` is None. `noun` says what they are."""

    def __init__(self, total: int, done: int, *, stream: TextIO | None, noun: str = "files") -> None:
        self._total, self._done, self._stream, self._noun = total, done, stream, noun
        self._under_way: dict[int, int] = {}
        self._began = self._last_line = time.monotonic()
        self._first = done
        self._bar: tqdm[NoReturn] | None = None
        if stream is not None and stream.isatty():
            with suppress(ImportError):
                from tqdm import tqdm

                self._bar = tqdm(total=total, initial=done, unit=f" {noun}", file=stream, smoothing=0.1)

    def on_file(self, number: int, file: int) -> None:
        """File number `file` of a shard is about to be read."""
        self._under_way[number] = file
        self._show()

    def on_shard(self, number: int, files: int) -> None:
        """A shard is finished."""
        self._under_way.pop(number, None)
        self._done += files
        self._show()

    def _show(self) -> None:
        done = self._done + sum(self._under_way.values())
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif self._stream is not None and time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            rate = (done - self._first) / (self._last_line - self._began)
            print(
                f"{done:,} of {self._total:,} {self._noun}, {rate:,.0f} per second", file=self._stream, flush=True
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
