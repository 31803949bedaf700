"""Is a loader's resume exact? Kill it, restore it, and compare what it delivered with what was due."""

from .checker import Verdict, verify_resume
from .command import describe, main
from .ranks import with_ranks_and_workers

__all__ = ["Verdict", "describe", "main", "verify_resume", "with_ranks_and_workers"]
