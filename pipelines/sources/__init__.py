"""Random access to examples, wherever they lie."""

from .folder import FolderSource
from .opening import SourceLike, open_source
from .shards import ShardSource
from .source import Example, Source
from .subset import HeldOutPart, Selection, hold_out

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
