"""Early stopping: how many evaluations in a row were not better than the best one before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Patience"]


class Patience:
    """Counts evaluations since the best one; training is over after `limit` of them. None: never."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.waited = 0

    @property
    def is_over(self) -> bool:
        """Whether enough evaluations in a row were not better."""
        return self.limit is not None and self.waited >= self.limit

    def count(self, *, is_best: bool) -> None:
        """Count an evaluation."""
        self.waited = 0 if is_best else self.waited + 1

    def state_dict(self) -> dict[str, int]:
        """The count, as JSON."""
        return {"waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Continue from `state_dict()`; None, of an older checkpoint, begins to count."""
        self.waited = 0 if state is None else int(state["waited"])
