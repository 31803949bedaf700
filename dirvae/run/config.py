"""The settings of a run: those of training, and those of its type's data and model, in one file.

`config.json` holds the version, the type, and the settings of all parts by name, as the command line does:

    {"version": 2, "type": "image", "steps": 1500, …, "source": "shards/image", …, "latent": "dirichlet", …}

Version 1 had no type: its runs are of images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dirvae.run.folder import CONFIG_NAME, write_json
from dirvae.tasks import Task, find_task
from dirvae.tasks.data import DataSettings
from dirvae.training.config import FitConfig
from dirvae.training.errors import ConfigError
from dirvae.training.settings import SettingError, Settings, refuse_unknown
from pipelines.storage.json_text import parse_json
from pipelines.storage.plain_files import MOST_TEXT_BYTES, read_plain
from pipelines.storage.remote.urls import redacted

__all__ = ["RunConfig", "read_config", "write_config"]

CONFIG_VERSION = 2
OLD_TYPE = "image"
"""The type of all runs of version 1."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All settings of a run, in parts. `init_from` names the run whose weights it starts with, None for fresh ones."""

    type: str
    fit: FitConfig
    data: DataSettings
    model: Settings
    init_from: str | None = None

    def __post_init__(self) -> None:
        if self.init_from is not None and not isinstance(self.init_from, str):
            raise SettingError("init_from", self.init_from, "the folder of a run", may_be_none=True)

    @classmethod
    def of(cls, run_type: str, settings: Mapping[str, Any]) -> RunConfig:
        """The config of a type from settings of any part, by name; the others have their defaults.

        Raises `ConfigError` for unknown names and bad values.
        """
        task = find_task(run_type)
        refuse_unknown(settings, setting_names(task))
        return cls(
            type=run_type,
            fit=FitConfig.from_joined(settings),
            data=task.data.from_joined(settings),
            model=task.model.from_joined(settings),
            init_from=settings.get("init_from"),
        )

    @property
    def task(self) -> Task:
        """The task of the type."""
        return find_task(self.type)

    def settings(self) -> dict[str, Any]:
        """The settings of all parts by name, as JSON values: what `of` takes.

        They are saved and shown: a URL is there without a user, a password and a query, which may be secret.
        """
        parts = (self.fit, self.data, self.model)
        joined = {name: value for part in parts for name, value in part.to_json().items()}
        return {**joined, "source": redacted(self.data.source), "init_from": self.init_from}

    def to_json(self) -> dict[str, Any]:
        """The type and the settings of all parts, as JSON values."""
        return {"type": self.type, **self.settings()}

    def changes_since(self, before: RunConfig) -> list[str]:
        """The differences from `before` that a resumed run may not have, each as `name: old → new`."""
        if self.type != before.type:
            return [f"type: {before.type} → {self.type}"]
        changes = self.fit.changes_since(before.fit)
        changes += self.data.changes_since(before.data)
        changes += self.model.changes_since(before.model)
        if self.init_from != before.init_from:
            changes.append(f"init-from: {before.init_from or 'none'} → {self.init_from or 'none'}")
        return changes


def setting_names(task: Task) -> tuple[str, ...]:
    """The names of all settings of a type."""
    return (*FitConfig.names(), *task.data.names(), *task.model.names(), "init_from")


def write_config(run: Path, config: RunConfig) -> None:
    """Write the settings to `config.json`."""
    write_json(run / CONFIG_NAME, {"version": CONFIG_VERSION, **config.to_json()})


def read_config(run: Path) -> RunConfig:
    """The settings of a run, of every version, also of one from Python that has no such file.

    Raises `ConfigError` if there are none or they cannot be read.
    """
    path = run / CONFIG_NAME
    if not path.exists():
        from dirvae.run.python_run import is_from_python, settings_of_checkpoint

        if (found := settings_of_checkpoint(run)) is not None:
            return RunConfig.of(*found)
        if is_from_python(run):
            raise ConfigError(
                f"{run}: a Trainer in Python made this run, and its checkpoint cannot name its data or its model, so "
                "that no command can open it. Continue it in Python with resume(), and load it with load_model(run, "
                "model=...)."
            )
    try:
        content = parse_json(read_plain(path, most=MOST_TEXT_BYTES))
        if not isinstance(content, dict):
            raise ValueError("they are not a JSON object")
        version = content.pop("version", None)
        run_type = content.pop("type", OLD_TYPE)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: no readable settings ({error}). Name the folder of a run.") from error
    if version not in (1, CONFIG_VERSION):
        raise ConfigError(
            f"{path}: version {version!r} of settings; this library reads versions up to {CONFIG_VERSION}. "
            "Update dirvae."
        )
    try:
        return RunConfig.of(run_type, content)
    except (TypeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: {error}") from error
