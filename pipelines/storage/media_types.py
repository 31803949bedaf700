"""Telling media types apart: by the table of modalities, from what a file begins with and from its suffix."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache, partial

from ..modality import HEAD_BYTES, Modality, find_modality, modalities
from .plain_files import open_plain

__all__ = [
    "SIDECAR_SUFFIXES",
    "head_within",
    "is_media_name",
    "media_names",
    "media_suffix",
    "read_head",
    "searched_names",
    "sniff",
    "sniff_file",
]

SIDECAR_SUFFIXES = frozenset(("json", "txt", "cls", "npy"))
"""Files that are packed and read as fields of the media file of the same stem."""

ID3_HEADER_BYTES = 10


def sniff(head: bytes) -> tuple[str, str] | None:
    """The (modality, usual suffix) of a file from its first 32 bytes, or None for anything else."""
    for is_one, modality, suffix in _formats(modalities()):
        if is_one(head):
            return modality, suffix
    return None


@lru_cache(maxsize=4)
def _formats(known: tuple[Modality, ...]) -> list[tuple[Callable[[bytes], bool], str, str]]:
    """Of each format that can be read: the test of first bytes, its modality and its usual suffix."""
    return [
        (one.matches, modality.name, one.suffix)
        for modality in known
        for one in modality.formats
        if not one.refused
    ]


def sniff_file(path: str | os.PathLike[str]) -> str | None:
    """The modality of a file; None for one that begins like no format of any, or cannot be read."""
    try:
        found = sniff(read_head(path))
    except OSError:
        return None
    return found[0] if found else None


def read_head(path: str | os.PathLike[str]) -> bytes:
    """What tells the format of a file: its first 32 bytes, or those of a flac behind an ID3v2 tag.

    Where it begins like nothing known, those where a format of the modality it is named like is found in it
    (`Format.find`). Raises `OSError`.
    """
    handle = open_plain(path)
    try:
        head = os.read(handle, HEAD_BYTES)
        return head_within(os.fspath(path), head, partial(_pread, handle), lambda: os.fstat(handle).st_size)
    finally:
        os.close(handle)


def _pread(handle: int, offset: int, length: int) -> bytes:
    return os.pread(handle, length, offset)


def head_within(name: str, head: bytes, read: Callable[[int, int], bytes], size: Callable[[], int]) -> bytes:
    """What tells the format of a file that begins with `head`, as `read_head` has it; `read(offset, length)` reads it.

    Raises what `read` and `size` raise, which are called for few files.
    """
    searched = _modality_to_search(media_suffix(name))
    if searched is not None and head and sniff(head) is None:
        place = searched.find_beginning(read, size())
        return head if place is None else read(place, HEAD_BYTES) or head
    if head[:3] != b"ID3" or len(head) < ID3_HEADER_BYTES:
        return head
    tag_bytes = sum((byte & 127) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    behind = read(ID3_HEADER_BYTES + tag_bytes, HEAD_BYTES)
    return behind if behind[:4] == b"fLaC" else head


def _modality_to_search(suffix: str) -> Modality | None:
    """The modality whose files have this suffix, if one of its formats may begin behind other bytes."""
    return _searched_suffixes(modalities()).get(suffix)


def searched_names() -> frozenset[tuple[str, str]]:
    """The suffixes of files that are searched, each with the name of its search function.

    Two processes with equal sets read the same first bytes of every file.
    """
    return frozenset(
        (suffix, one.find if isinstance(one.find, str) else f"{one.find.__module__}:{one.find.__qualname__}")
        for modality in modalities()
        for one in modality.formats
        if one.find
        for suffix in modality.suffixes
    )


@lru_cache(maxsize=4)
def _searched_suffixes(known: tuple[Modality, ...]) -> dict[str, Modality]:
    searched = reversed([modality for modality in known if modality.is_searched])
    return {suffix: modality for modality in searched for suffix in modality.suffixes}


def media_suffix(name: str) -> str:
    """The last suffix of a name, in lower case and without its dot; empty if missing."""
    _, dot, suffix = name.rpartition(".")
    return suffix.lower() if dot and "/" not in suffix else ""


def is_media_name(name: str, modality: str) -> bool:
    """Whether a name ends like files of this modality do."""
    return media_suffix(name) in find_modality(modality).suffixes


def media_names() -> frozenset[str]:
    """The suffixes of the files of all modalities."""
    return _suffixes_of(modalities())


@lru_cache(maxsize=4)
def _suffixes_of(known: tuple[Modality, ...]) -> frozenset[str]:
    return frozenset(suffix for modality in known for suffix in modality.suffixes)
