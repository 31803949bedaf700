"""Writing derived files again: an index and frame tables from their tar, tables from the manifest.

A tar is never changed. It is used only if its SHA-256 is the one in the manifest. A new file is written only if it has
the digest in the manifest: then it equals the lost file byte by byte.
"""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from ..decode.errors import UndecodableError
from ..errors import PipelineError, ShardingError
from ..sharding.folder_place import FolderPlace
from ..sharding.source_reader import UnpackableError
from ..shown_names import escaped
from ..storage.blob import LocalFile
from ..storage.durable_files import write_durably
from ..storage.frame_table import FrameRows, frames_bytes
from ..storage.index import INDEX_DTYPE, IndexFlag, Record, index_bytes, index_digest
from .decode_check import member_of
from .findings import Finding
from .folder_check import tables_of
from .index_compare import media_candidates
from .measured_media import can_measure, measure_media
from .opened_set import OpenedSet
from .shard_check import CheckedShard
from .stored_files import stream_file
from .tar_walk import TarWalk, WalkedExample

__all__ = ["repair_set"]

OF_INDEX = ("missing-index", "damaged-index", "stale-index", "swapped-index")
OF_FRAMES = ("missing-frames", "damaged-frames", "swapped-frames")
OF_TABLES = ("missing-classes", "wrong-classes", "missing-labels", "wrong-labels")


def repair_set(opened: OpenedSet, modality: str | None, shards: list[CheckedShard]) -> list[str]:
    """Write the files again that can be derived, and mark their findings. Returns why others are not, as sentences.

    Raises `ShardingError` if make_shards is running in the folder, or it cannot be written to.
    """
    is_needed = any(finding.kind in (*OF_INDEX, *OF_FRAMES) for one in shards for finding in one.findings.found)
    is_needed = is_needed or any(finding.kind in OF_TABLES for finding in opened.findings.found)
    if not is_needed:
        return []
    if opened.is_far:
        return [f"{opened.shown}: nothing was repaired, because it lies elsewhere. Repair a copy on this machine."]
    refused = []
    try:
        with FolderPlace(Path(opened.folder)).hold():
            refused += _repair_tables(opened)
            for one in shards:
                refused += _repair_shard(opened, modality, one)
    except OSError as error:
        replaced = escaped(error.filename2) if isinstance(error.filename2, str) else opened.shown
        raise ShardingError(f"{replaced}: cannot be written to ({error.strerror}).") from error
    return refused


def _repair_tables(opened: OpenedSet) -> list[str]:
    wrong = [finding for finding in opened.findings.found if finding.kind in OF_TABLES]
    if not wrong or opened.manifest is None:
        return []
    if not opened.trusts_manifest:
        return [f"{finding.file}: not repaired, because the manifest is damaged too." for finding in wrong]
    tables = tables_of(opened.manifest)
    for finding in wrong:
        name = f"{finding.kind.partition('-')[2]}.json"
        write_durably(Path(opened.place(name)), tables[name])
        opened.findings.mark_repaired(finding, "written again from the manifest")
    return []


def _repair_shard(opened: OpenedSet, modality: str | None, one: CheckedShard) -> list[str]:
    wrong = [finding for finding in one.findings.found if finding.kind in (*OF_INDEX, *OF_FRAMES)]
    if not wrong:
        return []
    shown = wrong[0].file
    if one.shard.sha256 and not one.tar_is_right:
        return [
            f"{shown}: not repaired, because its tar is not the one of the manifest. Restore {one.shard.name} first."
        ]
    if one.fault is not None or one.error or not one.is_there:
        return [f"{shown}: not repaired, because its tar is damaged. Restore {one.shard.name} first."]
    if modality is None or not can_measure(modality):
        return [
            f"{shown}: not repaired, because examples of this kind cannot be measured here. Make the shards again."
        ]
    try:
        index, frames = _rebuilt(opened, modality, one)
    except (UndecodableError, UnpackableError, PipelineError, ImportError) as error:
        return [f"{shown}: not repaired ({str(error).rstrip('.')}). Make the shards again with --overwrite."]
    return _write_proved(one, wrong, index, frames)


def _write_proved(one: CheckedShard, wrong: list[Finding], index: bytes, frames: bytes) -> list[str]:
    """Replace the wrong files by the new ones, if these have the digests of the manifest."""
    refused = []
    for finding in wrong:
        is_index = finding.kind in OF_INDEX
        content, digest = (index, one.shard.index_hash) if is_index else (frames, one.shard.frames_hash)
        name = one.shard.index if is_index else one.shard.frames
        if digest and index_digest(content) != digest:
            refused.append(
                f"{finding.file}: not repaired: what the tar gives has not the digest of the manifest. Restore it, "
                "or make the shards again with --overwrite."
            )
            continue
        write_durably(Path(name), content)
        proof = "and has the digest of the manifest" if digest else "the manifest has no digest to compare with"
        one.findings.mark_repaired(finding, f"rebuilt from the tar, {proof}")
    return refused


def _rebuilt(opened: OpenedSet, modality: str, one: CheckedShard) -> tuple[bytes, bytes]:
    """The bytes of the index and of the frame tables of a tar."""
    blob = LocalFile(one.shard.tar)
    settings = {} if opened.manifest is None else opened.manifest.settings
    most = settings.get("max_pixels")
    rows: list[Record] = []
    tables: list[FrameRows] = []
    num_rows = 0

    def add(example: WalkedExample) -> None:
        nonlocal num_rows
        media = example.members[-1] if opened.manifest is not None else media_candidates(example.members)[0]
        measured = measure_media(
            modality,
            member_of(blob, media.data_offset, media.data_length),
            max_pixels=most if type(most) is int else None,
        )
        flags = IndexFlag.HAS_CRC32 | (IndexFlag.HAS_FIELDS if len(example.members) > 1 else IndexFlag(0))
        rows.append(
            measured.record._replace(
                offset=example.offset,
                length=example.stop - example.offset,
                data_offset=media.data_offset,
                data_length=media.data_length,
                table_offset=-1 if measured.table is None else num_rows,
                flags=int(flags),
                crc32=example.crc32,
            )
        )
        if measured.table is not None:
            tables.append(measured.table.to_rows())
            num_rows += len(tables[-1])

    walk = TarWalk(add)
    stream_file(opened.store, one.shard.tar, walk.feed, restart=lambda: None, stop=threading.Event())
    walk.finish()
    frames = frames_bytes(np.concatenate(tables)) if tables else b""
    return index_bytes(np.array(rows, INDEX_DTYPE)), frames
