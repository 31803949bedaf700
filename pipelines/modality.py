"""The table of modalities: what packing, iterators and command lines need to know of each kind of media.

A modality of your own is one value and one call, from any package:

>>> from pipelines.modality import Format, Modality, register
>>> register(Modality(name="toy", noun="toy", formats=(Format("toy", rb"TOY1"),),
...                   packing="my_package.toy:ToySettings", iterator="my_package.toy:ToyIterator"))

What lies in higher layers is named, as "package.module:name", and imported when it is used.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

__all__ = [
    "HEAD_BYTES",
    "Format",
    "Modality",
    "find_modality",
    "modalities",
    "packed_modalities",
    "register",
    "unregister",
]

HEAD_BYTES = 32
"""How much of a file is read to detect its format."""


@dataclass(frozen=True)
class Format:
    """One format of files.

    suffix   the usual one, in lower case, without a dot: what a member of a tar gets
    begins   a regular expression for the first `HEAD_BYTES` bytes; None where only the name says what a file is
    also     other suffixes in use for it
    refused  why files of this format cannot be read, in a few words; empty where they can
    find     (read, size) → the byte at which it begins, or None: for files named like the modality that begin like
             nothing known; empty where a format always begins at the first byte
    """

    suffix: str
    begins: bytes | None
    also: tuple[str, ...] = ()
    refused: str = ""
    find: str | Callable[[Callable[[int, int], bytes], int], int | None] = ""

    @property
    def suffixes(self) -> tuple[str, ...]:
        """All suffixes in use for it."""
        return (self.suffix, *self.also)

    @cached_property
    def _pattern(self) -> re.Pattern[bytes] | None:
        return None if self.begins is None else re.compile(self.begins, re.DOTALL)

    def matches(self, head: bytes) -> bool:
        """Whether a file that begins with `head` is of this format."""
        return self._pattern is not None and self._pattern.match(head) is not None


@dataclass(frozen=True, kw_only=True, eq=False)
class Modality:
    """What is known of one kind of media. Parts are objects, or names "package.module:object" of them.

    name            in shards, folders and flags: "image"
    noun            one file of it, for sentences: "recording"
    step            one of the equal steps of time that a file consists of, for sentences: "sample"
    piece           one of the examples that a file is cut into, for sentences: "segment"
    formats         of its files
    rate_unit       of an example's rate, for sentences: "Hz"; empty where examples have no rate
    rate_setting    the iterator's setting that gives all examples one rate: "sample_rate"
    packing         its `MediaSettings` class, a dataclass whose fields are the settings; None: it cannot be packed
    add_arguments   (argument group) → None: adds the flags of its packing settings, named as their fields are
    explain         (folder, files, packing settings) → lines on what is in them, for --explain; None: nothing to say
    iterator        its `DataIterator` class, called with a source and settings; None if missing yet
    trial_settings  settings of the iterator that make everything random that can be: what is checked for exact resume
    make_samples    (folder, num=, seed=, force=) → the number of files made; None where there are no samples
    sample_defaults defaults of `make_samples` by name: "num", and "size" where it has one
    draw_cells      (source, `ShowOptions`) → `CellSet`: one batch, drawn for `show_batch`; None: it is not drawn
    """

    name: str
    noun: str
    step: str = "frame"
    piece: str = "piece"
    formats: tuple[Format, ...]
    rate_unit: str = ""
    rate_setting: str = ""
    packing: str | type | None = None
    add_arguments: str | Callable[[Any], None] | None = None
    explain: str | Callable[..., Iterator[str]] | None = None
    iterator: str | type | None = None
    trial_settings: Mapping[str, Any] = field(default_factory=dict)
    make_samples: str | Callable[..., int] | None = None
    sample_defaults: Mapping[str, int] = field(default_factory=dict)
    draw_cells: str | Callable[..., Any] | None = None

    @property
    def plural(self) -> str:
        """Several files of it: "recordings"."""
        return f"{self.noun}s"

    @property
    def with_article(self) -> str:
        """One file of it, with its article: "an image"."""
        return f"{'an' if self.noun[0] in 'aeiou' else 'a'} {self.noun}"

    @cached_property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of the files that can be read, lower case, without a dot."""
        return tuple(dict.fromkeys(name for one in self.formats if not one.refused for name in one.suffixes))

    @cached_property
    def refused_suffixes(self) -> tuple[str, ...]:
        """Suffixes of files of it that cannot be read."""
        return tuple(dict.fromkeys(name for one in self.formats if one.refused for name in one.suffixes))

    def sniff(self, head: bytes) -> str | None:
        """The usual suffix of a file that begins so; None for one of another modality, or that cannot be read."""
        return next((one.suffix for one in self.formats if not one.refused and one.matches(head)), None)

    def refusal(self, head: bytes) -> str | None:
        """Why a file of it that begins so cannot be read; None for any other file."""
        return next((one.refused for one in self.formats if one.refused and one.matches(head)), None)

    def why_unknown(self, head: bytes) -> str | None:
        """Why a file that begins so cannot be read as one of this modality; None where it begins like one that can."""
        if not head:
            return "an empty file"
        if (refusal := self.refusal(head)) is not None:
            return refusal
        return None if self.sniff(head) else f"not {self.with_article}: it does not begin like one"

    @cached_property
    def is_searched(self) -> bool:
        """Whether one of its formats may begin behind other bytes."""
        return any(one.find for one in self.formats)

    def find_beginning(self, read: Callable[[int, int], bytes], size: int) -> int | None:
        """Where one of its formats begins in a file that begins like nothing known; None where none does."""
        for find in (_resolved(one.find) for one in self.formats if one.find):
            if (place := find(read, size)) is not None:
                return int(place)
        return None

    def kept_suffix(self, usual: str, own: str) -> str:
        """Of a file that begins like one with the suffix `usual`: its `own` if it fits the content, else the usual."""
        fits = any(usual == one.suffix and own in one.suffixes for one in self.formats)
        return own if fits else usual

    def part(self, name: str) -> Any:
        """The object behind one of the parts, imported if it is named; None where the modality has no such part."""
        return _resolved(getattr(self, name))


