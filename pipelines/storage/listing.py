"""What a folder holds: its media files of each modality, their sidecar files, what cannot be read and why.

File formats are detected from the content, not from the name. A file that begins like an image is one, whatever its
name. A file that is named like an image and does not begin like any known format is a failure when it is packed
(`list_folder`), and an example that cannot be decoded when a folder is played (`list_examples`). `.json`, `.txt`,
`.cls` and `.npy` files belong to the media file of the same stem (`a.json` and `a.f0.npy` to `a.wav`); everything
else is counted as skipped.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from ..errors import SourceError
from ..modality import find_modality, modalities, packed_modalities
from .keys import KeyMaker
from .media_types import SIDECAR_SUFFIXES, is_media_name, media_suffix, read_head, sniff
from .plain_files import system_path
from .sidecars import Sidecars, stem_of
from .walk import Failure, WalkedFile, walk

__all__ = ["Contents", "Examples", "Listing", "SourceFile", "list_examples", "list_folder", "modality_folders"]

SNIFF_THREADS = 16
SNIFF_CHUNK = 512


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
    """The media files of one modality and the failures among them, sorted by path."""

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
    """A listing for each modality that was asked for, the number of files passed over, and of those of others."""

    listings: dict[str, Listing]
    skipped: int
    other_media: dict[str, int]


@dataclass(frozen=True)
class Examples:
    """The files of one modality, sorted by path, as a folder plays them, and their keys; how many others hold."""

    files: list[SourceFile]
    keys: list[str]
    other_media: dict[str, int]
    unreadable_folders: list[Failure]


def list_folder(source: Path, wanted: Collection[str], *, exclude: Collection[Path] = ()) -> Contents:
    """Everything below a folder that is of one of the `wanted` modalities; a copy gives the same listings.

    Symbolic links are followed, each folder is entered once, hidden files and the folders `exclude` are passed
    over.
    """
    walked = walk(source, modalities=wanted, exclude=exclude)
    found, listings, others, skipped = [], {name: Listing([], []) for name in wanted}, Counter[str](), 0
    stems = set[str]()
    for file, head, detected in _detected(source, walked.files):
        stems.update([stem_of(file.path)] if detected else [])
        if detected and detected.modality in wanted:
            found.append((file, detected))
        elif failure := next(_failures(file, head, detected, wanted), None):
            listings[failure[0]].failures.append(failure[1])
        else:
            skipped += 1
            others.update([detected.modality] if detected else [])
    sidecars = Sidecars(walked.files, stems)
    own = {stem_of(file.path) for file, _ in found}
    skipped += sum(len(sidecars.of(stem)) for stem in stems - own)
    for file, detected in found:
        listings[detected.modality].files.append(_source_file(file, detected, sidecars))
    for name, listing in listings.items():
        listing.files.sort(key=lambda file: file.path)
        listing.failures.extend(walked.unreadable_folders)
        listing.failures.extend(failure for modality, failure in walked.unusable if modality in (name, None))
        listing.failures.sort()
    return Contents(listings, skipped + sidecars.unused, dict(others))


def list_examples(source: Path, modality: str) -> Examples:
    """The files below a folder that are examples of a modality, with the keys that packing gives them.

    They are the files that `list_folder` finds, and those that are named like one, or are of a format that cannot be
    read; these raise the decoder's error when they are read, and get their keys last.
    """
    names = [one.name for one in modalities()]
    walked = walk(source, modalities=())
    found, others = list[SourceFile](), Counter[str]()
    failing, readable, stems = list[WalkedFile](), list[tuple[WalkedFile, Detected]](), set[str]()
    for file, head, detected in _detected(source, walked.files):
        stems.update([stem_of(file.path)] if detected else [])
        if detected and detected.modality == modality:
            readable.append((file, detected))
        elif detected:
            others[detected.modality] += 1
        elif expected := _expected(file, head, (modality, *names)):
            if expected == modality:
                failing.append(file)
            else:
                others[expected] += 1
    sidecars = Sidecars(walked.files, stems)
    found = sorted((_source_file(file, detected, sidecars) for file, detected in readable), key=_path_of)
    refused = sorted((SourceFile(*file, media_suffix(file.path)) for file in failing), key=_path_of)
    maker = KeyMaker()
    keys = {file.path: maker.key(file.path) for file in (*found, *refused)}
    files = sorted([*found, *refused], key=_path_of)
    held = {name: others[name] for name in names if others[name]}
    return Examples(files, [keys[file.path] for file in files], held, walked.unreadable_folders)


def _path_of(file: SourceFile) -> str:
    return file.path


def _expected(file: WalkedFile, head: bytes | str, wanted: Collection[str]) -> str | None:
    """The modality that a file of no readable format should be of, by its content or its name."""
    for name in wanted:
        if isinstance(head, bytes) and find_modality(name).refusal(head) is not None:
            return name
    for name in wanted:
        if is_media_name(file.path, name) or media_suffix(file.path) in find_modality(name).refused_suffixes:
            return name
    return None


def modality_folders(folder: Path) -> list[str]:
    """The modalities a folder has a folder each for; empty for any other folder. Raises `SourceError`."""
    try:
        visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
        names = sorted(path.name for path in visible if path.is_dir())
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read ({error.strerror}).") from error
    known, packed = [one.name for one in modalities()], [one.name for one in packed_modalities()]
    has_media = any(is_media_name(path.name, name) for path in visible for name in packed)
    return names if all(name in known for name in names) and not has_media else []


class Detected(NamedTuple):
    """What a file was found to be: its modality, and the usual suffix of its format."""

    modality: str
    suffix: str


def _detected(
    source: Path, files: Sequence[WalkedFile]
) -> Iterator[tuple[WalkedFile, bytes | str, Detected | None]]:
    """Each file that may be media, its first bytes or why they cannot be read, and what it is by them."""
    candidates = [file for file in files if media_suffix(file.path) not in SIDECAR_SUFFIXES]
    for file, head in zip(candidates, _read_heads(source, candidates), strict=True):
        found = sniff(head) if isinstance(head, bytes) else None
        yield file, head, Detected(*found) if found else None


def _read_heads(source: Path, files: Sequence[WalkedFile]) -> list[bytes | str]:
    """The first bytes of each file, or why they could not be read; threads hide the latency of network disks."""

    def read_chunk(start: int) -> list[bytes | str]:
        return [_read_head(system_path(source, file.path)) for file in files[start : start + SNIFF_CHUNK]]

    with ThreadPoolExecutor(SNIFF_THREADS) as threads:
        return list(chain.from_iterable(threads.map(read_chunk, range(0, len(files), SNIFF_CHUNK))))


def _read_head(path: str) -> bytes | str:
    try:
        return read_head(path)
    except OSError as error:
        return error.strerror or type(error).__name__


def _failures(
    file: WalkedFile, head: bytes | str, found: Detected | None, wanted: Collection[str]
) -> Iterator[tuple[str, Failure]]:
    """For each modality that a file should be of, by its name or its content, why it is not."""
    for name in wanted:
        modality = find_modality(name)
        refusal = modality.refusal(head) if isinstance(head, bytes) else None
        if refusal is None and media_suffix(file.path) not in (*modality.suffixes, *modality.refused_suffixes):
            continue
        if isinstance(head, str):
            refusal = f"cannot be read ({head})"
        elif not head:
            refusal = "an empty file"
        elif refusal is None:
            wrong = f" but {found.modality}" if found else ": it does not begin like one"
            refusal = f"not {modality.with_article}{wrong}"
        yield name, Failure(file.path, refusal)


def _source_file(file: WalkedFile, detected: Detected, sidecars: Sidecars) -> SourceFile:
    """With the file's own suffix where it fits the content (webdataset decodes by suffix), else the usual one."""
    suffix = find_modality(detected.modality).kept_suffix(detected.suffix, media_suffix(file.path))
    return SourceFile(file.path, file.size, suffix, sidecars.of(stem_of(file.path)))


def _line(entry: list[object]) -> bytes:
    return json.dumps(entry, separators=(",", ":")).encode("ascii") + b"\n"
