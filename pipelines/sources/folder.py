"""Examples of a plain folder: one file each, in the order of their paths."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..errors import SourceError
from ..modality import modalities
from ..storage.blob import LocalFile
from ..storage.cache import cached_array, stat_numbers
from ..storage.index import INDEX_DTYPE, Index
from ..storage.live_cache import LiveCache
from ..storage.media_types import SIDECAR_SUFFIXES, is_media_name, media_suffix, sniff_file
from ..storage.sidecars import owner_of
from .located import LocatedExample, Member, file_member
from .records import Probe, measure_all
from .source import Example, Source

__all__ = ["FolderSource", "walk_files"]

OPEN_FILES = 64


@dataclass(frozen=True)
class Sidecars(Mapping[str, bytes]):
    """The files that share a picture's stem, by suffix; each is read when it is asked for."""

    stem: str
    suffixes: tuple[str, ...]

    def __getitem__(self, suffix: str) -> bytes:
        if suffix not in self.suffixes:
            raise KeyError(suffix)
        return Path(f"{self.stem}.{suffix}").read_bytes()

    def __iter__(self) -> Iterator[str]:
        return iter(self.suffixes)

    def __len__(self) -> int:
        return len(self.suffixes)


class FolderSource(Source):
    """The media files below a folder, sorted by path; the key is the path without its suffix.

    Files beside one with its stem and the suffix json, txt, cls or npy are its fields. Files with a media suffix
    are taken as they are, files without any by what they begin with. Hidden files are passed over, symbolic links
    followed, cycles guarded. Raises `SourceError` for a folder that is missing or holds no file of this modality
    ("image", "audio" or "video").
    """

    def __init__(self, folder: str | os.PathLike[str], *, modality: str = "image") -> None:
        self.folder, self.modality = Path(folder), modality
        self.name = str(folder)
        self._open_files = LiveCache[int, LocalFile](OPEN_FILES)
        if not self.folder.is_dir():
            raise SourceError(f"{folder}: no such folder.")
        digest = hashlib.sha256()
        self._files: list[str] = []
        beside: list[str] = []
        for relative, size in sorted(walk_files(self.folder)):
            if self._is_wanted(relative, modality):
                self._files.append(relative)
                digest.update(f"{relative}\0{size}\0".encode("utf-8", "surrogateescape"))
            elif media_suffix(relative) in SIDECAR_SUFFIXES:
                beside.append(relative)
        self._sidecars = _sidecars_by_stem(beside, self._files)
        if not self._files:
            raise SourceError(f"{folder}: no {modality} files in it{self._what_instead()}")
        self._hash = digest.hexdigest()[:32]

    def _what_instead(self) -> str:
        """What an error says of a folder without files of the modality: the media it does hold, or none."""
        names = [relative for relative, _ in walk_files(self.folder)]
        for other in (modality.name for modality in modalities()):
            if any(self._is_wanted(name, other) for name in names):
                return f', but {other} files. Open it with modality="{other}", or name another folder.'
        return ". Put some there, or name another folder."

    def _is_wanted(self, relative: str, modality: str) -> bool:
        return is_media_name(relative, modality) or (
            not Path(relative).suffix and sniff_file(self.folder / relative) == modality
        )

    def __len__(self) -> int:
        return len(self._files)

    def keys(self) -> list[str]:
        """The path of every file below the folder, without its suffix."""
        return [relative.removesuffix(Path(relative).suffix) for relative in self._files]

    def prefix_hash(self, examples: int) -> str | None:
        """The hash over all paths and sizes; None for any other number of examples than all."""
        return self._hash if examples == len(self) else None

    def read(self, indices: Sequence[int]) -> list[Example]:
        """The files at these indices, whole."""
        found = []
        for index in indices:
            path = self.folder / self._files[index]
            try:
                media = path.read_bytes()
            except OSError as error:
                raise SourceError(f"{path}: cannot be read ({error.strerror}). Restore it or list anew.") from error
            key = self._files[index].removesuffix(path.suffix)
            fields = Sidecars(str(self.folder / key), self._sidecars.get(key, ()))
            found.append(Example(int(index), key, media, str(path), fields=fields))
        return found

    def locate(self, index: int) -> LocatedExample:
        """Where a file and its sidecars lie; nothing of them is read."""
        path = self.folder / self._files[index]
        key = self._files[index].removesuffix(path.suffix)
        names = self._sidecars.get(key, ())
        fields = {name: file_member(Path(f"{self.folder / key}.{name}")) for name in names}
        media = Member(partial(self._read_file, index), self._open_files.get(index, self._open_file).size)
        return LocatedExample(index, key, media, str(path), fields=fields)

    def _read_file(self, index: int, offset: int, length: int) -> bytes:
        return self._open_files.get(index, self._open_file).read(offset, length)

    def _open_file(self, index: int) -> LocalFile:
        return LocalFile(self.folder / self._files[index])

    def records(self, shard: int, probe: Probe) -> Index:
        """Every file is looked at once, and what is found kept in the cache until one of them changes."""
        num = len(self)

        def measure() -> Index:
            return measure_all(map(self.locate, range(num)), probe, num)

        return cached_array(["records", self.fingerprint(shard), probe.kind], measure, INDEX_DTYPE, num)

    def fingerprint(self, shard: int) -> str:
        """Over the path and `stat_numbers` of every file."""
        digest = hashlib.sha256(str(self.folder.resolve()).encode("utf-8", "surrogateescape"))
        for relative in self._files:
            try:
                status = (self.folder / relative).stat()
            except OSError as error:
                path = self.folder / relative
                raise SourceError(
                    f"{path}: cannot be read ({error.strerror}). Restore it or list again."
                ) from error
            digest.update(f"{relative}\0{stat_numbers(status)}\0".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:32]

    def close(self) -> None:
        """Let go of open files; they are opened again when read."""
        self._open_files.clear()

    def __repr__(self) -> str:
        return f"FolderSource({self.name!r}, {len(self):,} examples)"


def _sidecars_by_stem(paths: Sequence[str], files: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The suffixes of the sidecar files of each media file that has some, by its path without suffix."""
    found: dict[str, tuple[str, ...]] = {}
    stems = {relative.removesuffix(Path(relative).suffix) for relative in files} if paths else set[str]()
    for path in paths:
        stem = owner_of(path, stems)
        if stem is not None:
            found[stem] = (*found.get(stem, ()), path[len(stem) + 1 :])
    return found


def walk_files(folder: Path) -> Iterator[tuple[str, int]]:
    """Every regular file below a folder: (path below it, size in bytes), without hidden ones, in no fixed order.

    Symbolic links are followed; a folder that contains itself through a link is entered once on each way down.
    """
    waiting = [(str(folder), "", frozenset[tuple[int, int]]())]
    while waiting:
        place, prefix, above = waiting.pop()
        try:
            status = Path(place).stat()
            visible = [entry for entry in os.scandir(place) if not entry.name.startswith(".")]
        except OSError as error:
            raise SourceError(f"{place}: cannot be listed ({error.strerror}).") from error
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            continue
        for entry in visible:
            try:
                is_folder, size = entry.is_dir(), entry.stat().st_size if entry.is_file() else None
            except OSError:  # a link to itself
                continue
            if is_folder:
                waiting.append((entry.path, f"{prefix}{entry.name}/", above | {identity}))
            elif size is not None:
                yield prefix + entry.name, size
