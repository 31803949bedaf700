"""Checking a manifest by itself: its checksum, its sums, its chain of hashes, its columns."""

from __future__ import annotations

import json

from ..errors import ShardError
from ..storage.json_text import parse_json
from ..storage.manifest import MANIFEST_FORMAT, Manifest, chain_hashes, manifest_checksums
from .findings import Findings

__all__ = ["read_manifest"]

RESTORE = "Restore it from a copy, or make the shards again with --overwrite."
OLD = "the manifest was written by an older version, without a checksum: changed words in it cannot be found"


def read_manifest(raw: bytes, shown: str, findings: Findings, notes: list[str]) -> tuple[Manifest | None, bool]:
    """The manifest of these bytes, and whether it is free of faults; `shown` is its name in findings.

    A manifest with wrong sums only is returned too, so that the shards can be compared with it. The manifest is None
    if it cannot be read at all.
    """
    checksums = manifest_checksums(raw)
    manifest: Manifest | None
    try:
        manifest = Manifest.parse(raw, where=shown)
    except ShardError as error:
        said = str(error).removeprefix(f"{shown}: ").partition(". Make")[0]
        manifest = _in_spite_of_its_sums(raw, shown)
        findings.add("damaged-manifest", shown, f"{said[:1].upper()}{said[1:]}. {RESTORE}")
        return manifest, False
    if wrong := _wrong_digest(manifest):
        findings.add("damaged-manifest", shown, f"{wrong} {RESTORE}")
        return manifest, False
    if checksums is not None and checksums[0] != checksums[1]:
        findings.add("damaged-manifest", shown, f"Its bytes do not match its own checksum. {RESTORE}")
        return manifest, False
    if checksums is None and manifest.to_json().rpartition(',"checksum"')[0].encode(
        "utf-8", "backslashreplace"
    ) != raw.rstrip().removesuffix(b"}"):
        findings.add("damaged-manifest", shown, f"It is not as make_shards writes it. {RESTORE}")
        return manifest, False
    if checksums is None:
        notes.append(OLD)
    return manifest, True


def _wrong_digest(manifest: Manifest) -> str:
    """The first fault in a column of digests, as a sentence; empty if there is none."""
    columns = manifest.shards
    for name, digests, length in (
        ("SHA-256", columns.sha256, 64),
        ("index digest", columns.index_hash, 32),
        ("frames digest", columns.frames_hash, 32),
    ):
        for shard, digest in zip(columns.name, digests, strict=True):
            may_be_empty = length == 32 and not digest
            if not may_be_empty and (len(digest) != length or not set(digest) <= set("0123456789abcdef")):
                return f"The {name} of {shard} is not one: {digest!r:.80}."
    return ""


def _in_spite_of_its_sums(raw: bytes, shown: str) -> Manifest | None:
    """The manifest with sums computed from its columns; None if it has other faults."""
    try:
        content = parse_json(raw.decode("utf-8"))
        if not isinstance(content, dict) or content.get("format") != MANIFEST_FORMAT:
            return None
        columns = content["shards"]
        content["examples"] = sum(columns["examples"])
        hashes = chain_hashes(columns["sha256"], columns["examples"])
        content["data_hash"] = hashes[-1] if hashes else ""
        return Manifest.parse(_encoded(content), where=shown)
    except (ShardError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _encoded(content: dict[str, object]) -> bytes:
    return json.dumps(content).encode("ascii")
