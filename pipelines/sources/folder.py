"""Examples of a plain folder: one file each, in the order of their paths."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SourceError
from ..formats import SIDECAR_SUFFIXES, is_media_name, media_suffix, sniff_file
from .source import Example, Source

__all__ = ["FolderSource", "walk_files"]


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
        if not self.folder.is_dir():
            raise SourceError(f"{folder}: no such folder.")
        digest = hashlib.sha256()
        self._files: list[str] = []
        self._sidecars: dict[str, tuple[str, ...]] = {}
        for relative, size in sorted(walk_files(self.folder)):
            if self._is_wanted(relative):
                self._files.append(relative)
                digest.update(f"{relative}\0{size}\0".encode("utf-8", "surrogateescape"))
            elif (suffix := media_suffix(relative)) in SIDECAR_SUFFIXES:
                stem = relative[: -len(suffix) - 1]
                self._sidecars[stem] = (*self._sidecars.get(stem, ()), relative[len(stem) + 1 :])
        if not self._files:
            raise SourceError(f"{folder}: no {modality} files in it. Put some there, or name another folder.")
        self._hash = digest.hexdigest()[:32]

    def _is_wanted(self, relative: str) -> bool:
        return is_media_name(relative, self.modality) or (
            not Path(relative).suffix and sniff_file(self.folder / relative) == self.modality
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

    def __repr__(self) -> str:
        return f"FolderSource({self.name!r}, {len(self):,} examples)"


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
