"""Random access to local and remote examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_names import lazy_names

if TYPE_CHECKING:
    from .folder import FolderSource
    from .held_out import HeldOutPart, hold_out
    from .opening import SourceLike, open_source
    from .selection import Selection
    from .shards import ShardSource
    from .source import Example, Source

__all__ = [
    "Example",
    "FolderSource",
    "HeldOutPart",
    "Selection",
    "ShardSource",
    "Source",
    "SourceLike",
    "hold_out",
    "open_source",
]

lazy_names(
    __name__,
    {
        "Example": ".source",
        "FolderSource": ".folder",
        "HeldOutPart": ".held_out",
        "Selection": ".selection",
        "ShardSource": ".shards",
        "Source": ".source",
        "SourceLike": ".opening",
        "hold_out": ".held_out",
        "open_source": ".opening",
    },
)
