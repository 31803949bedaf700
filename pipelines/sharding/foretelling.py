"""How many bytes shards will have, from the names and sizes of their files alone.

    shard = Σ examples + end of archive        example = Σ members: header, payload, padding to 512 bytes

That is exact where files are packed as they are and all of them can be read; a picture that has annotations must have
the size they say, and no EXIF orientation, since its annotations are moved otherwise. Where files are encoded again, or
fields are computed, it is what the same files would take unchanged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..storage.index import INDEX_DTYPE
from ..storage.row_sequence import batches
from ..storage.source_files import SourceFile
from ..storage.tar import BLOCK, padded
from .plan import Plan, PlannedFile, PlannedFiles, span_bytes
from .shard_content import END_OF_ARCHIVE
from .shard_job import add_record
from .tar_header import tar_header
from .task_inputs import open_inputs

if TYPE_CHECKING:
    from .annotations.store import AnnotationStore
    from .source_bucket import SourceUrl

__all__ = ["annotated_bytes", "bytes_to_write", "file_bytes", "shard_bytes"]

PLAIN_NAME_BYTES, PLAIN_BYTES = 100, 1 << 33
LABEL_BYTES = 2 * BLOCK
"""Of the field `cls`: a header, and a number in a block."""
MOST_ADDED_TO_KEY = 16
"""Characters that a key of an ASCII path has more than this, at most: `~` before it, and the number of a copy."""


def bytes_to_write(plan: Plan, finished: Collection[int]) -> int:
    """Bytes of the tars and indexes of the shards of a plan that are not `finished`, without annotations and tables."""
    missing = [number for number in plan.numbered if number not in finished]
    files = plan.numbered.files_of(missing)
    return int(file_bytes(files).sum()) + len(missing) * len(END_OF_ARCHIVE) + len(files) * INDEX_DTYPE.itemsize


def shard_bytes(plan: Plan, missing: Sequence[int], source: Path | SourceUrl, store: AnnotationStore | None) -> int:
    """Bytes of the tars of these shards of a plan; `store` has what annotations and tables say of their files.

    Raises as `annotated_bytes`.
    """
    ends = len(missing) * len(END_OF_ARCHIVE)
    if store is None:
        return int(file_bytes(plan.numbered.files_of(missing)).sum()) + ends
    return sum(sum(annotated_bytes(plan.numbered[number].files, source, store)) for number in missing) + ends


def file_bytes(files: PlannedFiles) -> NDArray[np.int64]:
    """Bytes of each file in a tar, with its fields, but without annotations and tables: (n,) int64."""
    columns = files.columns
    table, suffixes = columns.table, ("cls", *columns.table.suffixes, *columns.table.sidecars.suffixes)
    is_plain = table.paths.are_ascii() & (
        table.paths.lengths + MOST_ADDED_TO_KEY + max(map(len, suffixes)) < PLAIN_NAME_BYTES
    )
    largest = max(int(sizes.max(initial=0)) for sizes in (table.sizes, table.sidecars.sizes))
    are_all_odd = largest >= PLAIN_BYTES or not all(map(str.isascii, suffixes))
    is_odd = ~is_plain[columns.rows] | are_all_odd
    found = span_bytes(columns) + LABEL_BYTES * files.are_labelled()
    odd = np.flatnonzero(is_odd)
    for start, stop in batches(len(odd)):
        places = odd[start:stop]
        found[places] = [_example_bytes(planned) for planned in files.only(places)]
    return found


def annotated_bytes(
    files: Sequence[PlannedFile], source: Path | SourceUrl, store: AnnotationStore | None
) -> Iterator[int]:
    """Bytes of each of a few files in a tar, with what annotations and tables say of it in its field `json`.

    Raises `PackingStoppedError` where a .json file beside one has changed, `UnpackableError` where it cannot be read.
    """
    if store is None:
        yield from map(_example_bytes, files)
        return
    beside = {
        number: own
        for number, planned in enumerate(files)
        if (own := _json_beside(planned.file)) and store.record_text(planned.file.path) is not None
    }
    places = {number: place for place, number in enumerate(beside)}
    with contextlib.closing(open_inputs(source, list(beside.values()))) as inputs:
        for number, planned in enumerate(files):
            fields = dict[str, bytes]()
            if (own := beside.get(number)) is not None:
                with inputs.reader(places[number], own.path, own.size) as reader:
                    fields["json"] = reader.content()
            add_record(fields, store, planned.file.path)
            yield _example_bytes(planned, fields.get("json"))


def _json_beside(file: SourceFile) -> SourceFile | None:
    """The .json file beside a file."""
    found = (
        SourceFile(f"{file.stem}.{name}", size, name) for name, size in file.sidecars if name.lower() == "json"
    )
    return next(found, None)


def _example_bytes(planned: PlannedFile, record: bytes | None = None) -> int:
    """Bytes of one file in a tar, with its fields; `record` is the one that goes into its field `json`."""
    file, key = planned.file, planned.key
    sizes = {suffix.lower(): size for suffix, size in file.sidecars}
    if planned.label is not None:
        sizes["cls"] = len(b"%d" % planned.label)
    if record is not None:
        sizes["json"] = len(record)
    members = [*sizes.items(), (file.suffix, file.size)]
    return sum(_header_bytes(f"{key}.{suffix}", size) + padded(size) for suffix, size in members)


def _header_bytes(name: str, size: int) -> int:
    """Bytes of the header of a member: a block, more for a name that is long or not ASCII."""
    if len(name) <= PLAIN_NAME_BYTES and size < PLAIN_BYTES and name.isascii():
        return BLOCK
    return len(tar_header(name, size))
