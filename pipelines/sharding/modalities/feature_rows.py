"""Fields computed of a whole recording: its samples in memory, the rows its features give, checked and as npy.

A feature that fails for a recording, or gives what cannot be its field, makes it a failure with the reason. Reasons go
into the manifest, so they hold no address, path or time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from ...decode.audio.curves import tolerated_rows
from ...order.curve_rates import exact_rate
from ...storage.npy import npy_bytes
from ...storage.sidecars import is_field_name
from ..features import Feature, needs_package
from ..source_reader import PackingStoppedError, UnpackableError

__all__ = ["MOST_SAMPLE_BYTES", "ComputedFields", "compute_fields", "joined_samples"]

MOST_SAMPLE_BYTES = 256 << 20
"""Of a recording whose features are computed, as samples of 32 bits."""

MOST_REASON = 200
_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


@dataclass(frozen=True)
class ComputedFields:
    """Fields as npy files, and the rows per second of each."""

    fields: Mapping[str, bytes]
    rates: Mapping[str, Fraction]


def joined_samples(
    blocks: Iterable[NDArray[np.float32]], *, seconds: Fraction, sample_rate: int, channels: int
) -> NDArray[np.float32]:
    """(time, channel) blocks of a recording of this length as one array (channel, time).

    Raises `UnpackableError` for one that is too long to be held in memory, before a block is asked for.
    """
    size = int(seconds * sample_rate) * channels * 4
    if size > MOST_SAMPLE_BYTES:
        raise UnpackableError(
            f"{size / 2**20:,.0f} MiB as samples of 32 bits, and features are computed of {MOST_SAMPLE_BYTES >> 20} at "
            "most: cut it into several files first"
        )
    held = [block.T for block in blocks]
    if not sum(block.shape[1] for block in held):
        raise UnpackableError(f"too short for a sample at {sample_rate:,} Hz")
    return np.ascontiguousarray(np.concatenate(held, axis=1), np.float32)


def compute_fields(features: Sequence[Feature], samples: NDArray[np.float32], sample_rate: int) -> ComputedFields:
    """The fields that features make of the samples (channel, time) of a recording, each of which gets a copy of them.

    Raises `UnpackableError` with the reason where one fails or gives what cannot be a field, `ShardingError` where a
    package is missing.
    """
    fields: dict[str, NDArray[np.generic]] = {}
    rates: dict[str, Fraction] = {}
    for feature in features:
        found, rate = _called(feature, samples, sample_rate)
        for name, rows in found.items():
            if name in fields:
                raise UnpackableError(f"two of its features give {name}")
            fields[name], rates[name] = _checked(name, rows, rate, Fraction(samples.shape[1], sample_rate)), rate
    return ComputedFields({name: npy_bytes(rows) for name, rows in fields.items()}, rates)


def _called(feature: Feature, samples: NDArray[np.float32], sample_rate: int) -> tuple[dict[str, object], Fraction]:
    """Name of the field → rows, and rows per second."""
    function = feature.load()
    try:
        found = function(samples.copy(), sample_rate)
    except ImportError as error:
        raise needs_package(feature, error) from error
    except MemoryError as error:
        raise PackingStoppedError(
            f"The feature {feature.name} found no memory. Ask for fewer processes with workers=…, and run the same "
            "command again: finished shards are kept."
        ) from error
    except (Exception, SystemExit) as error:
        raise UnpackableError(f"its feature {feature.name} fails ({_said(error)})") from error
    if not isinstance(found, tuple) or len(found) != 2:
        raise UnpackableError(
            f"its feature {feature.name} gives {type(found).__name__}; (rows, rows per second) are expected"
        )
    rows, rate = found
    try:
        exact = exact_rate(rate)
    except ValueError as error:
        raise UnpackableError(
            f"its feature {feature.name} gives a wrong rate: {_said(error, named=False)}"
        ) from error
    named = rows if isinstance(rows, Mapping) else {feature.name: rows}
    if not named:
        raise UnpackableError(f"its feature {feature.name} gives no field")
    for name in named:
        if not isinstance(name, str) or not is_field_name(name) or name != name.lower():
            raise UnpackableError(
                f"its feature {feature.name} gives {_cut(repr(name))}, which cannot be a field's name"
            )
    return {f"{name}.npy": value for name, value in named.items()}, exact


def _checked(name: str, rows: object, rate: Fraction, seconds: Fraction) -> NDArray[np.generic]:
    """Rows as they are stored: (row, …) of finite numbers, little endian, as many as the recording has."""
    try:
        array = np.asarray(rows)
    except Exception as error:
        raise UnpackableError(f"its {name} is not an array ({_said(error)})") from error
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
        raise UnpackableError(f"its {name} has values of type {array.dtype}; numbers of up to 64 bits are expected")
    whole = seconds * rate
    if not array.ndim or not array.size:
        raise UnpackableError(f"its {name} has the shape {array.shape}; (row, …) is expected")
    if abs(len(array) - whole) > tolerated_rows(whole):
        raise UnpackableError(
            f"its {name} has {len(array):,} rows, where {float(whole):,.0f} are as long as the recording"
        )
    if not (finite := np.isfinite(array).reshape(len(array), -1).all(axis=1)).all():
        raise UnpackableError(f"its {name} has a value that is no finite number, in row {int(finite.argmin()):,}")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))


def _said(error: BaseException, *, named: bool = True) -> str:
    """An exception for a reason: in one line, without what differs from run to run."""
    said = f"{type(error).__name__}: {error}" if named and str(error) else str(error) or type(error).__name__
    return _cut(_ADDRESS.sub("0x…", " ".join(said.split())))


def _cut(text: str) -> str:
    shown = "".join(char if char.isprintable() else "?" for char in text)
    return shown if len(shown) <= MOST_REASON else f"{shown[:MOST_REASON]}…"
