"""Building a store of annotations from annotation files and a table, in bounded memory, and what was found."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import ShardingError
from ..wording import printable
from .adding import NOTHING_EARLIER, Earlier, packed_remarks, without_packed
from .body_file import BodyFile
from .categories import Category, number_categories
from .entry_writing import EntryWriter
from .matching import FileMatcher
from .problems import Problem, ProblemLog
from .store_checks import check_annotations, check_categories, count_repeated_annotations, images_of
from .store_finishing import Finished, Meanings, finish_store
from .store_merging import Bodies, merge_annotations, merge_images, without_repeated_images
from .store_schema import NOWHERE

__all__ = ["StoreReport", "build_store"]


@dataclass(frozen=True)
class StoreReport:
    """What is in a store: the number of files with a record and of what the records hold; problems and remarks.

    `lasting` are the remarks that are still worth knowing when the set is finished.
    """

    problems: tuple[Problem, ...]
    remarks: tuple[str, ...]
    categories: tuple[Category, ...]
    num_records: int
    num_images: int
    num_annotations: int
    num_captions: int
    num_rows: int
    lasting: tuple[str, ...] = ()


def build_store(
    path: Path,
    *,
    annotations: Sequence[Path],
    table: Path | None,
    key: str,
    files: Sequence[str],
    earlier: Earlier = NOTHING_EARLIER,
) -> StoreReport:
    """Write the store of these annotation files and this table to `path`, completely or not at all.

    `files` are the paths of the listing, `key` the column of the table that names them, `earlier` the set that is
    added to: its packed files get no record. Peak memory: about 50 MB, 400 bytes for each file of the
    listing and 200 for each annotation.

    Raises `SourceError` for an input that cannot be used at all, `ShardingError` where the store cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with BodyFile(beside) as body_file, _without_collecting():
            report = _Building(body_file, files).run(annotations, table, key, earlier)
        beside.replace(path)
    except OSError as error:
        raise ShardingError(
            f"{printable(str(path))}: cannot be written ({error.strerror or error}). Make room there."
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    return report


@contextmanager
def _without_collecting() -> Iterator[None]:
    """No garbage collection while values are parsed: they have no cycles, and it takes a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Building:
    """The steps from an empty `BodyFile` to a complete store."""

    def __init__(self, body_file: BodyFile, files: Sequence[str]) -> None:
        self._body_file, self._files, self._log = body_file, files, ProblemLog()
        self._writer = EntryWriter(body_file, FileMatcher(files), self._log)

    def run(self, annotations: Sequence[Path], table: Path | None, key: str, earlier: Earlier) -> StoreReport:
        """Fill the store."""
        writer, log = self._writer, self._log
        for path in annotations:
            writer.add_file(path)
        if table is not None:
            writer.add_table(table, key)
        bodies = Bodies(self._body_file, writer.names)
        numbered = number_categories(writer.categories, earlier.labels, log)
        meanings = Meanings(numbered, {entry.source for entry in writer.categories}, len(writer.names))
        images, are_packed = without_repeated_images(writer.images(), bodies, log), earlier.are_packed(self._files)
        lasting = packed_remarks(images, writer.names, writer.rows, are_packed, earlier)
        images, objects, masks = without_packed(images, writer.objects(), writer.masks, are_packed)
        rows = {number: place for number, place in writer.rows.items() if not are_packed[number]}
        image_rows = images_of(objects, images)
        check_annotations(objects, images, image_rows, masks, bodies, log)
        count_repeated_annotations(objects, bodies, log)
        found = meanings.of(objects)
        num_without_category = check_categories(objects, found > 0, bodies, log)
        first_images = merge_images(images, bodies, writer.codes, log)
        files = _files_of(images, image_rows)
        is_kept = files >= 0
        if len(annotations) > 1:
            is_kept &= merge_annotations(objects, files, bodies, log)
        files = np.where(is_kept, files, NOWHERE)
        content = Finished(images[first_images], objects, files, found, rows, writer.licenses)
        num_records = finish_store(bodies, content, meanings, self._files)
        captions = objects["is_caption"][is_kept]
        nums = num_records, len(first_images), int((~captions).sum()), int(captions.sum()), len(rows)
        others = len(np.unique(files[is_kept])), num_without_category, int((~are_packed).sum())
        said = _remarks(nums, *others, has_annotations=bool(annotations), has_table=table is not None)
        return StoreReport(log.problems(), said, numbered.categories, *nums, lasting)


def _remarks(
    nums: tuple[int, ...],
    num_annotated: int,
    num_without_category: int,
    num_files: int,
    *,
    has_annotations: bool,
    has_table: bool,
) -> tuple[str, ...]:
    """Sentences worth knowing; all numbers count files that are to be packed."""
    num_images, num_rows = nums[1], nums[4]
    no_file, no_row = "in no annotation file", "no row in the table"
    remarks = (
        (has_annotations, num_files - num_images, f"file is {no_file}", f"files are {no_file}"),
        (has_annotations, num_images - num_annotated, "picture has no annotation", "pictures have no annotation"),
        (True, num_without_category, "annotation has no category", "annotations have no category"),
        (has_table, num_files - num_rows, f"file has {no_row}", f"files have {no_row}"),
    )
    return tuple(f"{num:,} {one if num == 1 else many}." for asked, num, one, many in remarks if asked and num)


def _files_of(images: NDArray[Any], image_rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The file of each annotation, -1 for none."""
    if not len(images):
        return np.full(len(image_rows), -1, np.int64)
    return np.where(image_rows < 0, -1, images["file"][np.maximum(image_rows, 0)])
