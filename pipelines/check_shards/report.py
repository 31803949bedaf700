"""The result of a check, as data and as the printed text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ..modality import find_modality, modalities
from ..sharding.wording import counted
from ..shown_names import escaped
from ..storage.manifest import Manifest
from .findings import KINDS, Finding, Findings
from .summary import Spread, Summary

__all__ = ["CheckReport", "SetReport", "report_lines"]

WIDTH = 100
BYTE_UNITS = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


@dataclass(frozen=True)
class SetReport:
    """The findings and the summary of one set.

    `notes` say what could not be checked, `refused` what could not be repaired. `modality` is None if it is unknown.
    """

    folder: str
    modality: str | None
    findings: Findings
    summary: Summary
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    manifest: Manifest | None = None

    @property
    def num_errors(self) -> int:
        """The number of errors that were not repaired."""
        return sum(self.findings.counts.values()) - self.findings.num_repaired - self.findings.num_remarks

    def to_json(self) -> dict[str, Any]:
        """The findings that were kept, the true number of each kind, the notes and the summary, as JSON values."""
        return {
            "folder": self.folder,
            "modality": self.modality,
            "errors": self.num_errors,
            "counts": self.findings.counts,
            "findings": [finding.to_json() for finding in self.findings.found],
            "not_checked": list(self.notes),
            "not_repaired": list(self.refused),
            "summary": self.summary.to_json(self.manifest),
        }


@dataclass(frozen=True)
class CheckReport:
    """The results of all sets of a source."""

    source: str
    sets: tuple[SetReport, ...]

    @property
    def findings(self) -> list[Finding]:
        """The findings of all sets that were kept."""
        return [finding for one in self.sets for finding in one.findings.found]

    @property
    def num_errors(self) -> int:
        """The number of errors that were not repaired."""
        return sum(one.num_errors for one in self.sets)

    @property
    def is_sound(self) -> bool:
        """Whether no error is left; remarks are not counted."""
        return not self.num_errors

    def to_json(self) -> dict[str, Any]:
        """The result of every set, as JSON values."""
        return {"sound": self.is_sound, "errors": self.num_errors, "sets": [one.to_json() for one in self.sets]}


def report_lines(report: CheckReport, *, most: int) -> Iterator[str]:
    """The text of a report, `most` findings of a kind at most."""
    for number, one in enumerate(report.sets):
        if number:
            yield ""
        yield from _set_lines(one, most)
    if len(report.sets) > 1:
        yield ""
        said = counted(report.num_errors, "error")
        yield f"{counted(len(report.sets), 'set')}: " + ("all sound." if report.is_sound else f"{said}.")


def _set_lines(one: SetReport, most: int) -> Iterator[str]:
    summary = one.summary
    noun = find_modality(one.modality).noun if one.modality in {known.name for known in modalities()} else "example"
    size = f"{counted(summary.examples, noun)} in {counted(summary.shards, 'shard')}, {_bytes(summary.tar_bytes)}"
    yield f"{escaped(one.folder)}: {size}. {_verdict(one)}"
    yield from _finding_lines(one, most)
    for sentence in one.refused:
        yield from _wrapped(escaped(sentence), "  ")
    yield from _summary_lines(one)
    for note in one.notes:
        yield from _wrapped(f"Not checked: {escaped(note)}." if ":" not in note else f"{escaped(note)}.", "  ")


def _verdict(one: SetReport) -> str:
    remarks, repaired = one.findings.num_remarks, one.findings.num_repaired
    parts = [counted(one.num_errors, "error")] if one.num_errors else []
    parts += [f"{repaired:,} repaired"] if repaired else []
    parts += [counted(remarks, "remark")] if remarks else []
    if not one.num_errors:
        sound = "Sound" if one.manifest is not None else "Nothing wrong was found"
        return f"{sound} ({', '.join(parts)})." if parts else f"{sound}."
    return f"{', '.join(parts)}."


def _finding_lines(one: SetReport, most: int) -> Iterator[str]:
    for kind, (_, heading) in KINDS.items():
        found = [finding for finding in one.findings.found if finding.kind == kind]
        if not found:
            continue
        num = one.findings.counts[kind]
        yield ""
        yield f"  {heading} [{kind}]" + (f", {num:,} of them" if num > 1 else "")
        for finding in found[:most]:
            yield from _wrapped(f"{escaped(_short(finding.file, one.folder))}: {escaped(finding.sentence)}", "    ")
            if finding.repaired:
                yield f"      Repaired: {finding.repaired}."
        if num > len(found[:most]):
            yield f"    {_left_out(num, len(found), most)}"
    if one.findings:
        yield ""


def _left_out(num: int, num_kept: int, most: int) -> str:
    """How many of `num` findings are not shown, and how many of these the JSON document has."""
    left, in_json = num - min(num_kept, most), max(0, num_kept - most)
    if not in_json:
        return f"and {left:,} more, which are counted only."
    return f"and {left:,} more; --json has {'them' if in_json == left else f'{in_json:,} of them'}."


def _short(file: str, folder: str) -> str:
    return file.removeprefix(folder).lstrip("/") or file


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _summary_lines(one: SetReport) -> Iterator[str]:
    summary = one.summary
    rows = [
        ("bytes", _spread(summary.example_bytes, _bytes)),
        ("width", _spread(summary.width, lambda value: f"{value:,.0f}")),
        ("height", _spread(summary.height, lambda value: f"{value:,.0f}")),
        ("sizes", _most_common(summary.sizes.most_common(), summary.examples)),
        ("seconds", _spread(summary.seconds, lambda value: f"{value:,.2f}")),
        ("in all", _duration(summary.seconds.total) if summary.seconds.num else ""),
        ("frames", _spread(summary.frames, lambda value: f"{value:,.0f}")),
        ("rates", _most_common(summary.rates.most_common(), summary.examples)),
        ("channels", _most_common(summary.channels.most_common(), summary.examples)),
        ("fields", _most_common(summary.fields.most_common(), summary.examples)),
        ("labels", _most_common(one.summary.named_labels(one.manifest), None)),
    ]
    for name, text in rows:
        if text:
            yield from _wrapped(f"{name:<10}{text}", "  ")


def _spread(spread: Spread, shown: Any) -> str:
    if not spread.num:
        return ""
    least, median, most = shown(spread.least), shown(spread.quantile(0.5)), shown(spread.most)
    return f"{least} each" if spread.least == spread.most else f"{least} to {most}, median {median}"


def _most_common(counts: list[tuple[str, int]], total: int | None) -> str:
    """The most frequent values, with their share of the examples; if `total` is None, with their count."""
    shown = [f"{escaped(value)} {_share(num, total)}" for value, num in counts[:8]]
    left = len(counts) - len(shown)
    return ", ".join(shown) + (f", and {left:,} more" if left > 0 else "")


def _share(num: int, total: int | None) -> str:
    if total is None:
        return f"({num:,})"
    return f"({100 * num / max(1, total):.3g} %)"


def _duration(seconds: float) -> str:
    for unit, name in ((3600.0, "hours"), (60.0, "minutes")):
        if seconds >= unit:
            return f"{seconds / unit:,.1f} {name}"
    return f"{seconds:,.2f} seconds"


def _bytes(num: float) -> str:
    for unit, name in BYTE_UNITS:
        if num >= unit:
            return f"{num / unit:,.1f} {name}"
    return f"{num:,.0f} B"
