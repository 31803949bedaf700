"""What identifies a zarr array as far as is cheap to find out, and does not change when rows are appended."""

from __future__ import annotations

import hashlib
import json
import math
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import SourceError
from .zarr_layout import ChunkKeys

__all__ = ["describe_files", "fingerprint", "sampled"]

DENSE = 64
SAMPLE_BYTES = 4096
PASSED_OVER = ("shape", "attributes", "consolidated_metadata", "dimension_names")


def fingerprint(metadata: dict[str, Any], axis: int, rows: int, files: Iterator[str]) -> str:
    """A digest over the first `rows` rows along an axis: the metadata, and a description of the chunks' files."""
    what = {key: value for key, value in metadata.items() if key not in PASSED_OVER}
    beside = [size for at, size in enumerate(metadata["shape"]) if at != axis]
    try:
        digest = hashlib.sha256(json.dumps([what, beside, axis, rows], sort_keys=True, default=str).encode())
    except RecursionError as error:
        raise SourceError("its metadata is nested too deeply. Write it again.") from error
    for line in files:
        digest.update(line.encode())
    return digest.hexdigest()


def describe_files(
    folder: Path, metadata: dict[str, Any], shape: tuple[int, ...], file: tuple[int, ...], *, axis: int, rows: int
) -> Iterator[str]:
    """The size, and a digest of both ends, of some of the chunks' files that lie wholly in the first `rows` rows.

    metadata    the array's, as stored in `folder`; file: the shape of what one file holds
    """
    keys = ChunkKeys.of(metadata)
    if keys is None:
        return
    counts = [math.ceil(size / cut) for size, cut in zip(shape, file, strict=True)]
    beside = [count for at, count in enumerate(counts) if at != axis]
    for number in sampled(rows // file[axis] * math.prod(beside)):
        coordinates = list[int]()
        for count in reversed(beside):
            number, rest = divmod(number, count)
            coordinates.insert(0, rest)
        coordinates.insert(axis, number)
        yield f"{coordinates}\0{_describe(folder / keys.path(coordinates))}\0"


def sampled(num: int) -> Iterator[int]:
    """Of the numbers below `num` the first 64, and of each doubling behind them 64 evenly spread ones.

    What is chosen of a prefix is chosen of the whole, so that a set that grew is looked at in the same places.
    """
    yield from range(min(num, DENSE))
    step, begin = 1, DENSE
    while begin < num:
        yield from range(begin, min(num, 2 * begin), step)
        step, begin = 2 * step, 2 * begin


def _describe(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            return "not a file"
        with open(path, "rb") as file:
            begin = file.read(SAMPLE_BYTES)
            size = path.stat().st_size
            file.seek(max(0, size - SAMPLE_BYTES))
            return f"{size} {hashlib.sha256(begin + file.read(SAMPLE_BYTES)).hexdigest()}"
    except FileNotFoundError:
        return "absent"
    except OSError as error:
        return f"unreadable: {error.strerror}"
