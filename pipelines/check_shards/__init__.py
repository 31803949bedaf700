"""Checking a set of shards: compare its files, repair files that can be derived, show one example."""

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .checking import CheckOptions, check_shards
    from .command import main
    from .findings import KINDS, Finding
    from .report import CheckReport, SetReport

__all__ = ["KINDS", "CheckOptions", "CheckReport", "Finding", "SetReport", "check_shards", "main"]

lazy_names(
    __name__,
    {
        "KINDS": ".findings",
        "CheckOptions": ".checking",
        "CheckReport": ".report",
        "Finding": ".findings",
        "SetReport": ".report",
        "check_shards": ".checking",
        "main": ".command",
    },
)
