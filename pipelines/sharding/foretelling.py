"""How many bytes shards will have, from the names and sizes of their files alone.

    shard = Σ examples + end of archive        example = Σ members: header, payload, padding to 512 bytes

That is exact where files are packed as they are and all of them can be read; a picture that has annotations must have
the size they say, and no EXIF orientation, since its annotations are moved otherwise. Where files are encoded again, or
fields are computed, it is what the same files would take unchanged.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ..storage.index import INDEX_DTYPE
from ..storage.tar import BLOCK, padded
from .annotations.store import AnnotationStore
from .plan import Plan, PlannedFile
from .shard_content import END_OF_ARCHIVE
from .shard_job import add_record, read_sidecar
from .tar_header import tar_header

__all__ = ["bytes_to_write", "example_bytes", "shard_bytes"]

PLAIN_NAME_BYTES, PLAIN_BYTES = 100, 1 << 33


def shard_bytes(files: Sequence[PlannedFile], source: Path, store: AnnotationStore | None = None) -> int:
    """Bytes of the tar of a shard with these files; `store` has what annotations and tables say of them.

    Raises `PackingStoppedError` where a .json file beside one has changed, `UnpackableError` where it cannot be read.
    """
    return sum(example_bytes(planned, source, store) for planned in files) + len(END_OF_ARCHIVE)


def bytes_to_write(plan: Plan, source: Path, finished: Collection[int]) -> int:
    """Bytes of the tars and indexes of the shards of a plan that are not `finished`, without annotations and tables."""
    missing = [shard for shard in plan.shards if shard.number not in finished]
    rows = sum(len(shard.files) for shard in missing)
    return sum(shard_bytes(shard.files, source) for shard in missing) + rows * INDEX_DTYPE.itemsize


def example_bytes(planned: PlannedFile, source: Path, store: AnnotationStore | None = None) -> int:
    """Bytes of one file in a tar, with its fields."""
    file, key = planned.file, planned.key
    sizes = {suffix.lower(): size for suffix, size in file.sidecars}
    if planned.label is not None:
        sizes["cls"] = len(b"%d" % planned.label)
    if store is not None and (record := _record_bytes(planned, source, store)) is not None:
        sizes["json"] = record
    members = [*sizes.items(), (file.suffix, file.size)]
    return sum(_header_bytes(f"{key}.{suffix}", size) + padded(size) for suffix, size in members)


def _record_bytes(planned: PlannedFile, source: Path, store: AnnotationStore) -> int | None:
    """Bytes of the field `json` of a file of which annotations or a table say something; None for others."""
    if store.record_text(planned.file.path) is None:
        return None
    fields = dict[str, bytes]()
    for suffix, size in planned.file.sidecars:
        if suffix.lower() == "json":
            fields["json"] = read_sidecar(source, planned.file, suffix, size)
    add_record(fields, store, planned.file.path)
    return len(fields["json"])


def _header_bytes(name: str, size: int) -> int:
    """Bytes of the header of a member: a block, more for a name that is long or not ASCII."""
    if len(name) <= PLAIN_NAME_BYTES and size < PLAIN_BYTES and name.isascii():
        return BLOCK
    return len(tar_header(name, size))
