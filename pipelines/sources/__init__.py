"""Random access to local and remote examples."""

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
