"""A modality from outside the package: files of a few numbers as text, which begin with TOY1.

Three parts and one registration: what becomes of a file in packing, an iterator, the flag of a setting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipelines import DataIterator, Example
from pipelines.modality import Format, Modality, register
from pipelines.sharding.packing import Prepared
from pipelines.sharding.source_reader import SourceReader, UnpackableError
from pipelines.sources import SourceLike
from pipelines.storage.index import Record
from pipelines.storage.listing import SourceFile


@dataclass(frozen=True)
class ToySettings:
    """What becomes of each file: "keep" packs it as it is, "sorted" packs its numbers in order."""

    modality: ClassVar[str] = "toy"
    cuts: ClassVar[bool] = False

    codec: str = "keep"
    most_numbers: int | None = None

    def __post_init__(self) -> None:
        if self.codec not in ("keep", "sorted"):
            raise ValueError(f"codec is {self.codec!r}; it must be keep or sorted.")

    @property
    def keeps_files(self) -> bool:
        return self.codec == "keep"

    def describe(self) -> dict[str, Any]:
        return asdict(self)

    def check(self, files: Sequence[SourceFile]) -> tuple[str, ...]:
        return ()

    def prepare(self, file: SourceReader, suffix: str, fields: Mapping[str, bytes]) -> Iterator[Prepared]:
        numbers = numbers_of(file.content())
        if self.most_numbers is not None and len(numbers) > self.most_numbers:
            raise UnpackableError(f"{len(numbers)} numbers are too many")
        media = file.content() if self.keeps_files else b"TOY1 " + " ".join(map(str, sorted(numbers))).encode()
        record = Record(frames=len(numbers), channels=1, rate_numerator=5, rate_denominator=2)
        yield Prepared(media, suffix, record, fields)


def numbers_of(content: bytes) -> list[int]:
    return [int(word) for word in content.removeprefix(b"TOY1").split()]


def decode_toy(example: Example, rng: np.random.Generator) -> NDArray[np.int64]:
    """(4,) int64: three numbers, and a random one."""
    try:
        numbers = numbers_of(example.media)
    except ValueError as error:
        raise example.error("not a list of numbers") from error
    return np.array([*numbers[:3], rng.integers(1 << 40)])


class ToyIterator(DataIterator):
    """Batches of toys."""

    modality = "toy"

    def __init__(self, source: SourceLike, **settings: Any) -> None:
        super().__init__(source, decode_toy, **settings)


def add_arguments(group: Any) -> None:
    group.add_argument("--codec", help="a flag that recordings have as well")
    group.add_argument("--most-numbers", type=int, help="refuse longer files")


register(
    Modality(
        name="toy",
        noun="toy",
        formats=(Format("toy", rb"TOY1"), Format("oldtoy", rb"TOY0", refused="a toy of the first kind")),
        packing=ToySettings,
        add_arguments=add_arguments,
        iterator=f"{__name__}:ToyIterator",
    )
)
