"""Which set of shards `--shards` means: a folder with a manifest, which is `shards` itself or a folder in it.

A folder may be a URL, where only folders that are called like a type are looked into.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dirvae.tasks import TASKS
from dirvae.training.errors import ConfigError
from pipelines.modality import find_modality
from pipelines.storage.remote.urls import join, redacted

__all__ = ["DEFAULT_TYPE", "ShardSet", "choose_set", "find_sets", "read_set", "refuse_without_task"]

DEFAULT_TYPE = "image"
"""The type that is trained if the command names none and the shards are of several types."""


@dataclass(frozen=True)
class ShardSet:
    """A folder of shards, and what its manifest says about them."""

    path: Path | str
    modality: str
    examples: int

    @property
    def name(self) -> str:
        """The name of the folder."""
        return str(self.path).partition("?")[0].rstrip("/").rpartition("/")[2]

    def __str__(self) -> str:
        return f"{redacted(str(self.path))} ({self.examples:,} {_plural(self.modality, self.examples)})"


def read_set(folder: Path | str) -> ShardSet | None:
    """The set in a folder or at a URL, None without a manifest. Raises `ShardError` for a damaged one."""
    from pipelines.storage.manifest import MANIFEST_NAME, Manifest

    if isinstance(folder, str):
        from pipelines.sources.remote_opening import read_far_manifest

        manifest = read_far_manifest(folder)
        return None if manifest is None else ShardSet(folder, manifest.modality, manifest.examples)
    if not (folder / MANIFEST_NAME).is_file():
        return None
    manifest = Manifest.load(folder)
    return ShardSet(folder, manifest.modality, manifest.examples)


def find_sets(folder: Path | str) -> list[ShardSet]:
    """The set in a folder and those in the folders in it, by name."""
    if isinstance(folder, str):
        places = [folder, *(join(folder, name) for name in sorted(TASKS))]
        return [one for one in map(read_set, places) if one is not None]
    inner = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    found = [read_set(path) for path in (folder, *inner)]
    return [one for one in found if one is not None]


def choose_set(sets: Sequence[ShardSet], folder: Path | str, run_type: str | None) -> ShardSet:
    """The only set of those in `folder`, or that of the type; among several sets the type is "image" by default.

    Raises `ConfigError` if no set exists, if several are of the type and none has its name, and for a set of a
    modality that nothing trains on.
    """
    if not sets:
        raise ConfigError(
            f"{redacted(str(folder))}: no set of shards is there. Make one with python tools/make_shards.py "
            f"data/{run_type or DEFAULT_TYPE}, or name a folder of shards with --shards PATH."
        )
    place = redacted(str(folder))
    wanted = run_type or (sets[0].modality if len(sets) == 1 else DEFAULT_TYPE)
    fitting = [one for one in sets if one.modality == wanted]
    if not fitting:
        raise ConfigError(
            f"{place}: no set of {_plural(wanted)} is there, only {_listed(sets)}. Name another --type, or a folder "
            "of shards with --shards PATH."
        )
    named = fitting if len(fitting) == 1 else [one for one in fitting if one.name == wanted]
    if not named:
        raise ConfigError(
            f"{place}: several sets of {_plural(wanted)} are there: {_listed(fitting)}. Name one with --shards PATH."
        )
    refuse_without_task(named[0])
    return named[0]


def refuse_without_task(chosen: ShardSet) -> None:
    """Raise `ConfigError` for a set of a modality that nothing trains on."""
    if chosen.modality not in TASKS:
        raise ConfigError(
            f"{redacted(str(chosen.path))}: holds {_plural(chosen.modality)}, and dirvae.train has no --type "
            f"{chosen.modality}. Name shards of another type: {', '.join(TASKS)}."
        )


def _listed(sets: Sequence[ShardSet]) -> str:
    return ", ".join(map(str, sets))


def _plural(modality: str, num: int = 2) -> str:
    try:
        found = find_modality(modality)
    except ValueError:
        return f"examples of {modality}"
    return found.noun if num == 1 else found.plural
