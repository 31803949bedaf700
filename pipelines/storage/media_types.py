"""Telling media types apart: by what a file begins with, and by the suffixes people use."""

from __future__ import annotations

import os
from functools import lru_cache

from ..modality import Modality, find_modality, modalities

__all__ = [
    "HEIF_BRANDS",
    "SIDECAR_SUFFIXES",
    "SNIFF_BYTES",
    "is_media_name",
    "media_names",
    "media_suffix",
    "sniff",
    "sniff_audio",
    "sniff_file",
    "sniff_image",
    "sniff_video",
]

SIDECAR_SUFFIXES = frozenset(("json", "txt", "cls", "npy"))
"""Files that are packed and read as fields of the media file of the same stem."""

SNIFF_BYTES = 32

IMAGE_MAGIC = {
    b"\xff\xd8\xff": "jpg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"GIF8": "gif",
    b"II*\0": "tif",
    b"MM\0*": "tif",
    b"\0\0\0\x0cjP  ": "jp2",
}
AUDIO_MAGIC = {b"fLaC": "flac", b"OggS": "ogg", b"ID3": "mp3"}
VIDEO_MAGIC = {b"\x1aE\xdf\xa3": "mkv"}
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
"""Pictures that cannot be decoded here."""
STILL_OR_SOUND_BRANDS = HEIF_BRANDS | {b"avif", b"avis", b"M4A ", b"M4B "}


def sniff(head: bytes) -> tuple[str, str] | None:
    """The (modality, usual suffix) of a file from its first 32 bytes, or None for anything else."""
    for modality in modalities():
        suffix = modality.part("sniff")(head)
        if suffix is not None:
            return modality.name, suffix
    return None


def sniff_image(head: bytes) -> str | None:
    """The usual suffix of a picture that begins so, None for anything else."""
    if head[:4] == b"RIFF":
        return "webp" if head[8:12] == b"WEBP" else None
    if head[:3] == b"BM" + head[2:3] and head[6:10] == b"\0\0\0\0":
        return "bmp"
    if head[4:8] == b"ftyp":
        return "avif" if head[8:12] in (b"avif", b"avis") else None
    if head[:1] == b"P" and head[1:2] in (b"5", b"6") and head[2:3].isspace():
        return "pgm" if head[1:2] == b"5" else "ppm"
    return _suffix_by_magic(head, IMAGE_MAGIC)


def sniff_audio(head: bytes) -> str | None:
    """The usual suffix of a recording that begins so, None for anything else."""
    if head[:4] in (b"RIFF", b"RF64", b"RIFX", b"BW64"):
        return "wav" if head[8:12] == b"WAVE" else None
    if head[:4] == b"FORM":
        return "aiff" if head[8:12] in (b"AIFF", b"AIFC") else None
    if head[4:8] == b"ftyp":
        return "m4a" if head[8:12] in (b"M4A ", b"M4B ") else None
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:
        return "mp3"
    return _suffix_by_magic(head, AUDIO_MAGIC)


def sniff_video(head: bytes) -> str | None:
    """The usual suffix of a video that begins so, None for anything else."""
    if head[:4] == b"RIFF":
        return "avi" if head[8:12] == b"AVI " else None
    if head[4:8] == b"ftyp":
        return None if head[8:12] in STILL_OR_SOUND_BRANDS else "mp4"
    return _suffix_by_magic(head, VIDEO_MAGIC)


def _suffix_by_magic(head: bytes, magic: dict[bytes, str]) -> str | None:
    return next((suffix for begin, suffix in magic.items() if head.startswith(begin)), None)


def sniff_file(path: str | os.PathLike[str]) -> str | None:
    """The modality of a file, or None where its beginning tells of none or cannot be read."""
    try:
        with open(path, "rb") as file:
            found = sniff(file.read(SNIFF_BYTES))
    except OSError:
        return None
    return found[0] if found else None


def media_suffix(name: str) -> str:
    """The last suffix of a name, in lower case and without its dot; empty where there is none."""
    base = name.rsplit("/", 1)[-1]
    return base.rsplit(".", 1)[-1].lower() if "." in base else ""


def is_media_name(name: str, modality: str) -> bool:
    """Whether a name ends like files of this modality do."""
    return media_suffix(name) in find_modality(modality).suffixes


def media_names() -> frozenset[str]:
    """The suffixes of the files of all modalities."""
    return _suffixes_of(modalities())


@lru_cache(maxsize=4)
def _suffixes_of(known: tuple[Modality, ...]) -> frozenset[str]:
    return frozenset(suffix for modality in known for suffix in modality.suffixes)
