"""A store of annotations, from which any process looks up the record of one file."""

from __future__ import annotations

import mmap
import struct
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import SourceError
from ...storage.json_text import parse_json
from ...storage.plain_files import open_plain
from ..findings import LabelCounts, LabelKey
from ..wording import printable
from .categories import Category
from .store_schema import ANNOTATION, FILE, path_hash, table_places, to_path_bytes

__all__ = ["AnnotationStore", "RecordText"]

_ANNOTATION = struct.Struct("<qii")
assert _ANNOTATION.size == ANNOTATION.itemsize
DTYPES = {"files": FILE, "annotations": ANNOTATION}


class RecordText(bytes):
    """The JSON of a record, with what is known without parsing it.

    size      (width, height) of its image in pixels, None if they are not whole numbers
    labels    its objects by label
    """

    size: tuple[int, int] | None
    labels: LabelCounts


class _Meanings(dict[int, tuple[bytes, LabelKey | None]]):
    """Meaning → the end of the JSON of an annotation, and its label; made when it is first needed."""

    def __init__(self, written: list[Any]) -> None:
        super().__init__()
        self._written = written

    def __missing__(self, meaning: int) -> tuple[bytes, LabelKey | None]:
        ending, label = self._written[meaning]
        found = self[meaning] = ending.encode("ascii"), None if label is None else LabelKey(*label)
        return found


@dataclass(frozen=True)
class _Opened:
    content: mmap.mmap
    files: Any
    hashes: memoryview
    annotations_begin: int
    meanings: _Meanings
    categories: list[dict[str, Any]]


class AnnotationStore:
    """The records of files, read from a store that `build_store` wrote.

    It is opened when it is first used, once per process, and can be pickled. Raises `SourceError` for a file
    that is not such a store.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._found: _Opened | None = None

    def __reduce__(self) -> tuple[type[AnnotationStore], tuple[Path]]:
        return type(self), (self._path,)

    @property
    def categories(self) -> tuple[Category, ...]:
        """All categories, by id."""
        return tuple(map(_category, self._opened().categories))

    def record(self, path: str) -> dict[str, Any] | None:
        """The record of a file of the listing, a JSON object; None if the store has none.

        The columns of its row in the table are at the top level. A file with an image entry has "image", "captions" and
        "annotations", with "category" and "class" in each annotation, and "license" if its image names a known one.
        """
        text = self.record_text(path)
        if text is None:
            return None
        found: dict[str, Any] = parse_json(text)
        return found

    def record_text(self, path: str) -> RecordText | None:
        """The same record as JSON in ASCII, without spaces."""
        opened, encoded = self._opened(), to_path_bytes(path)
        hashed, hashes, content = path_hash(encoded), opened.hashes, opened.content
        place = bisect_left(hashes, hashed)
        while place < len(hashes) and hashes[place] == hashed:
            about = opened.files[place].item()
            if content[about[1] : about[1] + about[2]] == encoded:
                return _text(opened, about)
            place += 1
        return None

    def close(self) -> None:
        """Release the file; the next use opens it again."""
        self._found = None

    def _opened(self) -> _Opened:
        if self._found is None:
            try:
                self._found = _open(self._path)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise SourceError(
                    f"{printable(str(self._path))}: cannot be read as a store of annotations ({error}). Build it again."
                ) from error
        return self._found


def _open(path: Path) -> _Opened:
    with open(open_plain(path), "rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    begin, about = table_places(content, DTYPES)
    files = np.frombuffer(content, FILE, about["sizes"]["files"], begin["files"])
    hashes, meanings = files["hash"].copy().data, _Meanings(about["endings"])
    return _Opened(content, files, hashes, begin["annotations"], meanings, about["categories"])


def _text(opened: _Opened, about: tuple[int, ...]) -> RecordText:
    """The record of one row of `FILE`."""
    _, _, _, row, row_length, image, image_length, license_, license_length, width, height, first, last = about
    content, parts = opened.content, list[bytes]()
    captions, annotations, meanings = list[bytes](), list[bytes](), list[int]()
    if row >= 0 and row_length > 2:
        parts.append(content[row + 1 : row + row_length - 1])
    if image >= 0:
        parts.append(b'"image":' + content[image : image + image_length])
        if license_ >= 0:
            parts.append(b'"license":' + content[license_ : license_ + license_length])
        size, start = ANNOTATION.itemsize, opened.annotations_begin
        rows = content[start + first * size : start + last * size]
        for offset, length, meaning in _ANNOTATION.iter_unpack(rows):
            if meaning < 0:
                captions.append(content[offset : offset + length])
            else:
                annotations.append(content[offset : offset + length - 1] + opened.meanings[meaning][0])
                meanings.append(meaning)
        parts.append(b'"captions":[%b],"annotations":[%b]' % (b",".join(captions), b",".join(annotations)))
    found = RecordText(b"{%b}" % b",".join(parts))
    found.size = (width, height) if width else None
    counts = Counter(meanings)
    found.labels = {key: (num, 1) for meaning, num in counts.items() if (key := opened.meanings[meaning][1])}
    return found


def _category(value: dict[str, Any]) -> Category:
    skeleton = tuple((first, second) for first, second in value["skeleton"])
    return Category(**value | {"keypoints": tuple(value["keypoints"]), "skeleton": skeleton})
