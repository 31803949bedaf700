"""Streaming iterators over images, audio and video that resume exactly. NumPy only; torch is optional.

>>> from pipelines import ImageIterator
>>> images = ImageIterator("shards/image", size=256, batch_size=64, shuffle=True)
"""

from .array_iterator import ArrayIterator
from .audio_iterator import AudioIterator
from .batch import Batch
from .epochs import EpochLoader, RepeatedEpoch
from .errors import ExampleError, PipelineError, ShardError, ShardingError, SourceError, StateError
from .iterator import DataIterator
from .media import ImageIterator
from .mixture import MixedIterator, mix
from .sharding import ShardWriter, make_shards
from .sources import Example, FolderSource, ShardSource, Source, hold_out, open_source
from .sources.arrays import ArraySource
from .stats import Stats

__all__ = [
    "ArrayIterator",
    "ArraySource",
    "AudioIterator",
    "Batch",
    "DataIterator",
    "EpochLoader",
    "Example",
    "ExampleError",
    "FolderSource",
    "ImageIterator",
    "MixedIterator",
    "PipelineError",
    "RepeatedEpoch",
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
