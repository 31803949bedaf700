"""What can be asked of packing: what all modalities have in common, and which of the rest belongs to which."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypedDict

from ..errors import SourceError
from ..modality import find_modality, packed_modalities
from ..order.checked_numbers import flag, whole_number
from .packing import MediaSettings

__all__ = ["PackOptions", "PackSettings", "check_options", "known_settings", "options_of", "settings_for"]


class PackOptions(TypedDict, total=False):
    """The settings of `make_shards`; `PackSettings`, `ImageSettings` and `AudioSettings` say what they mean.

    Those of a modality that is registered from outside are taken as well: the fields of its settings class.
    """

    shuffle: int | None
    shard_bytes: int | None
    shard_examples: int
    classes: bool
    decode: bool
    resize: int | None
    quality: int | None
    max_pixels: int | None
    segment: float | None
    sample_rate: int | None
    channels: int | None
    codec: Literal["keep", "wav", "flac"]
    curves: Mapping[str, float]


def _default_media() -> MediaSettings:
    settings: MediaSettings = packed_modalities()[0].part("packing")()
    return settings


@dataclass(frozen=True)
class PackSettings:
    """Everything that decides the bytes of the shards, given the listing. Raises `ValueError` or `TypeError`.

    media           what becomes of each file, by its modality.
    shuffle         seed of the order in which files are packed; None: sorted by path.
    shard_bytes     bytes of source files in a shard, tar padding included; None: a sixteenth of the whole,
                    between 16 and 256 MiB.
    shard_examples  most source files in a shard.
    classes         number the sub-folders of the source, and give each example the number as its field `cls`.
    """

    media: MediaSettings = field(default_factory=_default_media)
    shuffle: int | None = 0
    shard_bytes: int | None = None
    shard_examples: int = 10_000
    classes: bool = False

    def __post_init__(self) -> None:
        for name, least in (("shard_bytes", 1), ("shard_examples", 1), ("shuffle", None)):
            value = getattr(self, name)
            if value is not None or name == "shard_examples":
                object.__setattr__(self, name, whole_number(name, value, least=least))
        object.__setattr__(self, "classes", flag("classes", self.classes))

    @property
    def modality(self) -> str:
        """The name of the modality: "image"."""
        return self.media.modality

    def describe(self) -> dict[str, Any]:
        """The settings as they stand in the manifest, without the numbers of the classes."""
        common = {name: getattr(self, name) for name in ("shuffle", "shard_bytes", "shard_examples")}
        return {**common, **self.media.describe(), **({"classes": True} if self.classes else {})}

    def differences(self, other: dict[str, Any]) -> list[str]:
        """How other settings, as a manifest gives them, differ: "resize was 256 and is None"."""
        ours = {**self.describe(), "classes": self.classes}
        theirs = {**other, "classes": bool(other.get("classes"))}
        return [
            f"{name} was {theirs.get(name)} and is {ours.get(name)}"
            for name in {**ours, **theirs}
            if theirs.get(name) != ours.get(name)
        ]


def options_of(modality: str) -> tuple[str, ...]:
    """The settings of one modality: the fields of its settings class."""
    return tuple(one.name for one in fields(find_modality(modality).part("packing")) if one.init)


def settings_for(modality: str, options: Mapping[str, Any]) -> PackSettings:
    """The settings for one modality; those of others are passed over.

    Raises `ValueError` for nonsense, `TypeError` for an option that no modality has.
    """
    own = {name: options[name] for name in options_of(modality) if name in options}
    of_media = {name for one in packed_modalities() for name in options_of(one.name)}
    media: MediaSettings = find_modality(modality).part("packing")(**own)
    return PackSettings(media, **{name: value for name, value in options.items() if name not in of_media})


def known_settings(options: Mapping[str, Any]) -> dict[str, PackSettings | ValueError]:
    """The settings for every modality; the error for one that does not take a value which another one takes.

    Raises `ValueError` for a value that no modality takes.
    """
    found: dict[str, PackSettings | ValueError] = {}
    for modality in packed_modalities():
        try:
            found[modality.name] = settings_for(modality.name, options)
        except ValueError as error:
            found[modality.name] = error
    taken = {name for name, one in found.items() if isinstance(one, PackSettings)}
    shared = {option for name in taken for option in options_of(name)}
    for name, one in found.items():
        if isinstance(one, ValueError) and not shared.intersection(options_of(name), options):
            raise one
    return found


def check_options(modalities: Collection[str], options: Mapping[str, Any], source: Path) -> None:
    """Raise `SourceError` for a setting that was given and that no modality to be packed reads."""
    read = {name for modality in modalities for name in options_of(modality)}
    asked = {name for name, value in options.items() if value not in (None, False)}
    for modality in packed_modalities():
        if unread := [name for name in options_of(modality.name) if name in asked - read]:
            raise SourceError(
                f"{source}: {unread[0]} is a setting for {modality.name} files, and none are packed. Leave it out."
            )
