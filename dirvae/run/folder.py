"""Run folders: where a run's config, checkpoints, metrics, pictures and report lie, and which run is meant.

runs/image/          the first run         runs/image-2/, runs/image-3/ …   the ones after it
    config.json      its settings          checkpoints/                     see checkpoint.py
    metrics.jsonl    one line a look       summary.json, report.html, pictures/
    warm_start.json  see warm_start.py
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from dirvae.training.config import TrainConfig
from dirvae.training.errors import ConfigError, TrainingError
from pipelines.storage.durable_files import write_durably

__all__ = ["hold_run", "is_run", "new_run", "newest_run", "read_config", "write_config", "write_json"]

CONFIG_NAME = "config.json"
CONFIG_VERSION = 1


def new_run(root: Path, name: str) -> Path:
    """Make the folder of a new run: `root/name`, or `root/name-2` and so on where there is one already."""
    for number in count(1):
        path = root / (name if number == 1 else f"{name}-{number}")
        if not is_run(path):
            path.mkdir(parents=True, exist_ok=True)
            return path
    raise AssertionError("numbers do not end")


def newest_run(root: Path, name: str) -> Path | None:
    """The run `root/name-N` of the highest N, `root/name` being the first; None if there is none."""
    numbered = re.compile(re.escape(name) + r"(?:-(\d+))?")
    runs = [
        (int(match[1] or 1), path)
        for path in (root.iterdir() if root.is_dir() else ())
        if (match := numbered.fullmatch(path.name)) and is_run(path)
    ]
    return max(runs)[1] if runs else None


def is_run(path: Path) -> bool:
    """Whether a folder holds a run, begun or finished."""
    return (path / CONFIG_NAME).exists() or (path / "checkpoints").exists()


def write_config(run: Path, config: TrainConfig) -> None:
    """Write the settings to `config.json`."""
    write_json(run / CONFIG_NAME, {"version": CONFIG_VERSION, **config.to_json()})


def read_config(run: Path) -> TrainConfig:
    """The settings of a run. Raises `ConfigError` if there are none or they cannot be read."""
    path = run / CONFIG_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content.pop("version", None)
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path}: no readable settings ({error}). Name the folder of a run.") from error
    if version != CONFIG_VERSION:
        raise ConfigError(f"{path}: version {version!r} of settings; this library reads {CONFIG_VERSION}.")
    return TrainConfig.from_json(content)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a readable JSON file, whole or not at all."""
    write_durably(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextlib.contextmanager
def hold_run(run: Path) -> Iterator[None]:
    """Keep other processes out of a run; the kernel lets go when this one dies. Raises `TrainingError`."""
    descriptor = os.open(run / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingError(
                f"{run}: another process is training in it. Wait for it, or name another folder with --out."
            ) from error
        yield
    finally:
        os.close(descriptor)
