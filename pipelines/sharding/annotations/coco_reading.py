"""Reading an annotation file of the COCO form entry by entry, whatever the order of its sections and its size."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from ...errors import ShardingError, SourceError
from ...storage.json_text import orjson_function
from ..wording import printable
from .coco_opening import damage_of, open_text, wrong_form_error
from .json_chunks import CHUNK_BYTES, UnreadableJsonError, json_chunks
from .problems import ProblemLog, shown
from .quick_reading import SECTIONS, Batch, UnusualJsonError, quick_batches

__all__ = ["read_batches"]

LISTS = ("images", "annotations", "categories")
"""The sections that must be lists, if they are there."""

MOST_ENTRY_BYTES = 1 << 26


class _Sections(str):
    """A prefix for ijson that stands for the entries of every section at once.

    ijson compares it with the path of each value outside of the entries, and builds an entry where they are equal.
    `begun` has the sections of the entries that were not yielded yet, `found` the sections of the file, `filled` those
    that have entries, `unfit` those that are not lists. Guarded by `test_one_pass_reads_every_section_in_any_order`.
    """

    __slots__ = ("begun", "compared", "filled", "found", "unfit")
    __hash__ = str.__hash__

    def __init__(self) -> None:
        super().__init__()
        self.compared = 0
        self.begun = deque[str]()
        self.found, self.filled, self.unfit = set[str](), set[str](), set[str]()

    def __eq__(self, path: object) -> bool:
        self.compared += 1
        section, _, below = str(path).partition(".")
        if section not in SECTIONS:
            return False
        self.found.add(section)
        if below == "item":
            self.begun.append(section)
            self.filled.add(section)
            return True
        self.unfit.update([section] if below else [])
        return False

    def __ne__(self, path: object) -> bool:
        return not self == path


class _Text:
    """Chunks of a text as a file for ijson, which counts its bytes and those since something was last compared."""

    def __init__(self, chunks: Iterator[bytes], sections: _Sections) -> None:
        self._chunks, self._sections = chunks, sections
        self._compared, self._since = 0, 0
        self.read_bytes, self.is_at_end = 0, False

    def read(self, most: int = -1) -> bytes:
        """The next chunk, of any size; ijson asks for 0 bytes first, to see what it gets.

        Raises `UnreadableJsonError` within an entry of more than 64 MiB, and what `json_chunks` raises.
        """
        if not most:
            return b""
        moved, self._compared = self._sections.compared > self._compared, self._sections.compared
        chunk = next(self._chunks, b"")
        self._since = len(chunk) if moved else self._since + len(chunk)
        self.read_bytes, self.is_at_end = self.read_bytes + len(chunk), not chunk
        if self._since > MOST_ENTRY_BYTES:
            raise UnreadableJsonError(f"an entry in it has more than {MOST_ENTRY_BYTES >> 20} MiB")
        return chunk


def read_batches(path: Path, log: ProblemLog) -> Iterator[Batch]:
    """The entries of a file, `.json` or `.json.gz`, in its order; all of them are objects.

    Where the file is damaged or ends too early, the entries before that place are yielded, and the place is a problem.
    NaN and Infinity become null. Memory is bounded by the largest entry. With orjson a file is read many entries at a
    time, and by ijson from the first unusual place on; the entries are the same.

    Raises `SourceError` for a file that cannot be read, or is not of this form; `ShardingError` without ijson.
    """
    name, sections, has_entries = printable(path.name), _Sections(), False
    for batch in _batches(path, name, sections, log):
        has_entries |= bool(batch.entries)
        if set(map(type, batch.entries)) <= {dict}:
            yield batch
        else:
            objects = [value for value in batch.entries if isinstance(value, dict)]
            num = len(batch.entries) - len(objects)
            log.add("not an object", f"{name}: an entry of {batch.section}", count=num)
            yield Batch(batch.section, objects)
    if not sections.found & {"images", "annotations"} or (sections.unfit and not has_entries):
        raise wrong_form_error(path)


def _batches(path: Path, name: str, sections: _Sections, log: ProblemLog) -> Iterator[Batch]:
    """The entries: by the quick reader up to the first unusual place, and by ijson after it."""
    ijson, loads, num_given = _ijson(), orjson_function("loads"), 0
    if loads is not None:
        try:
            with open_text(path) as file:
                for batch in quick_batches(file, loads):
                    sections.found.add(batch.section)
                    num_given += len(batch.entries)
                    yield batch
                if not damage_of(file):
                    return
        except (UnusualJsonError, OSError):
            pass  # the place and the reason are found again below
    for (section, _), group in groupby(_stream(ijson, path, name, sections, log), lambda found: found[:2]):
        values = [value for _, _, value in group]
        skipped = min(num_given, len(values))
        num_given -= skipped
        if len(values) > skipped:
            yield Batch(section, values[skipped:])


def _stream(
    ijson: Any, path: Path, name: str, sections: _Sections, log: ProblemLog
) -> Iterator[tuple[str, int, Any]]:
    """(section, bytes read, entry) as ijson builds them; raises `SourceError` for damage before any section."""
    damage, last, number = "", "", 0
    try:
        with open_text(path) as file:
            text = _Text(json_chunks(file, name, log), sections)
            try:
                for value in ijson.items(text, sections, use_float=True, buf_size=CHUNK_BYTES):
                    section = sections.begun.popleft()
                    last, number = section, number + 1 if section == last else 1
                    yield section, text.read_bytes, value
            except ijson.JSONError:
                before = "ends after" if text.is_at_end else "is not JSON before"
                damage = f"it {before} byte {text.read_bytes:,}"
            damage = damage_of(file) or damage
    except UnreadableJsonError as error:
        after = f", after {number:,} entries of {last}" if number else ""
        raise SourceError(f"{printable(str(path))}: {error}{after}. Correct it, or leave the file out.") from error
    except OSError as error:
        raise SourceError(f"{printable(str(path))}: cannot be read ({error.strerror or error}).") from error
    if damage and not sections.found & {"images", "annotations"}:
        raise wrong_form_error(path)
    if damage:
        log.add("damaged", f"{name}: {damage}")
    for section, value in _unfit(ijson, path, sections).items():
        log.add("section", f"{name}: {section} is {value}")


def _unfit(ijson: Any, path: Path, sections: _Sections) -> dict[str, str]:
    """The sections that are not lists, and what they are instead. Reads the file again, if a section has no entries."""
    searched = {one for one in LISTS if one in sections.found and one not in sections.filled}
    found = dict[str, str]()
    if not searched:
        return found
    log = ProblemLog()  # all of it was counted before
    with open_text(path) as file, suppress(ijson.JSONError, UnreadableJsonError, OSError):
        text = _Text(json_chunks(file, "", log), _Sections())
        for where, event, value in ijson.parse(text, use_float=True, buf_size=CHUNK_BYTES):
            if where in searched:
                searched.discard(where)
                if event != "start_array":
                    found[where] = "an object" if event == "start_map" else shown(value)
                    sections.unfit.add(where)
            if not searched:
                break
    return found


def _ijson() -> Any:
    """The streaming parser, in C where its wheel has it."""
    try:
        import ijson
    except ImportError as error:
        raise ShardingError(
            "Annotation files are read with ijson. Install it: pip install 'dirvae[labels]'."
        ) from error
    return ijson