def _resolved(part: Any) -> Any:
    """The object that a name "package.module:object" stands for; anything else as it is."""
    if not isinstance(part, str):
        return part
    module, _, attribute = part.partition(":")
    return getattr(importlib.import_module(module, __package__), attribute)


_table: dict[str, Modality] = {}


def register(modality: Modality) -> None:
    """Add a modality, or replace the one of this name."""
    _table[modality.name] = modality


def unregister(name: str) -> None:
    """Remove a modality, if there is one of this name."""
    _table.pop(name, None)


def modalities() -> tuple[Modality, ...]:
    """All modalities, in the order in which they were registered."""
    return tuple(_table.values())


def packed_modalities() -> tuple[Modality, ...]:
    """Those that can be packed."""
    return tuple(modality for modality in modalities() if modality.packing is not None)


def find_modality(name: str) -> Modality:
    """The modality of a name. Raises `ValueError` for one that is not registered."""
    if not isinstance(name, str) or name not in _table:
        raise ValueError(f"modality is {name!r}; it must be one of {', '.join(map(repr, _table))}.")
    return _table[name]


register(
    Modality(
        name="image",
        noun="image",
        formats=(
            Format("jpg", rb"\xff\xd8\xff", also=("jpeg", "jpe", "jfif")),
            Format("png", rb"\x89PNG\r\n\x1a\n"),
            Format("webp", rb"RIFF....WEBP"),
            Format("gif", rb"GIF8"),
            Format(
                "bmp", rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0"
            ),  # whatever stands in its reserved bytes
            Format("tif", rb"II[*+]\0|MM\0[*+]", also=("tiff",)),
            Format("ppm", rb"P[36]\s", also=("pnm",)),
            Format("pgm", rb"P[25]\s", also=("pnm",)),
            Format("pbm", rb"P[14]\s", also=("pnm",)),
            Format("jp2", rb"\0\0\0\x0cjP  ", also=("jpx",)),
            Format("j2k", rb"\xff\x4f\xff\x51", also=("j2c", "jpc")),
            Format("avif", rb"....ftyp(avi[fs]|(mif1|msf1|miaf)....(....){0,2}avi[fs])"),
            Format(
                "jxl",
                rb"\0\0\0\x0cJXL ",
                refused="a JPEG XL picture, which cannot be read: convert it to JPEG",
            ),
            Format(
                "heic",
                rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)",
                also=("heif",),
                refused="a HEIF picture, which cannot be read: convert it to JPEG",
            ),
        ),
        packing=".sharding.modalities.image:ImageSettings",
        add_arguments=".sharding.modalities.image_arguments:add_arguments",
        iterator=".iterators.image:ImageIterator",
        trial_settings={"size": 32, "crop": "random", "flip": True},
        make_samples=".samples.scenes:make_sample_data",
        sample_defaults={"num": 600, "size": 128},
        draw_cells=".show_batch.image_cells:image_cells",
    )
)
register(
    Modality(
        name="audio",
        noun="recording",
        step="sample",
        piece="segment",
        formats=(
            Format("wav", rb"(RIFF|RF64|RIFX|BW64)....WAVE", also=("wave",)),
            Format("flac", rb"fLaC"),
            Format("ogg", rb"OggS", also=("oga", "opus")),
            Format("mp3", rb"ID3|\xff[\xe2\xe3\xea\xeb\xf2\xf3\xfa\xfb]", find=".decode.audio.mp3:first_frame"),
            Format(
                "m4a",
                rb"....ftypM4[AB] ",
                also=("aac", "m4b"),
                refused="an AAC recording, which cannot be read: convert it to flac",
            ),
            Format("aiff", rb"FORM....AIF[FC]", also=("aif", "aifc")),
            Format("au", rb"\.snd", also=("snd",)),
            Format("caf", rb"caff\0\x01"),
            Format("w64", rb"riff\x2e\x91\xcf\x11"),
            Format("sph", rb"NIST_1A\n", also=("nist",)),
        ),
        rate_unit="Hz",
        rate_setting="sample_rate",
        packing=".sharding.modalities.audio:AudioSettings",
        add_arguments=".sharding.modalities.audio_arguments:add_arguments",
        iterator=".iterators.audio:AudioIterator",
        trial_settings={"window": 4096, "random_offset": True},
        make_samples=".samples.sounds:make_sample_sounds",
        sample_defaults={"num": 60},
        draw_cells=".show_batch.audio_cells:audio_cells",
    )
)
register(
    Modality(
        name="video",
        noun="video",
        piece="segment",
        formats=(
            Format(
                "mp4",
                rb"....ftyp(?!heic|heix|heim|heis|hevc|hevx|mif1|msf1|avif|avis|M4A |M4B )"
                rb"|\0...(moov|wide|skip|free|pnot)|[\0-\x1f]...mdat",
                also=("m4v", "mov", "qt", "3gp"),
            ),
            Format("mkv", rb"\x1aE\xdf\xa3", also=("webm",)),
            Format("avi", rb"RIFF....AVI "),
            Format(
                "ts",  # a packet with the table of programmes or of services, also behind the four bytes of m2ts
                rb"(....)?G[\x40\x60][\x00\x11][\x10-\x1f\x30-\x3f]",
                also=("mts", "m2ts"),
                find=".decode.video.mpegts:first_table",
            ),
            Format("mpg", rb"\0\0\x01\xba", also=("mpeg", "vob")),
            Format(
                "wmv",
                rb"0&\xb2u\x8ef\xcf\x11",
                also=("asf",),
                refused="a Windows Media file, which cannot be read: convert it to mp4",
            ),
            Format("flv", rb"FLV\x01", refused="a Flash video, which cannot be read: convert it to mp4"),
        ),
        rate_unit="frames per second",
        rate_setting="fps",
        packing=".sharding.modalities.video:VideoSettings",
        add_arguments=".sharding.modalities.video_arguments:add_arguments",
        explain=".sharding.modalities.video_explaining:explain_videos",
        iterator=".iterators.video:VideoIterator",
        trial_settings={"clip_frames": 4, "size": 32, "random_offset": True, "flip": True},
        make_samples=".samples.clips:make_sample_clips",
        sample_defaults={"num": 40, "size": 96},
        draw_cells=".show_batch.video_cells:video_cells",
    )
)
