"""What a folder holds: its media files of each kind, their sidecar files, what cannot be packed and why.

Formats are told by content. A file that begins like an image is one, whatever it is called; a file that is
called like an image and does not begin like one is a failure; so it is with recordings. `.json`, `.txt`, `.cls`
and `.npy` files belong to the media file of the same stem (`a.json` and `a.f0.npy` to `a.wav`); everything else
is counted as skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ..modality import find_modality
from .media_types import HEIF_BRANDS, SIDECAR_SUFFIXES, SNIFF_BYTES, is_media_name, media_suffix, sniff
from .sidecars import Sidecars, stem_of
from .walk import Failure, WalkedFile, walk

__all__ = ["Contents", "Listing", "SourceFile", "list_folder"]

SNIFF_THREADS = 16
SNIFF_CHUNK = 512
SAME_FORMAT = {
    "jpg": ("jpeg", "jpe", "jfif"),
    "tif": ("tiff",),
    "ppm": ("pnm",),
    "pgm": ("pnm",),
    "wav": ("wave",),
    "ogg": ("oga", "opus"),
    "aiff": ("aif",),
}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A media file of the listing: path below the source, bytes, suffix in the tar, sidecars as (suffix, bytes)."""

    path: str
    size: int
    suffix: str
    sidecars: tuple[tuple[str, int], ...] = ()

    @property
    def stem(self) -> str:
        """The path without its last suffix: what sidecars share with it."""
        return stem_of(self.path)


@dataclass(frozen=True)
class Listing:
    """The media files of one kind and the failures among them, sorted by path."""

    files: list[SourceFile]
    failures: list[Failure]

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over every path and size, and over what cannot be packed; no times of change."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(_line([file.path, file.size, file.suffix, *file.sidecars]))
        for failure in self.failures:
            digest.update(_line([failure.path, failure.reason]))
        return digest.hexdigest()[:32]


@dataclass(frozen=True)
class Contents:
    """A listing for each kind that was asked for, the number of files passed over, and of those of other kinds."""

    listings: dict[str, Listing]
    skipped: int
    other_media: dict[str, int]


def list_folder(source: Path, kinds: Collection[str], *, exclude: Collection[Path] = ()) -> Contents:
    """Everything below a folder that is of one of the `kinds` ("image", "audio"); a copy gives the same listings.

    Symbolic links are followed, each folder is entered once, hidden files and the folders `exclude` are passed
    over.
    """
    walked, failures = walk(source, kinds=kinds, exclude=exclude)
    candidates = [file for file in walked if media_suffix(file.path) not in SIDECAR_SUFFIXES]
    found, listings, others, skipped = [], {kind: Listing([], []) for kind in kinds}, Counter[str](), 0
    for file, head in zip(candidates, _read_heads(source, candidates), strict=True):
        format_ = sniff(head) if isinstance(head, bytes) else None
        if format_ and format_[0] in kinds:
            found.append((file, *format_))
            continue
        for kind in kinds:
            if reason := _failure_reason(kind, file, head, format_):
                listings[kind].failures.append(Failure(file.path, reason))
                break
        else:
            skipped += 1
            others.update([format_[0]] if format_ else [])
    sidecars = Sidecars(walked, {stem_of(file.path) for file, _, _ in found})
    for file, kind, by_content in found:
        own = sidecars.of(stem_of(file.path))
        listings[kind].files.append(SourceFile(file.path, file.size, _suffix_in_tar(kind, file, by_content), own))
    for kind, listing in listings.items():
        listing.files.sort(key=lambda file: file.path)
        listing.failures.extend(failure for kind_of, failure in failures if kind_of in (kind, None))
        listing.failures.sort()
    return Contents(listings, skipped + sidecars.unused, dict(others))


def _read_heads(source: Path, files: Sequence[WalkedFile]) -> list[bytes | str]:
    """The first bytes of each file, or why they could not be read; threads hide the latency of network disks."""

    def read_chunk(start: int) -> list[bytes | str]:
        return [_read_head(source / file.path) for file in files[start : start + SNIFF_CHUNK]]

    with ThreadPoolExecutor(SNIFF_THREADS) as threads:
        return list(chain.from_iterable(threads.map(read_chunk, range(0, len(files), SNIFF_CHUNK))))


def _read_head(path: Path) -> bytes | str:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(handle, SNIFF_BYTES)
        finally:
            os.close(handle)
    except OSError as error:
        return error.strerror or type(error).__name__


def _failure_reason(kind: str, file: WalkedFile, head: bytes | str, found: tuple[str, str] | None) -> str:
    """Why a file that should be of a kind is not; empty for one that nobody would take for such."""
    is_heif = isinstance(head, bytes) and head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS
    if kind == "image" and is_heif:
        return "a HEIF picture, which cannot be read: convert it to JPEG"
    is_named_so = is_media_name(file.path, kind)
    if not is_named_so and not (kind == "image" and media_suffix(file.path) in ("heic", "heif")):
        return ""
    if isinstance(head, str):
        return f"cannot be read ({head})"
    if not head:
        return "an empty file"
    wanted = find_modality(kind).with_article
    return f"not {wanted} but {found[0]}" if found else f"not {wanted}: it does not begin like one"


def _suffix_in_tar(kind: str, file: WalkedFile, by_content: str) -> str:
    """The file's own suffix where it fits the content (webdataset decodes by suffix), else the usual one."""
    own = media_suffix(file.path)
    is_same = own in SAME_FORMAT.get(by_content, ()) and own in find_modality(kind).suffixes
    return own if is_same else by_content


def _line(parts: list[object]) -> bytes:
    return json.dumps(parts, separators=(",", ":")).encode("ascii") + b"\n"
