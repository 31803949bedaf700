"""What a folder holds: its images, their sidecar files, what cannot be packed and why.

Formats are told by content. A file that begins like an image is one, whatever it is called; a file that is
called like an image and does not begin like one is a failure; `.json`, `.txt`, `.cls` and `.npy` files belong
to the image of the same stem; everything else is counted as skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ..formats import MEDIA_SUFFIXES, is_media_name, media_suffix, sniff
from .walk import Failure, WalkedFile, walk

__all__ = ["SIDECAR_SUFFIXES", "Listing", "SourceImage", "list_images"]

SIDECAR_SUFFIXES = frozenset(("cls", "json", "npy", "txt"))
HEAD_BYTES = 32
SNIFF_THREADS = 16
SNIFF_CHUNK = 512
HEIF_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
SAME_FORMAT = {"jpg": ("jpeg", "jpe", "jfif"), "tif": ("tiff",), "ppm": ("pnm",), "pgm": ("pnm",)}


@dataclass(frozen=True, slots=True)
class SourceImage:
    """An image of the listing: path below the source, bytes, suffix in the tar, sidecars as (suffix, bytes)."""

    path: str
    size: int
    suffix: str
    sidecars: tuple[tuple[str, int], ...] = ()

    @property
    def stem(self) -> str:
        """The path without its last suffix: what sidecars share with it."""
        return stem_of(self.path)

    @property
    def all_bytes(self) -> int:
        """Bytes of the image and its sidecars."""
        return self.size + sum(size for _, size in self.sidecars)


@dataclass(frozen=True)
class Listing:
    """Images and failures sorted by path, the number of files passed over, and of those that are other media."""

    images: list[SourceImage]
    failures: list[Failure]
    skipped: int
    other_media: dict[str, int]

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over every path and size, and over what cannot be packed; no times of change."""
        digest = hashlib.sha256()
        for image in self.images:
            digest.update(_line([image.path, image.size, image.suffix, *image.sidecars]))
        for failure in self.failures:
            digest.update(_line([failure.path, failure.reason]))
        return digest.hexdigest()[:32]


def list_images(source: Path, *, exclude: Path | None = None) -> Listing:
    """Everything below a folder, told apart by content; a copy of it gives the same listing.

    Symbolic links are followed, each folder is entered once, hidden files and the folder `exclude` are passed
    over.
    """
    files, failures = walk(source, exclude=exclude)
    sidecars = _sidecars(files)
    candidates = [file for file in files if media_suffix(file.path) not in SIDECAR_SUFFIXES]
    images, used, others, skipped = [], set[str](), Counter[str](), 0
    for file, head in zip(candidates, _read_heads(source, candidates), strict=True):
        found = sniff(head) if isinstance(head, bytes) else None
        if found and found[0] == "image":
            stem = stem_of(file.path)
            own = sidecars.get(stem, [])
            if own:
                used.add(stem)
            images.append(SourceImage(file.path, file.size, _suffix_in_tar(file.path, found[1]), tuple(own)))
        elif reason := _failure_reason(file, head, found):
            failures.append(Failure(file.path, reason))
        else:
            skipped += 1
            others.update([found[0]] if found else [])
    skipped += sum(len(own) for stem, own in sidecars.items() if stem not in used)
    images.sort(key=lambda image: image.path)
    return Listing(images, sorted(failures), skipped, dict(others))


def stem_of(path: str) -> str:
    """A path without its last suffix."""
    slash, dot = path.rfind("/"), path.rfind(".")
    return path[:dot] if dot > slash + 1 else path


def _sidecars(files: Sequence[WalkedFile]) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for file in sorted(files):
        if media_suffix(file.path) in SIDECAR_SUFFIXES:
            suffix = file.path.rsplit(".", 1)[-1]
            own = found.setdefault(stem_of(file.path), [])
            if suffix.lower() not in {name.lower() for name, _ in own}:
                own.append((suffix, file.size))
    return found


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
            return os.read(handle, HEAD_BYTES)
        finally:
            os.close(handle)
    except OSError as error:
        return error.strerror or type(error).__name__


def _failure_reason(file: WalkedFile, head: bytes | str, found: tuple[str, str] | None) -> str:
    """Why a file that should be an image is none; empty for one that nobody would take for an image."""
    is_named_image = is_media_name(file.path, "image") or media_suffix(file.path) in ("heic", "heif")
    if isinstance(head, bytes) and head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        return "a HEIF picture, which cannot be read: convert it to JPEG"
    if not is_named_image:
        return ""
    if isinstance(head, str):
        return f"cannot be read ({head})"
    if not head:
        return "an empty file"
    return f"not an image but {found[0]}" if found else "not an image: it does not begin like one"


def _suffix_in_tar(path: str, by_content: str) -> str:
    """The file's own suffix where it fits the content (webdataset decodes by suffix), else the usual one."""
    own = media_suffix(path)
    is_same = own in SAME_FORMAT.get(by_content, ()) and own in MEDIA_SUFFIXES["image"]
    return own if is_same else by_content


def _line(parts: list[object]) -> bytes:
    return json.dumps(parts, separators=(",", ":")).encode("ascii") + b"\n"
