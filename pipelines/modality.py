"""The table of modalities: what packing, iterators and command lines ask of each kind of media.

A modality of your own is one value and one call, from any package:

>>> from pipelines.modality import Modality, register
>>> register(Modality(name="toy", noun="toy", suffixes=("toy",), sniff="my_package.toy:sniff",
...                   packing="my_package.toy:ToySettings", iterator="my_package.toy:ToyIterator"))

What lies in higher layers is named, as "package.module:name", and imported when it is used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Modality", "find_modality", "modalities", "packed_modalities", "register"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Modality:
    """What is known of one kind of media. Parts are objects, or names "package.module:object" of them.

    name            in shards, folders and flags: "image"
    noun            one file of it, for sentences: "recording"
    suffixes        suffixes of its files, lower case, without a dot
    sniff           (first 32 bytes of a file) → the usual suffix, None for files of other kinds
    rate_unit       of an example's rate, for sentences: "Hz"; empty where examples have no rate
    rate_setting    the iterator's setting that gives all examples one rate: "sample_rate"
    packing         its `MediaSettings` class; None where it cannot be packed
    add_arguments   (argument group) → None: adds the flags of its packing settings, named as their fields are
    iterator        its `DataIterator` class, called with a source and settings; None where there is none yet
    trial_settings  settings of the iterator that make everything random that can be: what is checked for exact resume
    make_samples    (folder, num=, seed=, force=) → the number of files made; None where there are no samples
    """

    name: str
    noun: str
    suffixes: tuple[str, ...]
    sniff: str | Callable[[bytes], str | None]
    rate_unit: str = ""
    rate_setting: str = ""
    packing: str | type | None = None
    add_arguments: str | Callable[[Any], None] | None = None
    iterator: str | type | None = None
    trial_settings: Mapping[str, Any] = field(default_factory=dict)
    make_samples: str | Callable[..., int] | None = None

    @property
    def plural(self) -> str:
        """Several files of it: "recordings"."""
        return f"{self.noun}s"

    @property
    def with_article(self) -> str:
        """One file of it, with its article: "an image"."""
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"

    def part(self, name: str) -> Any:
        """The object behind one of the parts, imported if it is named; None where the modality has no such part."""
        value = getattr(self, name)
        if not isinstance(value, str):
            return value
        module, _, attribute = value.partition(":")
        return getattr(importlib.import_module(module, __package__), attribute)


_table: dict[str, Modality] = {}


def register(modality: Modality) -> None:
    """Add a modality, or replace the one of this name."""
    _table[modality.name] = modality


def modalities() -> tuple[Modality, ...]:
    """All modalities, in the order in which they were registered."""
    return tuple(_table.values())


def packed_modalities() -> tuple[Modality, ...]:
    """Those that can be packed."""
    return tuple(modality for modality in modalities() if modality.packing is not None)


def find_modality(name: str) -> Modality:
    """The modality of a name. Raises `ValueError` for one that is not registered."""
    if name not in _table:
        raise ValueError(f"modality is {name!r}; it must be one of {', '.join(map(repr, _table))}.")
    return _table[name]


register(
    Modality(
        name="image",
        noun="image",
        suffixes=(
            *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp"),
            *("tif", "tiff", "ppm", "pgm", "pnm", "jp2", "avif"),
        ),
        sniff=".storage.media_types:sniff_image",
        packing=".sharding.modalities.image:ImageSettings",
        add_arguments=".sharding.modalities.image:add_arguments",
        iterator=".iterators.image:ImageIterator",
        trial_settings={"size": 32, "crop": "random", "flip": True},
        make_samples=".samples.scenes:make_sample_data",
    )
)
register(
    Modality(
        name="audio",
        noun="recording",
        suffixes=("wav", "wave", "flac", "ogg", "oga", "opus", "mp3", "m4a", "aif", "aiff"),
        sniff=".storage.media_types:sniff_audio",
        rate_unit="Hz",
        rate_setting="sample_rate",
        packing=".sharding.modalities.audio:AudioSettings",
        add_arguments=".sharding.modalities.audio:add_arguments",
        iterator=".iterators.audio:AudioIterator",
        trial_settings={"window": 4096, "random_offset": True},
        make_samples=".samples.sounds:make_sample_sounds",
    )
)
register(
    Modality(
        name="video",
        noun="video",
        suffixes=("mp4", "m4v", "mkv", "webm", "mov", "avi", "mpg", "mpeg", "ts"),
        sniff=".storage.media_types:sniff_video",
        rate_unit="frames per second",
        rate_setting="fps",
    )
)
