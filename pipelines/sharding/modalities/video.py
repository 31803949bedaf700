"""What can be asked of packing videos, and what becomes of one: kept as it is, or refused with a reason.

Every video is decoded whole once, in a process of its own, so that what the index and the frame table say is true. The
reasons go into the manifest, so they hold no address, path or time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from ...decode.errors import UndecodableError
from ...decode.video.av_package import import_av
from ...decode.video.measuring_process import measure_apart
from ...errors import ShardingError
from ...order.checked_numbers import flag, whole_number
from ...sources.located import FilePart, Member
from ...storage.frame_table import FrameTable
from ...storage.index import Record
from ...storage.listing import SourceFile
from ..packing import Prepared
from ..source_reader import SourceReader, UnpackableError

__all__ = ["VideoSettings", "add_arguments"]


@dataclass(frozen=True)
class VideoSettings:
    """What becomes of each video. Raises `ValueError` or `TypeError` for nonsense.

    decode      decode every video whole, which is done in any case: to count its frames and find broken ones.
    max_pixels  videos with larger frames are refused; None: as for images.
    """

    modality: ClassVar[str] = "video"
    cuts: ClassVar[bool] = False
    keeps_files: ClassVar[bool] = True

    decode: bool = False
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "decode", flag("decode", self.decode))
        if self.max_pixels is not None:
            object.__setattr__(self, "max_pixels", whole_number("max_pixels", self.max_pixels))

    def describe(self) -> dict[str, Any]:
        """The settings as they stand in the manifest."""
        return asdict(self)

    def check(self, files: Sequence[SourceFile]) -> tuple[str, ...]:
        """No remarks. Raises `ShardingError` where PyAV is missing."""
        try:
            import_av()
        except ImportError as error:
            raise ShardingError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from error
        return ()

    def prepare(self, file: SourceReader, suffix: str, fields: Mapping[str, bytes]) -> Iterator[Prepared]:
        """The one example that a video is. Raises `UnpackableError` with the reason if it is not one."""
        try:
            table = measure_apart(
                Member(file.read, file.size, file=FilePart(file.full_path)), max_pixels=self.max_pixels
            )
        except UndecodableError as error:
            raise UnpackableError(str(error)) from error
        yield Prepared(file.chunks(), suffix, record_of(table), fields, media_bytes=file.size, table=table)


def record_of(table: FrameTable) -> Record:
    """What the index says of a video."""
    height, width = table.size
    return Record(
        frames=len(table),
        rate_numerator=table.rate.numerator,
        rate_denominator=table.rate.denominator,
        width=width,
        height=height,
        channels=int(table.head["channels"]),
    )


def add_arguments(group: Any) -> None:
    """The flags of these settings."""
    group.add_argument("--max-pixels", type=int, metavar="NUM", help="refuse larger frames (default: 178956970)")
