"""Streaming iterators over images, audio and video that resume exactly. NumPy only; torch is optional.

>>> from pipelines import ImageIterator
>>> images = ImageIterator("shards/image", size=256, batch_size=64, shuffle=True)
"""

from typing import TYPE_CHECKING

from .lazy_names import lazy_names

if TYPE_CHECKING:
    from .batching.batch import Batch
    from .batching.batch_protocol import BatchLike
    from .batching.framework_loaders import EpochLoader, RepeatedEpoch
    from .batching.stats import Stats
    from .decode.audio.curves import curve_start
    from .errors import ExampleError, PipelineError, ShardError, ShardingError, SourceError, StateError
    from .iterators.array import ArrayIterator
    from .iterators.audio import AudioIterator
    from .iterators.data import DataIterator
    from .iterators.image import ImageIterator
    from .iterators.mixture import MixedIterator, mix
    from .iterators.video import VideoIterator
    from .sharding import ShardWriter, make_shards
    from .sources import Example, FolderSource, ShardSource, Source, hold_out, open_source
    from .sources.arrays.array_source import ArraySource
    from .sources.label_tables import labels
    from .storage.label_table import Label, LabelTable
    from .version import __version__ as __version__

__all__ = [
    "ArrayIterator",
    "ArraySource",
    "AudioIterator",
    "Batch",
    "BatchLike",
    "DataIterator",
    "EpochLoader",
    "Example",
    "ExampleError",
    "FolderSource",
    "ImageIterator",
    "Label",
    "LabelTable",
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
    "VideoIterator",
    "curve_start",
    "hold_out",
    "labels",
    "make_shards",
    "mix",
    "open_source",
]

lazy_names(
    __name__,
    {
        "__version__": ".version",
        "ArrayIterator": ".iterators.array",
        "ArraySource": ".sources.arrays.array_source",
        "AudioIterator": ".iterators.audio",
        "Batch": ".batching.batch",
        "BatchLike": ".batching.batch_protocol",
        "DataIterator": ".iterators.data",
        "EpochLoader": ".batching.framework_loaders",
        "Example": ".sources",
        "ExampleError": ".errors",
        "FolderSource": ".sources",
        "ImageIterator": ".iterators.image",
        "Label": ".storage.label_table",
        "LabelTable": ".storage.label_table",
        "MixedIterator": ".iterators.mixture",
        "PipelineError": ".errors",
        "RepeatedEpoch": ".batching.framework_loaders",
        "ShardError": ".errors",
        "ShardSource": ".sources",
        "ShardWriter": ".sharding",
        "ShardingError": ".errors",
        "Source": ".sources",
        "SourceError": ".errors",
        "StateError": ".errors",
        "Stats": ".batching.stats",
        "VideoIterator": ".iterators.video",
        "curve_start": ".decode.audio.curves",
        "hold_out": ".sources",
        "labels": ".sources.label_tables",
        "make_shards": ".sharding",
        "mix": ".iterators.mixture",
        "open_source": ".sources",
    },
)
