"""The findings of a shard that was read: first of the tar, then of the index, then of the frame tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..shown_names import shown_name
from ..storage.remote.urls import redacted
from .index_compare import frames_fault
from .opened_set import OpenedSet
from .shard_check import CheckedShard, parse_frames_or_none

__all__ = ["KnownDigests", "judge_shard"]

RESTORE_TAR = "Restore it from a copy, or make the shards again with --overwrite."
REPAIR = "It can be rebuilt from the tar: --repair."


@dataclass(frozen=True)
class KnownDigests:
    """Digest → name of the shard in the manifest: of tars, indexes and frame tables."""

    tars: Mapping[str, str] = field(default_factory=dict)
    indexes: Mapping[str, str] = field(default_factory=dict)
    frames: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, opened: OpenedSet) -> KnownDigests:
        """The digests of a set."""
        return cls(
            {one.sha256: one.name for one in opened.shards if one.sha256},
            {one.index_hash: one.name for one in opened.shards if one.index_hash},
            {one.frames_hash: one.name for one in opened.shards if one.frames_hash},
        )


def judge_shard(checked: CheckedShard, opened: OpenedSet, known: KnownDigests) -> None:
    """Add the faults of the shard to `checked.findings`."""
    if not checked.is_there:
        checked.findings.add(
            "missing-tar", checked.shard.shown, f"There is no such file, and the manifest names it. {RESTORE_TAR}"
        )
        return
    if checked.error:
        sentence = checked.error.removeprefix(f"{checked.shard.shown}: ")
        checked.findings.add("unreadable-file", checked.shard.shown, f"It {sentence} {RESTORE_TAR}")
        return
    _judge_tar(checked, opened, known)
    _judge_index(checked, opened, known)
    _judge_frames(checked, known)
    _judge_count(checked, opened)
    index = checked.index
    if index is not None and not checked.comparison.misfits:
        checked.summary.add_index(index, None if opened.manifest is None else opened.manifest.modality)
    else:
        stops = np.append(checked.offsets[1:], checked.num_bytes)
        checked.summary.example_bytes.add(np.maximum(stops - checked.offsets, 0))


def _judge_tar(checked: CheckedShard, opened: OpenedSet, known: KnownDigests) -> None:
    shard, add = checked.shard, checked.findings.add
    if checked.tar_is_right:
        if (fault := checked.fault) is not None:
            add(
                fault.kind,
                shard.shown,
                f"Byte {fault.offset:,}: {fault.reason}. {RESTORE_TAR}",
                offset=fault.offset,
            )
        return
    if not shard.sha256:
        _judge_tar_alone(checked)
    elif checked.sha256 in known.tars:
        other = known.tars[checked.sha256]
        add("swapped-tar", shard.shown, f"It holds the bytes of {other}. Give both files their own names again.")
    elif checked.head_sha256 == shard.sha256:
        add(
            "trailing-bytes",
            shard.shown,
            f"{checked.num_bytes - (shard.num_bytes or 0):,} bytes stand behind its {shard.num_bytes:,} bytes. Cut "
            f"them off: truncate -s {shard.num_bytes} {shard.name}",
            offset=shard.num_bytes,
        )
    elif not opened.trusts_manifest and _agrees_without_manifest(checked):
        add(
            "damaged-manifest",
            _manifest_name(opened),
            f"Its SHA-256 of {shard.name} is not that of the tar, which agrees with its index. Restore the manifest.",
        )
    else:
        _add_damage(checked)


def _agrees_without_manifest(checked: CheckedShard) -> bool:
    return checked.fault is None and checked.comparison.agrees and checked.comparison.has_checksums


def _judge_tar_alone(checked: CheckedShard) -> None:
    """Judge a tar without a known SHA-256."""
    if (fault := checked.fault) is not None:
        checked.findings.add(
            fault.kind,
            checked.shard.shown,
            f"Byte {fault.offset:,}: {fault.reason}. Copy or make it again.",
            offset=fault.offset,
        )
    _add_changed(checked)


def _add_damage(checked: CheckedShard) -> None:
    shard, fault = checked.shard, checked.fault
    size = checked.num_bytes - (shard.num_bytes or 0)
    if size < 0:
        reason = f"{checked.num_bytes:,} bytes of {shard.num_bytes:,} are there"
        kind = "cut-tar" if fault is not None and fault.kind == "cut-tar" else "damaged-tar"
    else:
        reason = "its SHA-256 is not that of the manifest"
        if size:
            reason += f", and it is {size:,} bytes longer"
        kind = "damaged-tar"
    if fault is not None and kind != "cut-tar":
        reason += f"; byte {fault.offset:,}: {fault.reason}"
    offset = None if fault is None else fault.offset
    checked.findings.add(kind, shard.shown, f"{reason[:1].upper()}{reason[1:]}. {RESTORE_TAR}", offset=offset)
    if checked.index_file.digest == shard.index_hash:
        _add_changed(checked)


def _add_changed(checked: CheckedShard) -> None:
    """The examples whose bytes do not have their checksum."""
    comparison = checked.comparison
    for example in comparison.changed:
        checked.findings.add(
            "damaged-example",
            checked.shard.shown,
            f"Example {shown_name(example.key)} at byte {example.offset:,} does not have the CRC-32 of its index. "
            "Restore the shard, or pack the example again.",
            key=example.key,
            offset=example.offset,
        )
    checked.findings.count("damaged-example", comparison.num_changed - len(comparison.changed))


def _judge_index(checked: CheckedShard, opened: OpenedSet, known: KnownDigests) -> None:
    shard, file, add = checked.shard, checked.index_file, checked.findings.add
    comparison = checked.comparison
    if file.content is None:
        if shard.sha256:
            add("missing-index", file.shown, f"There is no such file. {REPAIR}")
        return
    if shard.index_hash and file.digest == shard.index_hash:
        if checked.tar_is_right and (checked.index_error or not comparison.agrees):
            reason = checked.index_error or _misfit(checked)
            sentence = f"It is the one of the manifest, but {reason}. Make the shards again with --overwrite."
            add("stale-index", file.shown, sentence)
        return
    other = known.indexes.get(file.digest, "")
    if other and other != shard.name:
        add("swapped-index", file.shown, f"It is the index of {other}. {REPAIR}")
    elif checked.index_error:
        add("damaged-index", file.shown, f"It cannot be read: {checked.index_error}. {REPAIR}")
    elif comparison.misfits and not (shard.sha256 and not checked.tar_is_right):
        few = comparison.misfits * 2 < max(1, checked.num_examples) and bool(shard.index_hash)
        add("damaged-index" if few else "stale-index", file.shown, f"{_misfit(checked)}. {REPAIR}")
    elif comparison.num_changed and checked.tar_is_right:
        add(
            "damaged-index",
            file.shown,
            f"Its checksums are not those of {comparison.num_changed:,} examples. {REPAIR}",
        )
    elif shard.index_hash and not opened.trusts_manifest and comparison.agrees and checked.tar_is_right:
        sentence = f"Its digest of the index of {shard.name} is not that of the index, which agrees with the tar."
        add("damaged-manifest", _manifest_name(opened), f"{sentence} Restore the manifest.")
    elif shard.index_hash:
        add("damaged-index", file.shown, f"Its digest is not that of the manifest. {REPAIR}")


def _misfit(checked: CheckedShard) -> str:
    rows = 0 if checked.index is None else len(checked.index)
    num = checked.comparison.misfits + checked.comparison.num_changed
    return f"{num:,} of its {rows:,} rows do not fit the {checked.num_examples:,} examples of the tar"


def _judge_frames(checked: CheckedShard, known: KnownDigests) -> None:
    shard, file, index, add = checked.shard, checked.frames_file, checked.index, checked.findings.add
    names_tables = index is not None and index["table_offset"].max(initial=-1) >= 0
    if not shard.frames_hash and not names_tables:
        return
    if file.content is None:
        add("missing-frames", file.shown, f"There is no such file. {REPAIR}")
        return
    if shard.frames_hash and file.digest != shard.frames_hash:
        other = known.frames.get(file.digest, "")
        if other:
            add("swapped-frames", file.shown, f"It is the frame table of {other}. {REPAIR}")
        else:
            add("damaged-frames", file.shown, f"Its digest is not that of the manifest. {REPAIR}")
        return
    rows, reason = parse_frames_or_none(file)
    if rows is not None and index is not None and shard.index_hash in ("", checked.index_file.digest):
        reason = frames_fault(index, rows, file.shown)
    if reason:
        add("damaged-frames", file.shown, f"{reason[:1].upper()}{reason[1:]}. {REPAIR}")


def _judge_count(checked: CheckedShard, opened: OpenedSet) -> None:
    shard = checked.shard
    may_compare = checked.fault is None and (checked.tar_is_right or not opened.trusts_manifest)
    if shard.examples is None or not may_compare or "swapped-tar" in checked.findings:
        return
    if shard.examples != checked.num_examples:
        checked.findings.add(
            "wrong-count",
            _manifest_name(opened),
            f"{shard.name} has {checked.num_examples:,} examples, not {shard.examples:,}. Restore the manifest, or "
            "make the shards again with --overwrite.",
        )


def _manifest_name(opened: OpenedSet) -> str:
    return redacted(opened.place("manifest.json"))
