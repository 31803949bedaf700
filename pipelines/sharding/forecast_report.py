"""What `make_shards --dry-run` prints."""

from __future__ import annotations

from collections.abc import Iterator

from ..modality import find_modality
from .forecast import Forecast, SetForecast
from .wording import counted

__all__ = ["forecast_lines"]

DONE = {
    "new": "would be packed",
    "continue": "would be packed, which continues a run that was interrupted",
    "append": "would be added",
    "retry": "that had failed would be tried again",
    "again": "would be packed, after what is there was removed",
}


def forecast_lines(forecast: Forecast) -> Iterator[str]:
    """Lines on every set that is not refused."""
    yield from forecast.notes
    for one in forecast.sets:
        if one.action != "refused":
            yield from _set_lines(one, forecast.workers)
    if forecast.skipped:
        yield f"{counted(forecast.skipped, 'file')} would be passed over."


def _set_lines(one: SetForecast, workers: int) -> Iterator[str]:
    if one.action == "nothing":
        yield f"{one.out}: complete already: {_held(one.shards, one.bytes)}. Nothing would be done."
        return
    about = "" if one.is_exact else "about "
    files = counted(one.files, find_modality(one.modality).noun)
    made = f"{counted(one.new_shards, 'shard')}, {about}{one.new_bytes:,} bytes"
    yield f"{one.out}: {files} {DONE[one.action]}: {made}."
    if one.finished_shards:
        yield f"  {counted(one.finished_shards, 'shard')} of that run would be kept."
    if one.shards > one.new_shards:
        yield f"  Then there are {_held(one.shards, one.bytes, about)}."
    how = "exact if every file can be packed" if one.is_exact else "estimated by the sample"
    workers_of = "this process" if not workers else f"{workers} worker process{'' if workers == 1 else 'es'}"
    sample = f"a sample of {counted(one.sample_files, 'file')}"
    yield f"  The bytes are {how}. About {_duration(one.seconds)} with {workers_of}, by {sample}."
    if one.free_bytes is not None:
        yield f"  Its disk has {one.free_bytes / 1e6:,.0f} MB free."
        if one.free_bytes < one.new_bytes:
            yield "  That is too little: make room, or name another folder with --out."


def _held(shards: int, num_bytes: int, about: str = "") -> str:
    return f"{counted(shards, 'shard')}, {about}{num_bytes:,} bytes"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
