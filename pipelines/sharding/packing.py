"""What packing asks of a kind of media: its settings, and the examples that come out of one of its files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ..storage.listing import SourceFile
from .shard_file import MediaFacts
from .source_reader import SourceReader

__all__ = ["MediaSettings", "Prepared", "file_key", "part_key"]


def part_key(key: str, part: int | None) -> str:
    """The key of an example, from that of its file: parts get `-00000`, which keeps different keys different."""
    return key if part is None else f"{key}-{part:05d}"


def file_key(key: str) -> str:
    """The key of the file that an example with a numbered key was cut from."""
    return key.rpartition("-")[0]


@dataclass(frozen=True, slots=True)
class Prepared:
    """An example to be packed: its media, whole or in pieces of `media_bytes` bytes, and what the index says of it.

    `part` numbers the examples that one file is cut into from 0; None where a file is one example.
    """

    media: bytes | Iterable[bytes]
    suffix: str
    facts: MediaFacts
    fields: Mapping[str, bytes]
    media_bytes: int | None = None
    part: int | None = None


class MediaSettings(Protocol):
    """Everything that decides what becomes of a file of one kind, a frozen value that can be pickled."""

    modality: ClassVar[str]

    @property
    def keeps_files(self) -> bool:
        """Whether the media of every example is a file as it was found."""

    @property
    def cuts(self) -> bool:
        """Whether a file may become several examples, which are numbered."""

    def describe(self) -> dict[str, Any]:
        """The settings as they stand in the manifest: JSON."""

    def check(self, files: Sequence[SourceFile]) -> tuple[str, ...]:
        """Remarks on what will become of these files.

        Raises `SourceError` for a setting that fits none of them, `ShardingError` where a package is missing.
        """

    def prepare(self, file: SourceReader, suffix: str, fields: Mapping[str, bytes]) -> Iterator[Prepared]:
        """The examples of a file, in order; each is used before the next is asked for.

        Raises `UnpackableError`, also after some examples: then none of them is packed.
        """
