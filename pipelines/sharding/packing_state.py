"""The folder shards are packed into, from the first run to the finished set.

    OUT/image-000000.tar, .tar.index.npy    a finished shard, there as soon as it is whole
    OUT/video-000000.tar.frames.npy         as well, of a shard of videos
    OUT/manifest.json, manifest.names.jsonl  written last: with the manifest the set is finished
    OUT/.make_shards/plan.json              what the run in progress was planned from; saved first
    OUT/.make_shards/finished.jsonl         one line per finished shard: its summary and its failures
    OUT/.make_shards/parts-PID/             shards being written, of one run

Only the process that holds the folder's lock writes outside of parts-PID, so children that outlive their parent
by a moment can do no harm. A shard is recorded, then its frame tables (of videos) are renamed into place, then its
index, then its tar: it counts as finished if all of them are there.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ShardError, ShardingError
from ..modality import packed_modalities
from ..storage.durable_files import fsync_folder
from ..storage.frame_table import FRAME_DTYPE, frames_path
from ..storage.index import INDEX_DTYPE, index_digest, index_path, load_index
from ..storage.json_text import parse_json
from ..storage.label_table import LABELS_NAME, LabelTable
from ..storage.locked_folder import hold_folder
from ..storage.manifest import MANIFEST_NAME, NAMES_NAME, Manifest
from ..storage.plain_files import MOST_TEXT_BYTES, create_plain, map_plain, open_plain, read_plain, refuse_link
from .annotations.adding import Earlier
from .attached_records import AttachedRecords, attach_records
from .attachments import Attachments
from .classes import CLASSES_NAME, known_classes
from .journal import journal_line, read_journal_line
from .packing import file_key
from .plan import Plan
from .shard_file import ShardSummary
from .shard_job import ShardResult

__all__ = ["LOCK_NAME", "PackingState", "hold_folder_of_shards"]

LOCK_NAME = ".make_shards.lock"


def hold_folder_of_shards(out: Path) -> AbstractContextManager[None]:
    """Keep other runs out of an output folder. Raises `ShardingError` if another run holds it."""
    return hold_folder(out, LOCK_NAME, error=ShardingError, doing="packing into it")


class PackingState:
    """Reading and changing the state of one output folder, which exists and whose lock is held."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._folder = out / ".make_shards"
        self._plan, self._journal = self._folder / "plan.json", self._folder / "finished.jsonl"

    def refuse_links(self) -> None:
        """Raise `OSError` where a link leads what is to be written, or removed, out of the folder."""
        for path in (self._folder, self._plan, self._journal):
            refuse_link(path)
        if self._folder.exists() and not self._folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{self._folder.name} is not a folder; remove it")

    def saved_plan(self) -> dict[str, Any] | None:
        """What an unfinished run was planned from; None if there is none, or its plan is damaged."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            plan = parse_json(read_plain(self._plan, most=MOST_TEXT_BYTES).decode("utf-8"))
            if isinstance(plan, dict) and isinstance(plan.get("settings", {}), dict):
                return plan
        return None

    def begin(self, plan: dict[str, Any]) -> None:
        """Save the plan of a run; it is there whole, or not at all."""
        self._folder.mkdir(exist_ok=True)
        self._journal.unlink(missing_ok=True)
        _write(self._plan, [json.dumps(plan)])

    def manifest(self) -> Manifest | None:
        """The manifest of a finished set, or None. Raises `ShardError` for a damaged one."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return Manifest.load(self.out)
        return None

    def names(self, manifest: Manifest, *, cut: bool) -> dict[str, str]:
        """Original path → key of every file of a finished set, `cut` into numbered examples or not.

        Raises `ShardError` where that is not known.
        """
        path = self.out / NAMES_NAME
        try:
            with open(open_plain(path), encoding="utf-8") as lines:
                pairs = [_key_and_path(line) for line in islice(lines, manifest.examples)]
            if len(pairs) != manifest.examples:
                raise ValueError(f"{len(pairs):,} lines for {manifest.examples:,} examples")
            found = {original: file_key(key) if cut else key for key, original in pairs}
            if not cut and len(found) != len(pairs):
                raise ValueError("it names a file twice")
            return found
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or error
            raise ShardError(f"{path}: not readable ({said}). Make the shards again with --overwrite.") from error

    def packed_bytes(self, manifest: Manifest) -> list[int]:
        """Bytes of the media of every example of a finished set, in the order of its names.

        Raises `ShardError` for an index that is missing, damaged, or of another number of examples than the manifest.
        """
        found: list[int] = []
        columns = manifest.shards
        for name, examples, digest in zip(columns.name, columns.examples, columns.index_hash, strict=True):
            path = index_path(self.out / name)
            try:
                index = load_index(path, digest=digest)
            except FileNotFoundError as error:
                raise ShardError(f"{path}: in the manifest, but missing. Restore it.") from error
            if len(index) != examples:
                raise ShardError(
                    f"{path}: holds {len(index):,} examples, and the manifest says {examples:,}. Restore them, or make "
                    "the shards again with --overwrite."
                )
            found += index["data_length"].tolist()
        return found

    def check_present(self, manifest: Manifest) -> None:
        """Raise `ShardError` if a shard of a finished set, or a file beside it, is missing or was cut off."""
        columns = manifest.shards
        facts = zip(columns.name, columns.examples, columns.bytes, columns.frames_hash, strict=True)
        for name, examples, size, frames in facts:
            if not self._is_present(ShardSummary(name, examples, size, "", frames_hash=frames)):
                raise ShardError(
                    f"{self.out / name}: in the manifest, but it or a file beside it is missing or cut off. Restore "
                    "it, or make the shards again with --overwrite."
                )

    def has_unfinished(self) -> bool:
        """Whether a run was begun and has not been cleared away to the last file."""
        return self._folder.exists() or (self.out / LOCK_NAME).exists()

    def finished(self, plan: Plan) -> dict[int, ShardResult]:
        """The shards of the run in progress that need not be made again, by number.

        Lines of the journal that are damaged are passed over: their shards are made again.
        """
        planned = plan.numbered
        found: dict[int, ShardResult] = {}
        for line in self._whole_lines():
            result = read_journal_line(line, planned, plan.settings)
            if result is not None and (known := self._with_present_index(result)) is not None:
                found[result.number] = known
        return found

    def _with_present_index(self, result: ShardResult) -> ShardResult | None:
        """The result with the digest of its index; None where the shard or its index is not the one it made."""
        summary = result.summary
        if not summary.examples:
            return result
        if not self._is_present(summary):
            return None
        tar = self.out / summary.name
        digest = index_digest(map_plain(index_path(tar)))
        if summary.index_hash not in ("", digest):
            return None
        with contextlib.suppress(ShardError, OSError):
            if summary.frames_hash == _frames_digest(tar):
                return replace(result, summary=replace(summary, index_hash=digest))
        return None

    def _whole_lines(self) -> list[bytes]:
        """The journal without a last line that was cut off, which is removed so that more can follow."""
        try:
            content = read_plain(self._journal, most=MOST_TEXT_BYTES)
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with self._open_journal() as journal:
                journal.truncate(len(whole))
        return whole.splitlines()

    def _open_journal(self) -> BinaryIO:
        """To be added to; a link is not followed. Raises `OSError`."""
        return open(
            os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666),
            "ab",
        )

    def _is_present(self, summary: ShardSummary) -> bool:
        if not summary.examples:
            return True
        tar = self.out / summary.name
        with contextlib.suppress(OSError):
            index_bytes = index_path(tar).stat().st_size
            if summary.frames_hash and frames_path(tar).stat().st_size <= summary.examples * FRAME_DTYPE.itemsize:
                return False
            return tar.stat().st_size == summary.bytes and index_bytes > summary.examples * INDEX_DTYPE.itemsize
        return False

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder of this run's own for shards being written, on the same disk; what earlier runs left is removed."""
        for left in self._folder.glob("parts-*"):
            _remove_tree(left)
        folder = self._folder / f"parts-{os.getpid()}"
        folder.mkdir()
        try:
            yield folder
        finally:
            _remove_tree(folder)

    def publish(self, result: ShardResult, scratch: Path) -> None:
        """Record a shard and move it from the scratch folder to where it belongs."""
        with self._open_journal() as journal:
            journal.write(journal_line(result))
            journal.flush()
            os.fsync(journal.fileno())
        if result.summary.examples:
            made, tar = scratch / result.summary.name, self.out / result.summary.name
            if result.summary.frames_hash:
                frames_path(made).replace(frames_path(tar))
            index_path(made).replace(index_path(tar))
            made.replace(tar)
            fsync_folder(self.out)

    def finish(self, manifest: Manifest, new_names: Iterable[tuple[str, str]], *, kept: int) -> None:
        """Write the names, after the first `kept` of the old, the classes, the manifest; clear the rest away."""
        self._write_names(kept, new_names)
        self._write_classes(manifest)
        self._write_labels(manifest)
        _write(self._folder / MANIFEST_NAME, [manifest.to_json().rstrip("\n")])
        (self._folder / MANIFEST_NAME).replace(self.out / MANIFEST_NAME)
        fsync_folder(self.out)
        _remove_tree(self._folder)

    def attach_records(self, attachments: Attachments, files: Sequence[str], earlier: Earlier) -> AttachedRecords:
        """What annotations and tables say of these files; made once for the run in progress."""
        return attach_records(self._folder, attachments, files, earlier)

    def forget_if_nothing_is_finished(self) -> None:
        """Let go of a run that has not made a shard, so that the next one may have other settings."""
        if not self.has_finished_shards():
            _remove_tree(self._folder)

    def has_finished_shards(self) -> bool:
        """Whether the run in progress has recorded a shard."""
        return bool(self._whole_lines())

    def _write_names(self, kept: int, new_names: Iterable[tuple[str, str]] = ()) -> None:
        with contextlib.ExitStack() as stack:
            old: Iterable[str] = ()
            if kept:
                lines = stack.enter_context(open(open_plain(self.out / NAMES_NAME), encoding="utf-8"))
                old = (line.rstrip("\n") for line in islice(lines, kept))
            new = (json.dumps([key, path], ensure_ascii=False, separators=(",", ":")) for key, path in new_names)
            _write(self._folder / NAMES_NAME, chain(old, new))
        (self._folder / NAMES_NAME).replace(self.out / NAMES_NAME)

    def lacks_tables(self, manifest: Manifest) -> bool:
        """Whether the classes or labels of a finished set are not where readers look for them."""
        has_classes, has_labels = bool(known_classes(manifest.settings)), manifest.labels is not None
        return (has_classes and not (self.out / CLASSES_NAME).exists()) or (
            has_labels and not (self.out / LABELS_NAME).exists()
        )

    def _write_classes(self, manifest: Manifest) -> None:
        """A copy of the manifest's classes for readers; a set without any leaves such a file alone."""
        if classes := known_classes(manifest.settings):
            _write(self._folder / CLASSES_NAME, [json.dumps(classes, ensure_ascii=False, indent=1)])
            (self._folder / CLASSES_NAME).replace(self.out / CLASSES_NAME)

    def _write_labels(self, manifest: Manifest) -> None:
        """A copy of the manifest's labels for readers."""
        if manifest.labels is not None:
            _write(self._folder / LABELS_NAME, [manifest.labels.text()])
            (self._folder / LABELS_NAME).replace(self.out / LABELS_NAME)

    def strays(self) -> list[Path]:
        """Files in the folder that are named like the shards of a modality."""
        prefixes = "|".join(re.escape(modality.name) for modality in packed_modalities())
        pattern = re.compile(rf"({prefixes})-\d{{6,}}\.tar(\.(index|frames)\.npy)?")
        return sorted(path for path in self.out.iterdir() if pattern.fullmatch(path.name))

    def discard_unfinished(self, manifest: Manifest) -> None:
        """Forget a run in progress, and remove its shards, names and classes; those of the manifest stay."""
        if self._folder.exists() or self.lacks_tables(manifest):
            self._folder.mkdir(exist_ok=True)
            keep = {self.out / name for name in manifest.shards.name}
            keep |= {path(tar) for tar in keep for path in (index_path, frames_path)}
            for stray in self.strays():
                if stray not in keep:
                    stray.unlink()
            self._write_names(manifest.examples)
            self._write_classes(manifest)
            self._write_labels(manifest)
            _remove_tree(self._folder)

    def wipe(self) -> None:
        """Remove the whole set, finished or not: the manifest first, so that no half of it passes for a set.

        Its copies of classes and labels go before that, because only the manifest says whose the classes are.
        """
        if self._has_classes():
            (self.out / CLASSES_NAME).unlink(missing_ok=True)
        with contextlib.suppress(ShardError, OSError):  # others may have a file of this name
            LabelTable.load(self.out)
            (self.out / LABELS_NAME).unlink(missing_ok=True)
        (self.out / MANIFEST_NAME).unlink(missing_ok=True)
        (self.out / NAMES_NAME).unlink(missing_ok=True)
        _remove_tree(self._folder)
        for stray in self.strays():
            stray.unlink()

    def _has_classes(self) -> bool:
        """Whether the set in the folder, finished or not, is one with classes."""
        plan = self.saved_plan() or {}
        with contextlib.suppress(ShardError):
            if (manifest := self.manifest()) and known_classes(manifest.settings):
                return True
        return bool(plan.get("settings", {}).get("classes"))


def _frames_digest(tar: Path) -> str:
    """Of the frame tables of a shard; empty where its index names none. Raises `ShardError` or `OSError`."""
    has_tables = load_index(index_path(tar))["table_offset"].max(initial=-1) >= 0
    return index_digest(map_plain(frames_path(tar))) if has_tables else ""


def _write(path: Path, lines: Iterable[str]) -> None:
    """Text lines to a file that appears whole. A name that is not UTF-8 becomes a JSON escape, which reads back."""
    beside = path.with_name(f".{path.name}.part")
    with create_plain(beside) as file:
        for line in lines:
            file.write((line + "\n").encode("utf-8", "backslashreplace"))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def _key_and_path(line: str) -> tuple[str, str]:
    """A line of the names. Raises `ValueError`."""
    pair = parse_json(line)
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise ValueError(f"{line.strip()[:80]!r} is not a key with a path")
    return pair[0], pair[1]


def _remove_tree(folder: Path) -> None:
    """Remove a folder into which the orphan of a killed run may be writing for a moment yet; or what stands there."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        return
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.02)
    shutil.rmtree(folder)
