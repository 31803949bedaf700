"""The report of a run that has ended, also of one that a `Trainer` made in Python."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from dirvae.run.config import read_config
from dirvae.run.live_page import describe_origin
from dirvae.run.loading import choose_checkpoint, load_model
from dirvae.run.python_run import is_from_python
from dirvae.tasks.data import open_data
from dirvae.tasks.task import RunFacts
from dirvae.training.logging import finite_or_none

__all__ = ["write_run_report"]


def write_run_report(run: str | os.PathLike[str], *, device: str = "cpu", label: str | None = None) -> Path:
    """Write the report of a run's last checkpoint into its folder, and return the path of the page.

    `label` is the factor or category that it is coloured by; None: that of the run, if it has one. The data must be
    where it was in training. Raises `ConfigError` for a run whose settings are not known, and for a label that no
    example has, and `CheckpointError` without a checkpoint; the errors of the data pass through.
    """
    folder = Path(run)
    config = read_config(folder)
    if label is not None:
        config = replace(config, data=replace(config.data, label=label))
    checkpoint = choose_checkpoint(folder, "last")
    model = load_model(folder, device=device, which=checkpoint.step)
    data = open_data(config.task.open_iterator, config.data, modality=config.type, seed=config.fit.seed)
    try:
        evaluation = checkpoint.state["evaluation"]
        if is_from_python(folder):  # its numbers are the caller's, and the page shows those of its type
            measure = None if data.held_out is None else config.task.make_evaluation(data, config.fit.seed)
            evaluation = None if measure is None else finite_or_none(measure(model))
        summary = {
            "run": folder.name,
            "type": config.type,
            "step": checkpoint.step,
            "total_steps": checkpoint.state.get("total_steps", checkpoint.step),
            "parameters": sum(value.numel() for value in model.parameters()),
            "evaluation": evaluation,
            "data": data.facts,
        }
        report = config.task.open_report(data, config.fit.seed)
        facts = RunFacts(data.facts, config.settings(), summary, describe_origin(None))
        return report.write(folder, model, facts, report.make_pictures(folder, model))
    finally:
        data.close()
