"""Streaming iterators over images, audio and video that resume exactly. NumPy only; torch is optional.

>>> from pipelines import ImageIterator
>>> images = ImageIterator("shards/image", size=256, batch_size=64, shuffle=True)
"""

from .batch import Batch
from .errors import ExampleError, PipelineError, ShardError, ShardingError, SourceError, StateError
from .iterator import DataIterator
from .media import ImageIterator
from .mixture import MixedIterator, mix
from .sharding import ShardWriter, make_shards
from .sources import Example, FolderSource, ShardSource, Source, hold_out, open_source
from .stats import Stats

__all__ = [
    "Batch",
    "DataIterator",
    "Example",
    "ExampleError",
    "FolderSource",
    "ImageIterator",
    "MixedIterator",
    "PipelineError",
    "ShardError",
    "ShardSource",
    "ShardWriter",
    "ShardingError",
    "Source",
    "SourceError",
    "StateError",
    "Stats",
    "hold_out",
    "make_shards",
    "mix",
    "open_source",
]
