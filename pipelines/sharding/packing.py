"""What packing asks of a modality: its settings, and the examples that come out of one of its files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from ..storage.frame_table import FrameTable
from ..storage.index import Record
from ..storage.listing import SourceFile
from .findings import NO_FINDINGS, Findings
from .source_reader import SourceReader

__all__ = ["MediaSettings", "NamesFunctions", "Prepared", "example_key", "file_key"]


def example_key(key: str, piece: int | None) -> str:
    """The key of an example, from that of its file: pieces get `-00000`, which keeps different keys different."""
    return key if piece is None else f"{key}-{piece:05d}"


def file_key(key: str) -> str:
    """The key of the file that an example with a numbered key was cut from."""
    return key.rpartition("-")[0]


class Prepared(NamedTuple):
    """An example to be packed: its media, whole or in chunks of `media_bytes` bytes, and its row of the index.

    The columns of `record` that say where the example lies are filled in when it is written. `piece` numbers the
    examples that one file is cut into from 0; None where a file is one example. `table` has the frames of a video;
    `curve_rates` the rows per second of the fields that were computed; `findings` what there is to say of its
    annotations.
    """

    media: bytes | Iterable[bytes]
    suffix: str
    record: Record
    fields: Mapping[str, bytes]
    media_bytes: int | None = None
    piece: int | None = None
    table: FrameTable | None = None
    curve_rates: Mapping[str, Fraction] = MappingProxyType({})
    findings: Findings = NO_FINDINGS


class MediaSettings(Protocol):
    """Everything that decides what becomes of a file of one modality: a frozen dataclass that can be pickled.

    Its fields are the settings that `make_shards` takes, and that the modality's flags on the command line set.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

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


@runtime_checkable
class NamesFunctions(Protocol):
    """Settings with functions in them, which worker processes import by their names."""

    def check_importable(self) -> None:
        """Raises `ShardingError` for a function that cannot be imported."""
