"""The list of examples that could not be decoded: one JSON object a line, in a file that is only added to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from ..errors import ExampleError, PipelineError

__all__ = ["add_to_quarantine", "describe_failures"]


def describe_failures(failures: Iterable[tuple[int, int, PipelineError]]) -> str:
    """Failures, each (epoch, position, error), as lines in the order of their positions.

    Lines hold epoch, position, reason and, where they are known, container, key and offset in bytes.
    """
    return "".join(
        json.dumps(_describe(*failure), ensure_ascii=False) + "\n" for failure in sorted(failures, key=_place)
    )


def add_to_quarantine(path: str | os.PathLike[str], lines: str) -> None:
    """Add lines to the file at once: every rank and process may add to the same one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, lines.encode("utf-8", "surrogateescape"))
    finally:
        os.close(descriptor)


def _place(failure: tuple[int, int, PipelineError]) -> tuple[int, int, str]:
    epoch, position, error = failure
    return epoch, position, str(error)  # of a mixture, examples of two sources may stand at the same place


def _describe(epoch: int, position: int, error: PipelineError) -> dict[str, Any]:
    place: dict[str, Any] = {"epoch": epoch, "position": position}
    if isinstance(error, ExampleError):
        example = {"container": error.container, "key": error.key, "offset": error.offset}
        return {**place, **example, "reason": error.reason}
    return {**place, "reason": str(error)}
