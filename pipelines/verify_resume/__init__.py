"""Is a loader's resume exact? Kill it, restore it, and compare what it delivered with what was due."""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .checker import Verdict, verify_resume
    from .command import describe, main
    from .ranks import with_ranks_and_workers

__all__ = ["Verdict", "describe", "main", "verify_resume", "with_ranks_and_workers"]

lazy_names(
    __name__,
    {
        "Verdict": ".checker",
        "describe": ".command",
        "main": ".command",
        "verify_resume": ".checker",
        "with_ranks_and_workers": ".ranks",
    },
)
