"""Several runs of one type, compared on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dirvae.report.comparison_page import ComparedRun, write_comparison_page
from dirvae.run.config import RunConfig, read_config
from dirvae.run.loading import choose_checkpoint, load_model
from dirvae.tasks.data import open_data
from dirvae.tasks.task import Report
from dirvae.training.checkpoint import Checkpoint
from dirvae.training.errors import ConfigError
from dirvae.training.logging import read_metrics
from pipelines.errors import PipelineError

__all__ = ["write_comparison"]

MOST_EXAMPLES, MOST_PICTURES = 8, 48
"""Examples on the page, and all pictures of them together. With many runs, fewer examples are shown."""
MOST_SOUNDS = 16
"""All sounds of the examples together."""


@dataclass(frozen=True, eq=False)
class _Opened:
    """An opened run. If its data cannot be opened, `report` is None and `note` gives the reason.

    `data_hash` identifies the data; it is None if nothing was held out.
    """

    folder: Path
    name: str
    config: RunConfig
    checkpoint: Checkpoint
    report: Report | None
    data_hash: str | None
    note: str | None


def write_comparison(runs: Sequence[Path], out: Path, *, device: str = "cpu") -> Path:
    """Write a page that compares the last checkpoints of two or more runs of one type; returns its path.

    The page shows examples that all runs held out, if all have the same data. A run whose data cannot be opened is
    compared without examples. Raises `ConfigError` for a folder that is not a run and for runs of several types,
    `CheckpointError` for a run without a checkpoint.
    """
    configs = [read_config(run) for run in runs]
    first = configs[0]
    for run, config in zip(runs, configs, strict=True):
        if config.type != first.type:
            raise ConfigError(
                f"{run}: is a run of --type {config.type}, and {runs[0]} one of --type {first.type}. Compare runs of "
                "one type."
            )
    opened = [_open(run, name, config) for run, name, config in zip(runs, _names(runs), configs, strict=True)]
    keys = _common_keys(opened)
    notes = [] if keys or any(run.note for run in opened) else [_why_none(opened)]
    compared = [_compare(run, keys, device) for run in opened]
    return write_comparison_page(
        out, compared, keys, noun=first.task.example or first.task.modality.noun, notes=notes
    )


def _names(runs: Sequence[Path]) -> list[str]:
    """The names of the folders. Folders with the same name are named by their paths."""
    names = [run.resolve().name for run in runs]
    return [str(run) if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]


def _open(run: Path, name: str, config: RunConfig) -> _Opened:
    checkpoint = choose_checkpoint(run, "last")
    try:
        data = open_data(config.task.open_iterator, config.data, modality=config.type, seed=config.fit.seed)
        try:
            report = config.task.open_report(data, config.fit.seed)
        finally:
            data.close()
    except (PipelineError, ConfigError, OSError) as error:
        note = f"{name}: without examples, because its data could not be opened. {error}"
        return _Opened(run, name, config, checkpoint, None, None, note)
    held_out = data.held_out is not None
    return _Opened(run, name, config, checkpoint, report, data.facts["data_hash"] if held_out else None, None)


def _common_keys(opened: Sequence[_Opened]) -> list[str]:
    """The keys of the examples that all runs with data held out, in the order of the first run."""
    reports = [run.report for run in opened if run.report is not None]
    hashes = {run.data_hash for run in opened if run.report is not None}
    if len(reports) < 2 or len(hashes) != 1 or None in hashes:
        return []
    shared = set[str].intersection(*(set(report.encoded_keys) for report in reports))
    is_sound = opened[0].config.type == "audio"
    most = max(1, min(MOST_EXAMPLES, (MOST_SOUNDS if is_sound else MOST_PICTURES) // (len(reports) + 1)))
    return [key for key in dict.fromkeys(reports[0].encoded_keys) if key in shared][:most]


def _why_none(opened: Sequence[_Opened]) -> str:
    plural = opened[0].config.task.examples
    if any(run.data_hash is None for run in opened):
        return f"No {plural} side by side: not all runs held {plural} out."
    if len({run.data_hash for run in opened}) > 1:
        return (
            f"No {plural} side by side: the runs have different data, and their numbers are of different {plural}."
        )
    return (
        f"No {plural} side by side: none of them was held out by all runs, because their seeds or their shares held "
        f"out differ. Their numbers are of different {plural}."
    )


def _compare(run: _Opened, keys: Sequence[str], device: str) -> ComparedRun:
    comparison = None
    if run.report is not None:
        model = load_model(run.folder, device=device, which=run.checkpoint.step)
        places = {key: number for number, key in reversed(list(enumerate(run.report.encoded_keys)))}
        comparison = run.report.compare(model, [places[key] for key in keys])
    return ComparedRun(
        name=run.name,
        step=run.checkpoint.step,
        settings=run.config.settings(),
        numbers=run.checkpoint.state["evaluation"] or {},
        metrics=read_metrics(run.folder / "metrics.jsonl"),
        comparison=comparison,
        note=run.note,
    )
