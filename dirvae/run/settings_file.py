"""`--config`: the settings of a run from a TOML file, or those of an earlier run from its `config.json`.

# train.toml: the names of the flags, with dashes or underscores
type = "image"
shards = "shards/image"
batch-size = 64
learning-rate = 5e-4
held-out = 0            # 0 turns off what it turns off on the command line
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dirvae.run.config import CONFIG_VERSION, OLD_TYPE, RunConfig, read_config, setting_names
from dirvae.run.folder import CONFIG_NAME, is_run
from dirvae.run.train_flags import off_at_zero_names
from dirvae.tasks import TASKS, Task
from dirvae.training.errors import ConfigError
from dirvae.training.settings import SettingError, refuse_unknown

__all__ = ["SettingsFile"]

PLACES = ("type", "shards", "data", "out")
"""Flags that are no settings, but may stand in a file."""


@dataclass(frozen=True)
class SettingsFile:
    """What a file says, by names with underscores. `path` is None where no file was named."""

    path: Path | None = None
    content: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> SettingsFile:
        """Read a TOML file, a `config.json`, or that of a run folder. Raises `ConfigError`, naming the file."""
        if path is None:
            return cls()
        if path.is_dir() and not (path / CONFIG_NAME).exists() and is_run(path):
            return cls(path, read_config(path).to_json())  # a run from Python
        if path.is_dir():
            path = path / CONFIG_NAME
        content = _parse(path)
        named: dict[str, Any] = {}
        for key, value in content.items():
            name = key.replace("-", "_")
            if name in named:
                raise ConfigError(
                    f"{path}: {name} is there twice, with a dash and an underscore. Keep one of them."
                )
            named[name] = value
        return cls(path, _checked_places(path, named))

    def places(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The flags that decide which data and which run are meant: those `given`, then those of the file."""
        found = {name: self.content[name] for name in ("type", "out") if name in self.content}
        if given.get("shards") is None and given.get("data") is None and "shards" in self.content:
            found["shards"] = self.content["shards"]
        if "out" in found:
            found["out"] = Path(found["out"])
        return {**found, **{name: value for name, value in given.items() if value is not None}}

    def settings(self, task: Task) -> dict[str, Any]:
        """The settings by name, None for what 0 turns off. Raises `ConfigError`, naming the file, for bad ones."""
        settings = {name: value for name, value in self.content.items() if name not in PLACES}
        if "data" in self.content:
            settings["source"] = self.content["data"]
        off = off_at_zero_names(task)
        settings = {name: None if name in off and _is_zero(value) else value for name, value in settings.items()}
        if settings.get("epochs") is not None and "steps" not in settings:
            settings["steps"] = None
        try:
            refuse_unknown(settings, (*setting_names(task), *PLACES))
            RunConfig.of(task.name, settings)
        except SettingError as error:
            raise ConfigError(f"{self.path}: {error.typed(off, dashes='')}") from error
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error}") from error
        return settings


def _parse(path: Path) -> dict[str, Any]:
    is_json = path.suffix == ".json"
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if is_json else tomllib.loads(text)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file of settings. Name a TOML file or the folder of a run.") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Name a TOML file or a run.") from error
    except ValueError as error:
        kind = "JSON" if is_json else "TOML"
        raise ConfigError(f"{path}: is not {kind} ({error}). Write one line per setting: steps = 2000.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds no settings by name. Name a TOML file or the folder of a run.")
    if is_json:
        _check_version(path, content.pop("version", None))
        content.setdefault("type", OLD_TYPE)
    return content


def _check_version(path: Path, version: object) -> None:
    if version not in (None, 1, CONFIG_VERSION):
        raise ConfigError(
            f"{path}: version {version!r} of settings; this library reads versions up to {CONFIG_VERSION}. Update "
            "dirvae."
        )


def _checked_places(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The content, after a check of what is not a setting of a type."""
    for name, value in content.items():
        if isinstance(value, dict):
            raise ConfigError(f"{path}: {name} is a table; write all settings at the top, one line per setting.")
        if name in PLACES and not (isinstance(value, str) and value):
            raise ConfigError(f"{path}: {name} is {value!r}; it must be a text.")
    if "type" in content and content["type"] not in TASKS:
        raise ConfigError(f"{path}: type is {content['type']!r}; it must be one of {', '.join(TASKS)}.")
    if len(sources := [name for name in ("shards", "data", "source") if name in content]) > 1:
        raise ConfigError(f"{path}: {' and '.join(sources)} both name the data. Keep one of them.")
    return content


def _is_zero(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0
