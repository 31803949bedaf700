"""What a folder holds: its media files of each modality, their sidecar files, what cannot be read and why.

File formats are detected from the content, not from the name. A file that begins like an image is one, whatever its
name. A file that is named like an image and does not begin like any known format is a failure when it is packed
(`list_folder`), and an example that cannot be decoded when a folder is played (`list_examples`). `.json`, `.txt`,
`.cls` and `.npy` files belong to the media file of the same stem (`a.json` and `a.f0.npy` to `a.wav`); everything
else is counted as skipped.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring_ascii as json_text
from pathlib import Path

import numpy as np

from ..errors import SourceError
from ..modality import find_modality, modalities, packed_modalities
from .detected_files import Detected, DetectedFiles, NotWanted
from .heads import HeadReader, LocalHeads
from .key_column import KeyColumn
from .media_types import is_media_name, media_suffix
from .row_sequence import batches
from .source_files import SourceFile, SourceFiles
from .walk import Failure, Walk, walk

__all__ = [
    "Contents",
    "Examples",
    "Listing",
    "SourceFile",
    "list_examples",
    "list_folder",
    "list_walked",
    "modality_folders",
]


@dataclass(frozen=True)
class Listing:
    """The media files of one modality and the failures among them, sorted by path."""

    files: Sequence[SourceFile]
    failures: list[Failure]

    @cached_property
    def columns(self) -> SourceFiles:
        """The files in columns."""
        return SourceFiles.of(self.files)

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits over every path and size, and over what cannot be packed; no times of change."""
        digest = hashlib.sha256()
        for start, stop in batches(len(self.files)):
            lines = [
                f"[{json_text(path)},{size},{json_text(suffix)}{''.join(map(_pair, sidecars))}]\n"
                for path, size, suffix, sidecars in self.columns.columns(start, stop)
            ]
            digest.update("".join(lines).encode("ascii"))
        for path, reason in self.failures:
            digest.update(f"[{json_text(path)},{json_text(reason)}]\n".encode("ascii"))
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

    files: SourceFiles
    keys: Sequence[str]
    other_media: dict[str, int]
    unreadable_folders: list[Failure]


def list_folder(
    source: Path,
    wanted: Collection[str],
    *,
    exclude: Collection[Path] = (),
    heads: Callable[[Path], AbstractContextManager[HeadReader]] = LocalHeads,
) -> Contents:
    """Everything below a folder that is of one of the `wanted` modalities; a copy gives the same listings.

    Symbolic links are followed, each folder is entered once, hidden files and the folders `exclude` are passed
    over. `heads` makes the reader of what files begin with. Peak memory: about 150 bytes for each file, besides the
    paths.
    """
    walked = walk(source, modalities=wanted, exclude=exclude)
    with heads(source) as reader:
        return list_walked(walked, reader, wanted)


def list_walked(walked: Walk, heads: HeadReader, wanted: Collection[str]) -> Contents:
    """The listings of files that were found somewhere, whose first bytes `heads` reads: see `list_folder`."""
    failures: dict[str, list[Failure]] = {name: [] for name in wanted}
    others, skipped = Counter[str](), 0
    files = DetectedFiles(walked.files)
    for other in files.others(heads, wanted):
        if failure := next(_failures(other, wanted), None):
            failures[failure[0]].append(failure[1])
        else:
            skipped += 1
            others.update([other.detected.modality] if other.detected else [])
    sidecars = files.find_sidecars()
    table, chosen = files.table(sidecars), {name: files.rows_of(name) for name in wanted}
    skipped += sidecars.num_of_others(np.concatenate([np.zeros(0, np.int64), *chosen.values()])) + sidecars.unused
    found = {}
    for name, own in failures.items():
        unusable = [failure for modality, failure in walked.unusable if modality in (name, None)]
        own = sorted([*own, *walked.unreadable_folders, *unusable])
        found[name] = Listing(SourceFiles(table, chosen[name]), own)
    return Contents(found, skipped, dict(others))


def list_examples(source: Path, modality: str) -> Examples:
    """The files below a folder that are examples of a modality, with the keys that packing gives them.

    They are the files that `list_folder` finds, and those that are named like one, or are of a format that cannot be
    read; these raise the decoder's error when they are read, and get their keys last.
    """
    names = [one.name for one in modalities()]
    walked, others, failing = walk(source, modalities=()), Counter[str](), list[int]()
    files = DetectedFiles(walked.files)
    with LocalHeads(source) as heads:
        for other in files.others(heads, (modality,)):
            expected = other.detected.modality if other.detected else _expected(other, (modality, *names))
            if expected == modality:
                failing.append(other.row)
            elif expected:
                others[expected] += 1
    sidecars, readable = files.find_sidecars(failing), files.rows_of(modality)
    for row in failing:
        files.note(row, Detected("", media_suffix(walked.files.paths[row])))
    rows = np.concatenate([readable, np.array(failing, np.int64)])
    table, order = files.table(sidecars), np.argsort(rows, kind="stable")
    found, keys = SourceFiles(table, rows[order]), KeyColumn.given(SourceFiles(table, rows).paths)
    held = {name: others[name] for name in names if others[name]}
    return Examples(found, keys.moved(found.paths, order), held, walked.unreadable_folders)


def _expected(file: NotWanted, wanted: Collection[str]) -> str | None:
    """The modality that a file of no readable format should be of, by its content or its name."""
    for name in wanted:
        if isinstance(file.head, bytes) and find_modality(name).refusal(file.head) is not None:
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


def _failures(file: NotWanted, wanted: Collection[str]) -> Iterator[tuple[str, Failure]]:
    """For each modality that a file should be of, by its name or its content, why it is not."""
    head = file.head
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
            wrong = f" but {file.detected.modality}" if file.detected else ": it does not begin like one"
            refusal = f"not {modality.with_article}{wrong}"
        yield name, Failure(file.path, refusal)


def _pair(sidecar: tuple[str, int]) -> str:
    return f",[{json_text(sidecar[0])},{sidecar[1]}]"
