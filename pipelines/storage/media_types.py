"""Telling media formats apart: by what a file begins with, and by the suffixes people use."""

from __future__ import annotations

import os

__all__ = ["MEDIA_SUFFIXES", "SIDECAR_SUFFIXES", "is_media_name", "media_suffix", "sniff", "sniff_file"]

_IMAGE_SUFFIXES = "jpg jpeg jpe jfif png webp gif bmp tif tiff ppm pgm pnm jp2 avif"
_AUDIO_SUFFIXES = "wav wave flac ogg oga opus mp3 m4a aif aiff"
_VIDEO_SUFFIXES = "mp4 m4v mkv webm mov avi mpg mpeg ts"
MEDIA_SUFFIXES = {
    "image": frozenset(_IMAGE_SUFFIXES.split()),
    "audio": frozenset(_AUDIO_SUFFIXES.split()),
    "video": frozenset(_VIDEO_SUFFIXES.split()),
}
SIDECAR_SUFFIXES = frozenset(("json", "txt", "cls", "npy"))
"""Files that are packed and read as fields of the media file of the same stem."""

SNIFF_BYTES = 32


def sniff(head: bytes) -> tuple[str, str] | None:
    """The (modality, usual suffix) of a file from its first 32 bytes, or None for anything else."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] in (b"RIFF", b"RF64", b"RIFX", b"BW64"):
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "audio", "aiff"
    if head[:3] == b"BM" + head[2:3] and head[6:10] == b"\0\0\0\0":
        return "image", "bmp"
    if head[4:8] == b"ftyp":
        return _FTYP.get(head[8:12], ("video", "mp4"))
    if head[:1] == b"P" and head[1:2] in (b"5", b"6") and head[2:3].isspace():
        return "image", "pgm" if head[1:2] == b"5" else "ppm"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:
        return "audio", "mp3"
    return None


_MAGIC = (
    (b"\xff\xd8\xff", ("image", "jpg")),
    (b"\x89PNG\r\n\x1a\n", ("image", "png")),
    (b"GIF8", ("image", "gif")),
    (b"II*\0", ("image", "tif")),
    (b"MM\0*", ("image", "tif")),
    (b"\0\0\0\x0cjP  ", ("image", "jp2")),
    (b"fLaC", ("audio", "flac")),
    (b"OggS", ("audio", "ogg")),
    (b"ID3", ("audio", "mp3")),
    (b"\x1aE\xdf\xa3", ("video", "mkv")),
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_FTYP: dict[bytes, tuple[str, str] | None] = {
    b"avif": ("image", "avif"),
    b"avis": ("image", "avif"),
    b"M4A ": ("audio", "m4a"),
    b"M4B ": ("audio", "m4a"),
    **dict.fromkeys(_HEIF_BRANDS),  # pictures, but none that can be decoded here
}
_RIFF = {b"WEBP": ("image", "webp"), b"WAVE": ("audio", "wav"), b"AVI ": ("video", "avi")}


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
    return media_suffix(name) in MEDIA_SUFFIXES[modality]
