"""The state of a set, from the first run to the last: read, continued, finished, and removed, wherever it is.

The order of writes is what makes a run that ends at any moment harmless: the plan before the first shard; a shard
before the names; names, classes and labels before the manifest; and what the run kept is cleared at the very end. When
a set is removed, the manifest goes before the shards.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain, islice
from json.encoder import encode_basestring as json_string
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ShardError
from ..modality import packed_modalities
from ..storage.frame_table import frames_name
from ..storage.index import index_name
from ..storage.json_text import parse_json
from ..storage.label_table import LABELS_NAME, LabelTable
from ..storage.manifest import MANIFEST_NAME, NAMES_NAME, Manifest
from .attached_records import AttachedRecords, attach_records
from .attachments import Attachments
from .classes import CLASSES_NAME, known_classes
from .journal import read_journal_line
from .packing import file_key
from .plan import Plan
from .set_place import SetPlace, is_present
from .set_tables import table_texts
from .shard_content import ShardSummary
from .shard_job import ShardResult
from .shard_target import ShardTarget

if TYPE_CHECKING:
    from .annotations.adding import Earlier

__all__ = ["PackingState"]


class PackingState:
    """Reading and changing the state of one set; for changes its place is held."""

    def __init__(self, place: SetPlace) -> None:
        self._place = place

    @property
    def out(self) -> Path | str:
        """The folder, or the URL without secrets."""
        return self._place.out

    def saved_plan(self) -> dict[str, Any] | None:
        """What an unfinished run was planned from; None if there is none, or its plan is damaged."""
        with contextlib.suppress(ValueError):
            plan = parse_json((self._place.saved_plan() or b"null").decode("utf-8"))
            if isinstance(plan, dict) and isinstance(plan.get("settings", {}), dict):
                return plan
        return None

    def begin(self, plan: dict[str, Any]) -> None:
        """Save the plan of a run; it is there whole, or not at all."""
        self._place.begin(json.dumps(plan))

    def manifest(self) -> Manifest | None:
        """The manifest of a finished set, or None. Raises `ShardError` for a damaged one."""
        return self._place.manifest()

    def names(self, manifest: Manifest, *, cut: bool) -> dict[str, str]:
        """Original path → key of every file of a finished set, `cut` into numbered examples or not.

        Raises `ShardError` where that is not known.
        """
        try:
            with self._place.open_lines(NAMES_NAME) as lines:
                pairs = [_key_and_path(line) for line in islice(lines, manifest.examples)]
            if len(pairs) != manifest.examples:
                raise ValueError(f"{len(pairs):,} lines for {manifest.examples:,} examples")
            found = {original: file_key(key) if cut else key for key, original in pairs}
            if not cut and len(found) != len(pairs):
                raise ValueError("it names a file twice")
            return found
        except (OSError, ValueError) as error:
            said = getattr(error, "strerror", None) or error
            path = self._place.path_of(NAMES_NAME)
            raise ShardError(f"{path}: not readable ({said}). Make the shards again with --overwrite.") from error

    def packed_bytes(self, manifest: Manifest) -> list[int]:
        """Bytes of the media of every example of a finished set, in the order of its names.

        Raises `ShardError` for an index that is missing, damaged, or of another number of examples than the manifest.
        """
        found: list[int] = []
        columns = manifest.shards
        for name, examples, digest in zip(columns.name, columns.examples, columns.index_hash, strict=True):
            path = self._place.path_of(index_name(name))
            try:
                index = self._place.read_index(name, digest)
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
        columns, there = manifest.shards, self._place.entries()
        facts = zip(columns.name, columns.examples, columns.bytes, columns.frames_hash, strict=True)
        for name, examples, size, frames in facts:
            if not is_present(ShardSummary(name, examples, size, "", frames_hash=frames), there):
                raise ShardError(
                    f"{self._place.path_of(name)}: in the manifest, but it or a file beside it is missing or cut off. "
                    "Restore it, or make the shards again with --overwrite."
                )

    def has_unfinished(self) -> bool:
        """Whether a run was begun and has not been cleared away to the last file."""
        return self._place.has_unfinished()

    def finished(self, plan: Plan) -> dict[int, ShardResult]:
        """The shards of the run in progress that need not be made again, by number.

        Lines of the journal that are damaged are passed over: their shards are made again.
        """
        planned = plan.numbered
        found: dict[int, ShardResult] = {}
        there = self._place.entries()
        for line in self._place.journal():
            result = read_journal_line(line, planned, plan.settings)
            if result is None or not is_present(result.summary, there):
                continue
            summary = result.summary
            if summary.examples:
                known = self._place.confirmed(summary, line, there)
                if known is None:
                    continue
                summary = known
            found[result.number] = replace(result, summary=summary)
        return found

    def scratch(self) -> AbstractContextManager[ShardTarget]:
        """Where this run's shards are written; what earlier runs left there is removed."""
        return self._place.scratch()

    def publish(self, result: ShardResult) -> None:
        """Record a shard and bring it from the scratch place to where it belongs."""
        self._place.publish(result)

    def finish(self, manifest: Manifest, new_names: Iterable[tuple[str, str]], *, kept: int) -> None:
        """Write the names, after the first `kept` of the old, the classes, the manifest; clear the rest away."""
        self._write_names(kept, new_names)
        self._write_tables(manifest)
        self._place.write_manifest(manifest)
        self._place.clear()

    def attach_records(self, attachments: Attachments, files: Sequence[str], earlier: Earlier) -> AttachedRecords:
        """What annotations and tables say of these files; made once for the run in progress."""
        return attach_records(self._place.records_folder(), attachments, files, earlier)

    def forget_if_nothing_is_finished(self) -> None:
        """Let go of a run that has not made a shard, so that the next one may have other settings."""
        if not self.has_finished_shards():
            self._place.clear()

    def has_finished_shards(self) -> bool:
        """Whether the run in progress has recorded a shard."""
        return bool(self._place.journal())

    def _write_names(self, kept: int, new_names: Iterable[tuple[str, str]] = ()) -> None:
        with contextlib.ExitStack() as stack:
            old: Iterator[str] = iter(())
            if kept:
                lines = stack.enter_context(self._place.open_lines(NAMES_NAME))
                old = (line.rstrip("\n") for line in islice(lines, kept))
            new = (f"[{json_string(key)},{json_string(path)}]" for key, path in new_names)
            self._place.write(NAMES_NAME, chain(old, new))

    def _write_tables(self, manifest: Manifest) -> None:
        """Copies of the manifest's classes and labels for readers; a set without any leaves such files alone."""
        for name, text in table_texts(manifest).items():
            self._place.write(name, [text])

    def lacks_tables(self, manifest: Manifest) -> bool:
        """Whether the classes or labels of a finished set are not where readers look for them."""
        names = table_texts(manifest).keys()
        return bool(names) and not names <= self._place.entries().keys()

    def strays(self) -> list[str]:
        """Names of files that are named like the shards of a modality."""
        prefixes = "|".join(re.escape(modality.name) for modality in packed_modalities())
        pattern = re.compile(rf"({prefixes})-\d{{6,}}\.tar(\.(index|frames)\.npy)?")
        return sorted(name for name in self._place.entries() if pattern.fullmatch(name))

    def discard_unfinished(self, manifest: Manifest) -> None:
        """Forget a run in progress, and remove its shards, names and classes; those of the manifest stay."""
        if self._place.has_work() or self.lacks_tables(manifest):
            keep = set(manifest.shards.name)
            keep |= {name(tar) for tar in keep for name in (index_name, frames_name)}
            self._place.remove(stray for stray in self.strays() if stray not in keep)
            self._write_names(manifest.examples)
            self._write_tables(manifest)
            self._place.clear()

    def wipe(self) -> None:
        """Remove the whole set, finished or not: the manifest first, so that no half of it passes for a set.

        Its copies of classes and labels go before that, because only the manifest says whose the classes are.
        """
        if self._has_classes():
            self._place.remove([CLASSES_NAME])
        with contextlib.suppress(ShardError, OSError):  # others may have a file of this name
            if (content := self._place.read(LABELS_NAME)) is not None:
                LabelTable.parse(content, where=self._place.path_of(LABELS_NAME))
                self._place.remove([LABELS_NAME])
        self._place.remove([MANIFEST_NAME])
        self._place.remove([NAMES_NAME])
        self._place.clear()
        self._place.remove(self.strays())

    def _has_classes(self) -> bool:
        """Whether the set in the folder, finished or not, is one with classes."""
        plan = self.saved_plan() or {}
        with contextlib.suppress(ShardError):
            if (manifest := self.manifest()) and known_classes(manifest.settings):
                return True
        return bool(plan.get("settings", {}).get("classes"))


def _key_and_path(line: str) -> tuple[str, str]:
    """A line of the names. Raises `ValueError`."""
    pair = parse_json(line)
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise ValueError(f"{line.strip()[:80]!r} is not a key with a path")
    return pair[0], pair[1]
