"""Checkpoints that are written while training goes on: from copies, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from dirvae.training.checkpoint import CheckpointFolder

__all__ = ["BackgroundSaves"]


class BackgroundSaves:
    """Saves into a folder of checkpoints by a thread of its own.

    What is saved is copied before `begin` returns, so that later updates do not reach it; the thread writes the
    checkpoint as any other, so that it appears whole or not at all.
    """

    def __init__(self, folder: CheckpointFolder) -> None:
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._saving: Future[Path] | None = None

    def begin(self, step: int, *, tensors: Mapping[str, Mapping[str, Tensor] | None], **parts: Any) -> None:
        """Begin to save a step: `tensors` by the names of `CheckpointFolder.save`, the rest in `parts`."""
        copies: dict[str, Any] = {
            name: None if group is None else _copied(group) for name, group in tensors.items()
        }
        self._saving = self._thread.submit(self._folder.save, step, **copies, **parts)

    def finish(self) -> Path | None:
        """Wait for the save in progress: the folder of its checkpoint, or None without one.

        Raises what saving raised, once.
        """
        saving, self._saving = self._saving, None
        return None if saving is None else saving.result()

    def close(self) -> None:
        """End the thread after the save in progress."""
        self._thread.shutdown()


def _copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, in memory that nothing else writes to."""
    return {name: value.detach().to("cpu", copy=True) for name, value in tensors.items()}
