"""Run folders: where the files of a run are, and which run is meant.

runs/image/          the first run               runs/image-2/, runs/image-3/ …   the later ones
    config.json      settings, see config.py     checkpoints/                     see training/checkpoint.py
    metrics.jsonl    one line per log or save    summary.json, report.html, pictures/
    warm_start.json  see warm_start.py           evaluation.json                  see evaluation.py
    fitted_prior.safetensors                     see fitted_prior.py
"""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Any

from dirvae.training.errors import TrainingError
from pipelines.storage.durable_files import write_durably
from pipelines.storage.locked_folder import hold_folder

__all__ = ["CONFIG_NAME", "TEACHER_NAME", "hold_run", "is_run", "new_run", "newest_run", "next_run", "write_json"]

CONFIG_NAME = "config.json"
TEACHER_NAME = "teacher.json"
"""In a run that was distilled from another one."""


def new_run(root: Path, name: str) -> Path:
    """Make the folder of a new run: `root/name`, or `root/name-2` and so on if that is taken."""
    path = next_run(root, name)
    path.mkdir(parents=True, exist_ok=True)
    return path


def next_run(root: Path, name: str) -> Path:
    """The folder that the next new run gets; it need not be there."""
    for number in count(1):
        path = root / (name if number == 1 else f"{name}-{number}")
        if not is_run(path):
            return path
    raise AssertionError("numbers do not end")


def newest_run(root: Path, name: str) -> Path | None:
    """The run `root/name-N` of the highest N, `root/name` being the first; None if no such run exists."""
    numbered = re.compile(re.escape(name) + r"(?:-(\d+))?")
    runs = [
        (int(match[1] or 1), path)
        for path in (root.iterdir() if root.is_dir() else ())
        if (match := numbered.fullmatch(path.name)) and is_run(path)
    ]
    return max(runs)[1] if runs else None


def is_run(path: Path) -> bool:
    """Whether a folder holds a run, started or finished."""
    return (path / CONFIG_NAME).exists() or (path / "checkpoints").exists()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a readable JSON file, whole or not at all."""
    write_durably(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def hold_run(run: Path) -> AbstractContextManager[None]:
    """Keep other processes out of a run; the kernel ends the lock with this process. Raises `TrainingError`."""
    return hold_folder(run, ".lock", error=TrainingError, doing="training in it")
