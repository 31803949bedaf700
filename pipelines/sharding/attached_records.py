"""What annotations and tables say of the files of a set, in a store that every process can read.

    OUT/.make_shards/records.store       the store, see `annotations.store`
    OUT/.make_shards/records.json         written after it: what it was made from, and what was odd

It is made once for a run, however often that is interrupted.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..storage.json_text import parse_json
from ..storage.label_table import Label
from ..storage.manifest import Manifest
from ..storage.plain_files import MOST_TEXT_BYTES, read_plain
from .attached_settings import digests_used
from .attachments import Attachments, digest_of
from .findings import LabelKey

if TYPE_CHECKING:
    from .annotations.adding import Earlier
    from .annotations.store import AnnotationStore

__all__ = ["STORE_NAME", "AttachedRecords", "attach_records", "earlier_of", "open_store"]

STORE_NAME = "records.store"
NOTES_NAME = "records.json"


@dataclass(frozen=True)
class AttachedRecords:
    """A store, the labels that its annotations define, sentences on what is wrong, and on what is worth knowing.

    `lasting` are those that stay in the manifest and are no faults.
    """

    store: Path
    labels: tuple[Label, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    lasting: tuple[str, ...]


def earlier_of(
    base: Manifest | None, attachments: Attachments, files: Sequence[str], new: Collection[str]
) -> Earlier:
    """What a set holds that is added to: `files` are the paths of the listing, `new` those that are to be packed.

    Annotation files, and the table, are new where their digests are. Raises `SourceError` for one that cannot be read.
    """
    from .annotations.adding import NOTHING_EARLIER, Earlier

    if base is None:
        return NOTHING_EARLIER
    used, table = digests_used(base.settings), attachments.table
    sources = [number for number, path in enumerate(attachments.annotations) if digest_of(path) not in used]
    return Earlier(
        labels=[LabelKey(label.number, label.id, label.name) for label in base.labels or ()],
        packed=frozenset(files) - frozenset(new),
        new_sources=frozenset(sources),
        is_new_table=table is not None and digest_of(table) not in used,
    )


def attach_records(
    folder: Path, attachments: Attachments, files: Sequence[str], earlier: Earlier
) -> AttachedRecords:
    """The records of `files`, by their paths: those of an earlier part of this run, or made from the annotations.

    `earlier` is what there is of a set that is added to. Raises `SourceError` for annotations and tables
    that cannot be used at all.
    """
    from .annotations.store_building import build_store

    store, notes = folder / STORE_NAME, folder / NOTES_NAME
    known = [earlier.labels, len(earlier.packed), sorted(earlier.new_sources), earlier.is_new_table]
    made_from = json.loads(json.dumps({**attachments.describe(), "known": known, "files": len(files)}))
    if store.exists():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return _read(store, parse_json(read_plain(notes, most=MOST_TEXT_BYTES)), made_from)
    notes.unlink(missing_ok=True)
    report = build_store(
        store,
        annotations=attachments.annotations,
        table=attachments.table,
        key=attachments.key,
        files=files,
        earlier=earlier,
    )
    content = {
        "made_from": made_from,
        "labels": [
            Label(
                one.class_number,
                one.id,
                one.name,
                supercategory=one.supercategory or "",
                keypoints=one.keypoints,
                skeleton=one.skeleton,
            ).to_json()
            for one in report.categories
        ],
        "faults": [problem.sentence() for problem in report.problems],
        "notes": list(report.remarks),
        "lasting": list(report.lasting),
    }
    beside = notes.with_suffix(".part")
    beside.write_text(json.dumps(content), encoding="ascii")
    beside.replace(notes)
    return _read(store, content, made_from)


def _read(store: Path, content: Any, made_from: Mapping[str, Any]) -> AttachedRecords:
    if content["made_from"] != made_from:
        raise ValueError("made from others")
    labels = tuple(Label.of_json(entry) for entry in content["labels"])
    said = (tuple(content[name]) for name in ("faults", "notes", "lasting"))
    return AttachedRecords(store, labels, *said)


def open_store(path: Path) -> AnnotationStore:
    """The store at a path, opened once in each process."""
    status = path.stat()
    return _open_store(path, status.st_ino, status.st_mtime_ns)


@lru_cache(maxsize=2)
def _open_store(path: Path, inode: int, changed: int) -> AnnotationStore:
    from .annotations.store import AnnotationStore

    return AnnotationStore(path)
