"""Reading an annotation file of the COCO form entry by entry, whatever the order of its sections and its size."""

from __future__ import annotations

import gzip
import io
import zlib
from collections import deque
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ...errors import ShardingError, SourceError
from ...storage.plain_files import open_plain
from ..wording import printable
from .json_bytes import orjson_function
from .json_chunks import CHUNK_BYTES, UnreadableJsonError, json_chunks
from .problems import ProblemLog
from .quick_reading import SECTIONS, Batch, UnusualJsonError, quick_batches

__all__ = ["CocoEntry", "read_batches", "read_coco"]

MOST_ENTRY_BYTES = 1 << 26
GZIP_MAGIC = b"\x1f\x8b"


class CocoEntry(NamedTuple):
    """One object of a section: images, annotations, categories or licenses."""

    section: str
    value: dict[str, Any]


class _Sections(str):
    """A prefix for ijson that stands for the entries of every section at once.

    ijson compares it with the path of each value outside of the entries, and builds an entry where they are equal.
    `begun` has the sections of the entries that were not given yet, `found` those that there are, `unfit` those that
    are not lists. Guarded by `test_one_pass_reads_every_section_in_any_order`.
    """

    __slots__ = ("begun", "compared", "found", "unfit")
    __hash__ = str.__hash__

    def __init__(self) -> None:
        super().__init__()
        self.compared = 0
        self.begun = deque[str]()
        self.found, self.unfit = set[str](), set[str]()

    def __eq__(self, path: object) -> bool:
        self.compared += 1
        section, _, below = str(path).partition(".")
        if section not in SECTIONS:
            return False
        self.found.add(section)
        if below == "item":
            self.begun.append(section)
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


def read_coco(path: Path, log: ProblemLog) -> Iterator[CocoEntry]:
    """The entries of a file in the order in which they stand there; see `read_batches`."""
    for batch in read_batches(path, log):
        for value in batch.entries:
            yield CocoEntry(batch.section, value)


def read_batches(path: Path, log: ProblemLog) -> Iterator[Batch]:
    """The entries, all of them objects, in the order in which they stand in a file, `.json.gz` as well as `.json`.

    What comes before a place where the file is damaged or ends too early is given, and the place is a problem. NaN and
    Infinity become null. Memory is bounded by the largest entry. With orjson a file is read many entries at a time, and
    from the first unusual place on by ijson: what is given is the same.

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
        raise _of_another_form(path)


def _batches(path: Path, name: str, sections: _Sections, log: ProblemLog) -> Iterator[Batch]:
    """The entries, quickly as far as nothing is unusual, and the others as ijson builds them."""
    ijson, loads, num_given = _ijson(), orjson_function("loads"), 0
    if loads is not None:
        try:
            with _open(path) as file:
                for batch in quick_batches(file, loads):
                    sections.found.add(batch.section)
                    num_given += len(batch.entries)
                    yield batch
            return
        except (UnusualJsonError, EOFError, OSError, zlib.error):
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
    damage = ""
    try:
        with _open(path) as file:
            text = _Text(json_chunks(file, name, log), sections)
            try:
                for value in ijson.items(text, sections, use_float=True, buf_size=CHUNK_BYTES):
                    yield sections.begun.popleft(), text.read_bytes, value
            except ijson.JSONError:
                before = "ends after" if text.is_at_end else "is not JSON before"
                damage = f"it {before} byte {text.read_bytes:,}"
    except UnreadableJsonError as error:
        raise SourceError(
            f"{printable(str(path))}: {error}. It is not an annotation file; leave it out."
        ) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        damage = f"its compressed content is cut off or damaged ({error})"
    except OSError as error:
        raise SourceError(f"{printable(str(path))}: cannot be read ({error.strerror or error}).") from error
    if damage and not sections.found & {"images", "annotations"}:
        raise _of_another_form(path)
    if damage:
        log.add("damaged", f"{name}: {damage}")


def _of_another_form(path: Path) -> SourceError:
    return SourceError(
        f'{printable(str(path))}: not an annotation file: it must be a JSON object with the lists "images" and '
        '"annotations", as those of COCO. Name another file.'
    )


def _open(path: Path) -> BinaryIO:
    """The text of a file, decompressed where it is compressed."""
    file = open(open_plain(path), "rb")  # noqa: SIM115 (the caller closes it)
    if file.peek(2)[:2] != GZIP_MAGIC:
        return file
    return io.BufferedReader(_Unzipped(file))


class _Unzipped(gzip.GzipFile):
    """A compressed file that closes the file below it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="rb")
        self._file = file

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._file.close()


def _ijson() -> Any:
    """The streaming parser, in C where its wheel has it."""
    try:
        import ijson
    except ImportError as error:
        raise ShardingError(
            "Annotation files are read with ijson. Install it: pip install 'dirvae[labels]'."
        ) from error
    return ijson
