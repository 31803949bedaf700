"""The ledger beside a zarr group: what the group is made from, and which of its shards are finished.

    latents.zarr                     the group
    latents.zarr.ledger.jsonl        line 1: the settings; then one line per finished shard, in order; the last line

A line is written after the shard that it names is on the disk, so a shard in the ledger is whole even after a kill.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dirvae.training.errors import ConfigError
from pipelines.storage.durable_files import write_durably
from pipelines.storage.json_text import parse_json
from pipelines.storage.plain_files import MOST_TEXT_BYTES, read_plain

__all__ = ["Ledger", "LedgerContent"]

LEDGER_VERSION = 1
END = {"complete": True}


@dataclass(frozen=True)
class LedgerContent:
    """The settings, the checksums of the finished shards by array, and whether the group is complete."""

    asked: dict[str, Any]
    shards: list[dict[str, str]]
    is_complete: bool


class Ledger:
    """The ledger of the group at `out`."""

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(out.name + ".ledger.jsonl")

    def read(self) -> LedgerContent | None:
        """The content of the ledger; None if there is no ledger. Reading ends at the first incomplete line.

        Raises `ConfigError` if the file is not a ledger of this version.
        """
        try:
            lines = read_plain(self.path, most=MOST_TEXT_BYTES).splitlines(keepends=True)
        except FileNotFoundError:
            return None
        head = _parsed(lines[0]) if lines else None
        if head is None or head.get("version") != LEDGER_VERSION or not isinstance(head.get("asked"), dict):
            raise ConfigError(f"{self.path}: is not a ledger of this version. Remove it, or name another --out.")
        shards: list[dict[str, str]] = []
        for line in lines[1:]:
            entry = _parsed(line)
            if entry == END:
                return LedgerContent(head["asked"], shards, True)
            if entry is None or entry.get("shard") != len(shards) or not isinstance(entry.get("crc32"), dict):
                break
            shards.append(entry["crc32"])
        return LedgerContent(head["asked"], shards, False)

    def begin(self, asked: dict[str, Any], shards: list[dict[str, str]]) -> None:
        """Write a new ledger with the settings and the shards that are finished already."""
        lines = [{"version": LEDGER_VERSION, "asked": asked}, *map(_entry, range(len(shards)), shards)]
        write_durably(self.path, "".join(map(_line, lines)))

    def add(self, shard: int, crc32: dict[str, str]) -> None:
        """Append the line of a finished shard: its number and its checksums."""
        self._append(_entry(shard, crc32))

    def end(self) -> None:
        """Append the last line: the group is complete."""
        self._append(END)

    def _append(self, content: dict[str, Any]) -> None:
        with open(self.path, "ab") as file:
            file.write(_line(content).encode("ascii"))
            file.flush()
            os.fsync(file.fileno())


def _entry(shard: int, crc32: dict[str, str]) -> dict[str, Any]:
    return {"shard": shard, "crc32": crc32}


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content) + "\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The object of a whole line, None for anything else."""
    if not line.endswith(b"\n"):
        return None
    try:
        found = parse_json(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
