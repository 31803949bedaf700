"""What can be asked of packing: what is common to all media, and which of the rest belongs to which kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

from ..errors import SourceError
from .modalities.audio import AudioSettings
from .modalities.image import ImageSettings
from .packing import MediaSettings

__all__ = ["PACKED_KINDS", "PackOptions", "PackSettings", "check_options", "settings_for"]

PACKED_KINDS = ("image", "audio")
OPTIONS_OF = {
    "image": ("decode", "resize", "quality"),
    "audio": ("decode", "segment", "sample_rate", "channels", "codec", "curves"),
}


class PackOptions(TypedDict, total=False):
    """The settings of `make_shards`; `PackSettings`, `ImageSettings` and `AudioSettings` say what they mean."""

    shuffle: int | None
    shard_bytes: int | None
    shard_examples: int
    classes: bool
    decode: bool
    resize: int | None
    quality: int | None
    segment: float | None
    sample_rate: int | None
    channels: int | None
    codec: Literal["keep", "wav", "flac"]
    curves: Mapping[str, float]


@dataclass(frozen=True)
class PackSettings:
    """Everything that decides the bytes of the shards, given the listing. Raises `ValueError` for nonsense.

    media           what becomes of each file, by its kind.
    shuffle         seed of the order in which files are packed; None: sorted by path.
    shard_bytes     bytes of source files in a shard, tar padding included; None: a sixteenth of the whole,
                    between 16 and 256 MiB.
    shard_examples  most source files in a shard.
    classes         number the sub-folders of the source, and give each example the number as its field `cls`.
    """

    media: MediaSettings = field(default_factory=ImageSettings)
    shuffle: int | None = 0
    shard_bytes: int | None = None
    shard_examples: int = 10_000
    classes: bool = False

    def __post_init__(self) -> None:
        for name, value in (("shard_bytes", self.shard_bytes), ("shard_examples", self.shard_examples)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1.")

    @property
    def modality(self) -> str:
        """The kind of media: "image" or "audio"."""
        return self.media.modality

    def describe(self) -> dict[str, Any]:
        """The settings as they stand in the manifest, but for the numbers of the classes."""
        common = {name: getattr(self, name) for name in ("shuffle", "shard_bytes", "shard_examples")}
        return {**common, **self.media.describe(), **({"classes": True} if self.classes else {})}

    def differences(self, other: dict[str, Any]) -> list[str]:
        """How other settings, as a manifest gives them, differ: "resize was 256 and is None"."""
        ours = {**self.describe(), "classes": self.classes}
        theirs = {**other, "classes": bool(other.get("classes"))}
        return [
            f"{name} was {theirs.get(name)} and is {ours[name]}" for name in ours if theirs.get(name) != ours[name]
        ]


def settings_for(modality: str, options: PackOptions) -> PackSettings:
    """The settings for one kind of media; those of other kinds are passed over. Raises `ValueError` for nonsense."""
    given: dict[str, Any] = dict(options)
    own = {name: given[name] for name in OPTIONS_OF[modality] if name in given}
    media: MediaSettings = ImageSettings(**own) if modality == "image" else AudioSettings(**own)
    every = {name for names in OPTIONS_OF.values() for name in names}
    return PackSettings(media, **{name: value for name, value in given.items() if name not in every})


def check_options(kinds: Collection[str], options: PackOptions, source: Path) -> None:
    """Raise `SourceError` for a setting that was given and that no kind of media to be packed reads."""
    read = {name for kind in kinds for name in OPTIONS_OF[kind]}
    asked = {name for name, value in options.items() if value not in (None, False)}
    for kind, names in OPTIONS_OF.items():
        if unread := [name for name in names if name in asked - read]:
            raise SourceError(
                f"{source}: {unread[0]} is a setting for {kind} files, and none are packed. Leave it out."
            )
