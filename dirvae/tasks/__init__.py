"""The table of tasks: what `python -m dirvae.train --type` can train, one file per type."""

from __future__ import annotations

import importlib

from dirvae.tasks.task import Task
from dirvae.training.errors import ConfigError

__all__ = ["TASKS", "Task", "find_task"]

TASKS = {
    "audio": "dirvae.tasks.audio:AUDIO",
    "image": "dirvae.tasks.image:IMAGE",
    "video": "dirvae.tasks.video:VIDEO",
}
"""Type → the name "module:object" of its task, which is imported when the type is used."""


def find_task(name: str) -> Task:
    """The task of a type. Raises `ConfigError` for a type without one."""
    if name not in TASKS:
        raise ConfigError(f"type is {name!r}; it must be one of {', '.join(TASKS)}.")
    module, _, attribute = TASKS[name].partition(":")
    task: Task = getattr(importlib.import_module(module), attribute)
    return task
