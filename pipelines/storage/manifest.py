"""`manifest.json`: what a folder of shards holds, and `manifest.names.jsonl`: where each example came from.

Columnar, so that it stays small at 10⁵ shards:

    {"format": "dirvae-shards", "version": 1, "modality": "image", "examples": 485,
     "shards": {"name": [...], "examples": [...], "bytes": [...], "sha256": [...]},
     "data_hash": "…", "listing": "…", "settings": {...},
     "failures": [{"path": "broken.jpg", "reason": "…"}]}

The names file holds one JSON array per line, `["key", "original/path.jpg"]`, example by example in shard order.
Shards that are appended never change what is before them, so `data_hash` is a chain over the shards:
h₀ = "", hₖ = SHA-256(hₖ₋₁ ‖ sha256ₖ ‖ examplesₖ), cut to 128 bits.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ShardError

__all__ = ["MANIFEST_NAME", "MANIFEST_VERSION", "NAMES_NAME", "Manifest", "ShardColumns", "chain_hashes"]

MANIFEST_NAME = "manifest.json"
NAMES_NAME = "manifest.names.jsonl"
MANIFEST_FORMAT = "dirvae-shards"
MANIFEST_VERSION = 1


@dataclass(frozen=True)
class ShardColumns:
    """One entry per shard in each list: file name, number of examples, bytes, SHA-256 in hex."""

    name: list[str] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    sha256: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Manifest:
    """What a folder of shards holds. `listing` is the fingerprint of what was packed, `settings` how."""

    modality: str
    shards: ShardColumns
    listing: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    failures: list[dict[str, str]] = field(default_factory=list)

    @property
    def examples(self) -> int:
        """Examples in all shards."""
        return sum(self.shards.examples)

    @property
    def data_hash(self) -> str:
        """The rolling hash after the last shard: 32 hexadecimal digits."""
        hashes = chain_hashes(self.shards.sha256, self.shards.examples)
        return hashes[-1] if hashes else ""

    def to_json(self) -> str:
        """The text of `manifest.json`; the same manifest gives the same bytes."""
        head = {"format": MANIFEST_FORMAT, "version": MANIFEST_VERSION, "modality": self.modality}
        body = {
            "examples": self.examples,
            "shards": asdict(self.shards),
            "data_hash": self.data_hash,
            "listing": self.listing,
            "settings": self.settings,
            "failures": self.failures,
        }
        return json.dumps({**head, **body}, ensure_ascii=False, separators=(",", ":")) + "\n"

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Manifest:
        """Read `manifest.json` of a folder. Raises `FileNotFoundError` without one, `ShardError` for a bad one."""
        path = Path(folder) / MANIFEST_NAME
        raw = path.read_bytes()
        try:
            content = json.loads(raw.decode("utf-8"))
            if content["format"] != MANIFEST_FORMAT:
                raise ValueError(f"format is {content['format']!r}")
            if content["version"] != MANIFEST_VERSION:
                raise ValueError(f"version is {content['version']!r}; this library reads {MANIFEST_VERSION}")
            manifest = cls(
                modality=str(content["modality"]),
                shards=ShardColumns(**content["shards"]),
                listing=str(content["listing"]),
                settings=dict(content["settings"]),
                failures=list(content["failures"]),
            )
            _check(manifest, content)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ShardError(
                f"{path}: not a readable manifest ({error}). Make the shards again with --overwrite."
            ) from error
        return manifest


def chain_hashes(sha256: Iterable[str], examples: Iterable[int]) -> list[str]:
    """The rolling data hash after each shard: 32 hexadecimal digits apiece."""
    link, hashes = b"", []
    for digest, count in zip(sha256, examples, strict=True):
        link = hashlib.sha256(link + bytes.fromhex(digest) + count.to_bytes(8, "little")).digest()[:16]
        hashes.append(link.hex())
    return hashes


def _check(manifest: Manifest, content: dict[str, Any]) -> None:
    columns = manifest.shards
    if not len(columns.name) == len(columns.examples) == len(columns.bytes) == len(columns.sha256):
        raise ValueError("its columns differ in length")
    for name in columns.name:
        if not isinstance(name, str) or Path(name).name != name or name in ("", "..") or "\0" in name:
            raise ValueError(f"{name!r} is not a file name")
    if any(not isinstance(count, int) or count < 0 for count in columns.examples + columns.bytes):
        raise ValueError("a count is not a whole number from 0 up")
    if len(set(columns.name)) != len(columns.name):
        raise ValueError("it names a shard twice")
    if content["examples"] != manifest.examples:
        raise ValueError("its number of examples is not the sum over its shards")
    if content["data_hash"] != manifest.data_hash:
        raise ValueError("its data_hash does not follow from its shards")
