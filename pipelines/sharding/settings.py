"""What can be asked of packing: what all modalities have in common, and which of the rest belongs to which."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict

from ..errors import SourceError
from ..modality import Modality, find_modality, packed_modalities
from ..order.checked_numbers import flag, whole_number
from .attached_settings import of_last_part, said_difference
from .attachments import Attachments
from .features import Features
from .packing import MediaSettings
from .wording import joined, plurals

__all__ = ["PackOptions", "PackSettings", "check_options", "known_settings", "options_of", "settings_for"]


class PackOptions(TypedDict, total=False):
    """The settings of `make_shards`; `PackSettings`, `ImageSettings`, `AudioSettings` and `VideoSettings` explain them.

    Those of a modality that is registered from outside are taken as well: the fields of its settings class.
    """

    shuffle: int | None
    shard_bytes: int | None
    shard_examples: int
    classes: bool
    annotations: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    annotation_frame: Literal["auto", "stored", "upright"]
    labels: str | os.PathLike[str] | None
    label_key: str | None
    decode: bool
    resize: int | None
    quality: int | None
    max_pixels: int | None
    segment: float | None
    sample_rate: int | None
    channels: int | None
    codec: Literal["keep", "wav", "flac", "h264", "h265", "vp9", "av1"]
    curves: Mapping[str, float]
    features: Features
    overwrite_features: bool
    gop: int | None
    no_audio: bool


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
    annotations     COCO files, of images: what they say of a file goes into its field `json`; see `Attachments`.
    labels          a table, CSV or JSON Lines: the row of a file goes into its field `json`.
    label_key       its column with the names of files; None: "file_name".
    """

    media: MediaSettings = field(default_factory=_default_media)
    shuffle: int | None = 0
    shard_bytes: int | None = None
    shard_examples: int = 10_000
    classes: bool = False
    annotations: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = ()
    labels: str | os.PathLike[str] | None = None
    label_key: str | None = None
    attachments: Attachments = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, least in (("shard_bytes", 1), ("shard_examples", 1), ("shuffle", None)):
            value = getattr(self, name)
            if value is not None or name == "shard_examples":
                object.__setattr__(self, name, whole_number(name, value, least=least))
        object.__setattr__(self, "classes", flag("classes", self.classes))
        attachments = Attachments.of(self.annotations, self.labels, self.label_key)
        object.__setattr__(self, "attachments", attachments)

    @property
    def modality(self) -> str:
        """The name of the modality: "image"."""
        return self.media.modality

    def describe(self) -> dict[str, Any]:
        """The settings as they stand in the manifest, without the numbers of the classes."""
        common = {name: getattr(self, name) for name in ("shuffle", "shard_bytes", "shard_examples")}
        classes = {"classes": True} if self.classes else {}
        return {**common, **self.media.describe(), **classes, **self.attachments.describe()}

    def differences(self, other: dict[str, Any], *, ignored: Collection[str] = ()) -> list[str]:
        """How other settings, as a manifest gives them, differ: "resize was 256 and is None"; `ignored` ones do not.

        Annotation files are compared with those of the last part of a set.
        """
        ours = {**self.describe(), "classes": self.classes}
        theirs = {**of_last_part(other), "classes": bool(other.get("classes"))}
        return [
            said_difference(name, theirs.get(name), ours.get(name))
            for name in {**ours, **theirs}
            if theirs.get(name) != ours.get(name) and name not in ignored
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

    Raises `ValueError` for a value that no modality takes: what those say of it that have most of the options.
    """
    found: dict[str, PackSettings | ValueError] = {}
    for modality in packed_modalities():
        try:
            found[modality.name] = settings_for(modality.name, options)
        except ValueError as error:
            found[modality.name] = error
    taken = {name for name, one in found.items() if isinstance(one, PackSettings)}
    shared = {option for name in taken for option in options_of(name)}
    refusals = {name: one for name, one in found.items() if isinstance(one, ValueError)}
    failed = [name for name in refusals if not shared.intersection(options_of(name), options)]
    if failed:
        num_asked = {name: len(set(options_of(name)) & options.keys()) for name in failed}
        meant = [name for name in failed if num_asked[name] == max(num_asked.values())]
        raise ValueError(_all_said({name: str(refusals[name]) for name in meant})) from refusals[meant[0]]
    return found


def _all_said(refusals: Mapping[str, str]) -> str:
    """What modalities say, each once."""
    if len(set(refusals.values())) == 1:
        return next(iter(refusals.values()))
    return " ".join(f"For {find_modality(name).plural}: {said}" for name, said in refusals.items())


def check_options(modalities: Collection[str], options: Mapping[str, Any], source: object) -> None:
    """Raise `SourceError` for a setting that was given and that no modality to be packed reads, or each in its way."""
    asked = [name for name, value in options.items() if not _is_left_out(value)]
    for name in asked:
        wanted = "annotation_frame" if name == "annotations" else name  # which has a modality that can be annotated
        having = [one for one in packed_modalities() if wanted in options_of(one.name)]
        packed = [one for one in having if one.name in modalities]
        if having and not packed:
            raise SourceError(
                f"{source}: {name} is a setting for {plurals(having, 'and')}, and none are packed. Leave it out."
            )
        meanings = {one: _meaning(one, wanted) for one in packed}
        if len(set(meanings.values())) > 1:
            said = joined([f"{meaning} for {one.plural}" for one, meaning in meanings.items()], "and")
            raise SourceError(
                f"{source}: {name} is {said}. Pack one of them at a time, with --only {packed[0].name}."
            )


def _is_left_out(value: object) -> bool:
    return value is None or value is False or (isinstance(value, tuple | list) and not value)


def _meaning(modality: Modality, option: str) -> str:
    """What a setting is for one modality, where it is something else for others."""
    found: str = modality.part("packing").__dataclass_fields__[option].metadata.get("means", "another setting")
    return found
