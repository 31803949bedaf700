"""A line of `finished.jsonl`: one shard of an unfinished run, what is in it and what was left out.

In a bucket each shard has a separate record, which also has the size and tag of each of its files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..order.curve_rates import rates_from_json, rates_to_json
from ..storage.json_text import parse_json
from ..storage.walk import Failure
from .findings import Findings
from .plan import PlannedShard
from .settings import PackSettings
from .shard_content import ShardSummary
from .shard_job import ShardResult
from .writer import shard_name

__all__ = ["journal_line", "read_journal_line", "read_stored"]


def journal_line(result: ShardResult, stored: Mapping[str, tuple[int, str]] | None = None) -> bytes:
    """The line of a finished shard, with its line break; `stored` is the size and tag of each file of a bucket."""
    summary = result.summary
    record = {
        "number": result.number,
        "summary": {name: getattr(summary, name) for name in ("name", "examples", "bytes", "sha256")},
        "index_hash": summary.index_hash,
        "frames_hash": summary.frames_hash,
        "failures": result.failures,
        "parts": result.pieces,
        "curve_rates": rates_to_json(result.curve_rates),
        **result.findings.to_json(),
        **({} if stored is None else {"stored": stored}),
    }
    return json.dumps(record).encode("ascii") + b"\n"


def read_journal_line(
    line: bytes, planned: Mapping[int, PlannedShard], settings: PackSettings
) -> ShardResult | None:
    """The shard of a line; None for a line that is damaged or belongs to another plan."""
    try:
        record = parse_json(line)
        shard = planned[record["number"]]
        failures = tuple(Failure(path, reason) for path, reason in record["failures"])
        digests = {name: record.get(name, "") for name in ("index_hash", "frames_hash")}
        summary = ShardSummary(**record["summary"], **digests)
        rates = rates_from_json(record.get("curve_rates", {}))
        pieces, findings = tuple(record.get("parts", ())), Findings.of_json(record)
        result = ShardResult(shard.number, summary, failures, pieces, rates, findings)
        return result if _is_of(result, shard, settings) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def read_stored(line: bytes) -> dict[str, tuple[int, str]]:
    """The size and tag of each file in a line; empty for a damaged line."""
    try:
        stored = parse_json(line)["stored"]
        return {str(name): (int(size), str(tag)) for name, (size, tag) in stored.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _is_of(result: ShardResult, shard: PlannedShard, settings: PackSettings) -> bool:
    """Whether a result can be that of this shard: a name made here, and counts that fit its files."""
    summary, paths = result.summary, {planned.file.path for planned in shard.files}
    if summary.name != shard_name(settings.modality, shard.number):
        return False
    if not all(_is_count(number) for number in (summary.examples, summary.bytes, *result.pieces)):
        return False
    if not all(_is_hexadecimal(text) for text in (summary.sha256, summary.index_hash, summary.frames_hash)):
        return False
    if not all(failure.path in paths and isinstance(failure.reason, str) for failure in result.failures):
        return False
    if settings.media.cuts:
        return len(result.pieces) == len(shard.files) and sum(result.pieces) == summary.examples
    return not result.pieces and summary.examples == len(shard.files) - len(result.failures)


def _is_count(number: Any) -> bool:
    return type(number) is int and number >= 0


def _is_hexadecimal(text: Any) -> bool:
    return isinstance(text, str) and set(text) <= set("0123456789abcdef")
