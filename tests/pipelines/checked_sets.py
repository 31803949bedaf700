"""Packed sets that a test may damage, and what check_shards says of them."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.check_shards import CheckOptions, CheckReport, check_shards
from pipelines.storage.manifest import MANIFEST_NAME, Manifest

__all__ = ["check", "flip", "kinds", "manifest_of", "rewrite_manifest"]


def check(source: Path | str, **options: object) -> CheckReport:
    return check_shards(source, CheckOptions(threads=2, **options))  # type: ignore[arg-type]


def kinds(report: CheckReport) -> set[tuple[str, str]]:
    """(kind, last part of the file's name) of every finding; everything in a report is JSON."""
    json.dumps(report.to_json())
    return {(finding.kind, Path(finding.file).name) for finding in report.findings}


def flip(path: Path, place: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def manifest_of(folder: Path) -> Manifest:
    return Manifest.load(folder)


def rewrite_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8")
