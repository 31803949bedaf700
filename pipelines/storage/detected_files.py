"""What each of many files is, told from its first bytes and kept as a number in a column."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..modality import find_modality
from .found_files import FoundFiles
from .heads import HeadReader
from .media_types import SIDECAR_SUFFIXES, media_suffix, sniff
from .row_sequence import batches
from .sidecars import SidecarFinder
from .source_files import FileTable

__all__ = ["Detected", "DetectedFiles", "NotWanted"]

OTHER = -1
"""In the column: a file of no known format, or one that cannot be read."""


class Detected(NamedTuple):
    """What a file was found to be: its modality, and its suffix in the tar."""

    modality: str
    suffix: str


class NotWanted(NamedTuple):
    """A file that is of none of the modalities that are wanted.

    `row` is its number, `head` its first bytes or why they cannot be read, `detected` what it is, if that is known.
    """

    row: int
    path: str
    head: bytes | str
    detected: Detected | None


class DetectedFiles:
    """The kinds of files that were found, which are read once, by going through `others`."""

    def __init__(self, files: FoundFiles) -> None:
        self._files = files
        self._codes = np.full(len(files), OTHER, np.int32)
        self._kinds: dict[Detected, int] = {}
        self._known: dict[tuple[tuple[str, str], str], tuple[int, Detected]] = {}
        self._sidecars = array("q")

    def others(self, heads: HeadReader, wanted: Collection[str]) -> Iterator[NotWanted]:
        """Read the first bytes of every file that may be media; gives the files that are of no wanted modality."""
        for start, stop in batches(len(self._files)):
            paths = self._files.paths.between(start, stop)
            suffixes = [media_suffix(path) for path in paths]
            media = [place for place, suffix in enumerate(suffixes) if suffix not in SIDECAR_SUFFIXES]
            if len(media) < len(paths):
                is_media = set(media)
                self._sidecars.extend(start + place for place in range(len(paths)) if place not in is_media)
            sizes = self._files.sizes[start:stop][np.array(media, np.int64)].tolist()
            for place, head in zip(media, heads.read([paths[place] for place in media], sizes), strict=True):
                found = sniff(head) if isinstance(head, bytes) else None
                if found is None:
                    yield NotWanted(start + place, paths[place], head, None)
                    continue
                code, kind = self._kind(found, suffixes[place])
                self._codes[start + place] = code
                if kind.modality not in wanted:
                    yield NotWanted(start + place, paths[place], head, kind)

    def _kind(self, found: tuple[str, str], own: str) -> tuple[int, Detected]:
        """With the file's own suffix where it fits the content (webdataset decodes by suffix), else the usual one."""
        known = self._known.get((found, own))
        if known is None:
            modality, usual = found
            kind = Detected(modality, find_modality(modality).kept_suffix(usual, own))
            known = self._known[found, own] = self._code(kind), kind
        return known

    def _code(self, kind: Detected) -> int:
        return self._kinds.setdefault(kind, len(self._kinds))

    def note(self, row: int, kind: Detected) -> None:
        """Say what a file is that was not detected."""
        self._codes[row] = self._code(kind)

    def rows_of(self, modality: str) -> NDArray[np.int64]:
        """The rows (n,) int64 of the files that were found to be of a modality."""
        codes = [code for kind, code in self._kinds.items() if kind.modality == modality]
        return np.flatnonzero(np.isin(self._codes, np.array(codes, np.int32)))

    def find_sidecars(self, beside: Sequence[int] = ()) -> SidecarFinder:
        """The sidecar files, each with the media file that it belongs to; `beside` are rows of files of no format."""
        files = self._files
        return SidecarFinder(
            files.paths,
            files.sizes,
            rows=np.frombuffer(self._sidecars, np.int64),
            media=np.flatnonzero(self._codes != OTHER),
            beside=np.array(beside, np.int64),
        )

    def table(self, sidecars: SidecarFinder) -> FileTable:
        """All files, of which some are of a listing."""
        suffixes = [kind.suffix for kind in self._kinds]
        return FileTable(self._files.paths, self._files.sizes, self._codes, suffixes, sidecars.columns)
