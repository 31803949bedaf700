"""Examples of a plain folder: one file each, in the order of their paths."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import SourceError
from ..modality import find_modality
from ..storage.blob import LocalFile
from ..storage.cache import cached_array, stat_numbers
from ..storage.index import INDEX_DTYPE, Index
from ..storage.listing import Examples, list_examples
from ..storage.live_cache import LiveCache
from ..storage.plain_files import path_setting, read_plain, system_path
from ..storage.row_sequence import batches
from ..storage.source_files import SourceFile
from .located import FilePart, LocatedExample, Member, file_member
from .records import Probe, measure_all
from .source import Example, Source

__all__ = ["FolderSource"]

OPEN_FILES = 64


@dataclass(frozen=True)
class SidecarFields(Mapping[str, bytes]):
    """The sidecar files of one media file, as fields: lower-case suffix → bytes, read when they are asked for.

    `suffixes` maps the name of each field to its suffix as it is written.
    """

    stem: str
    suffixes: Mapping[str, str]

    def __getitem__(self, name: str) -> bytes:
        return read_plain(f"{self.stem}.{self.suffixes[name]}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.suffixes)

    def __len__(self) -> int:
        return len(self.suffixes)


class FolderSource(Source):
    """The media files below a folder, sorted by path; the key is the path without its suffix.

    Which files are examples, their keys, and which sidecar files are their fields, follows the rules of packing:
    formats are detected from the content, each folder is entered once, hidden files are passed over, dots in a name
    become `_`. Files that are named like the modality, or are of a format of it that cannot be read, are examples as
    well; reading one raises the decoder's error. Raises
    `SourceError` for a folder that is missing, cannot be read or holds no file of this modality ("image", "audio" …).
    """

    def __init__(self, folder: str | os.PathLike[str], *, modality: str = "image") -> None:
        self.folder, self.modality = path_setting("folder", folder), modality
        self.name = str(folder)
        self._open_files = LiveCache[int, LocalFile](OPEN_FILES)
        find_modality(modality)
        try:
            is_folder = self.folder.is_dir()
        except OSError as error:
            raise SourceError(f"{folder}: cannot be read ({error.strerror}).") from error
        if not is_folder:
            raise SourceError(f"{folder}: no such folder.")
        found = list_examples(self.folder, modality)
        for path, reason in found.unreadable_folders:
            raise SourceError(f"{self.folder / path}: {reason}.")
        if not found.files:
            raise SourceError(f"{folder}: no {modality} files in it{_what_instead(found)}")
        digest = hashlib.sha256()
        for start, stop in batches(len(found.files)):
            facts = (f"{path}\0{size}\0" for path, size, _, _ in found.files.columns(start, stop))
            digest.update("".join(facts).encode("utf-8", "surrogateescape"))
        self._hash = digest.hexdigest()[:32]
        self._files, self._keys = found.files, found.keys

    def _path(self, relative: str) -> str:
        return system_path(self.folder, relative)

    def __len__(self) -> int:
        return len(self._files)

    def keys(self) -> list[str]:
        """The key of every file: its path below the folder, without its suffix, as packing has it."""
        return list(self._keys)

    def prefix_hash(self, examples: int) -> str | None:
        """The hash over all paths and sizes; None for any other number of examples than all."""
        return self._hash if examples == len(self) else None

    def read(self, indices: Sequence[int]) -> list[Example]:
        """The files at these indices, whole."""
        found = []
        for index in indices:
            file = self._files[index]
            path = self._path(file.path)
            try:
                media = read_plain(path)
            except OSError as error:
                raise SourceError(
                    f"{path}: cannot be read ({error.strerror}). Restore it, or open the folder again."
                ) from error
            fields = SidecarFields(self._path(file.stem), _suffixes(file))
            found.append(Example(int(index), self._keys[index], media, path, fields=fields))
        return found

    def locate(self, index: int) -> LocatedExample:
        """Where a file and its sidecars lie; nothing of them is read."""
        file = self._files[index]
        path, stem = self._path(file.path), self._path(file.stem)
        fields = {name: file_member(Path(f"{stem}.{suffix}")) for name, suffix in _suffixes(file).items()}
        size = self._open_files.get(index, self._open_file).size
        media = Member(partial(self._read_file, index), size, file=FilePart(path))
        return LocatedExample(index, self._keys[index], media, path, fields=fields)

    def _read_file(self, index: int, offset: int, length: int) -> bytes:
        return self._open_files.get(index, self._open_file).read(offset, length)

    def _open_file(self, index: int) -> LocalFile:
        return LocalFile(self._path(self._files[index].path))

    def records(self, shard: int, probe: Probe) -> Index:
        """Open every file once, and keep the result in the cache until a file changes."""
        num = len(self)

        def measure() -> Index:
            return measure_all(map(self.locate, range(num)), probe, num)

        return cached_array(["records", self.fingerprint(shard), probe.kind], measure, INDEX_DTYPE, num)

    def fingerprint(self, shard: int) -> str:
        """Over the path and `stat_numbers` of every file."""
        digest = hashlib.sha256(str(self.folder.resolve()).encode("utf-8", "surrogateescape"))
        for relative in self._files.paths:
            try:
                status = os.stat(self._path(relative))  # noqa: PTH116 (a text)
            except OSError as error:
                path = self._path(relative)
                raise SourceError(
                    f"{path}: cannot be read ({error.strerror}). Restore it, or open the folder again."
                ) from error
            digest.update(f"{relative}\0{stat_numbers(status)}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:32]

    def close(self) -> None:
        """Close open files; they are opened again when read."""
        self._open_files.clear()

    def __repr__(self) -> str:
        return f"FolderSource({self.name!r}, {len(self):,} examples)"


def _suffixes(file: SourceFile) -> dict[str, str]:
    """Name of each field beside a file (in lower case) → suffix of its file as it is written."""
    return {suffix.lower(): suffix for suffix, _ in file.sidecars}


def _what_instead(found: Examples) -> str:
    """What an error says of a folder without files of the modality: the media it does hold, or none."""
    for other in found.other_media:
        return f', but {other} files. Open it with modality="{other}", or name another folder.'
    return ". Put some there, or name another folder."
