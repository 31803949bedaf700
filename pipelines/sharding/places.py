"""Which folder is read and which is written, from what was named."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import ShardingError, SourceError
from ..formats import MEDIA_SUFFIXES, is_media_name

__all__ = ["Places", "resolve_places"]


@dataclass(frozen=True)
class Places:
    """The folder of images, the folder for their shards, and remarks on what is left alone."""

    source: Path
    out: Path
    notes: tuple[str, ...] = ()


def resolve_places(source: str | os.PathLike[str], out: str | os.PathLike[str] | None) -> Places:
    """`data/image` → `shards/image`: the last part of the source below ./shards, unless `out` is given.

    A source that itself holds a folder of each kind of media (`data` with `image`, `audio`, `video`) stands
    for its images, and `out` then for the folder that holds `image`. Raises `SourceError` for a source that
    cannot be read, `ShardingError` for an `out` that is the source itself.
    """
    folder = Path(source)
    if not folder.is_dir():
        problem = "a file; name the folder it is in" if folder.exists() else "no such folder"
        raise SourceError(f"{folder}: {problem}.")
    kinds = _kinds(folder)
    if not kinds:
        target = Path("shards") / _last_part(folder) if out is None else Path(out)
        notes: tuple[str, ...] = ()
    elif "image" not in kinds:
        raise SourceError(f"{folder}: holds {' and '.join(kinds)}; only images are packed by this version.")
    else:
        others = [kind for kind in kinds if kind != "image" and _has_files(folder / kind)]
        notes = tuple(f"{folder / kind} is left: only images are packed by this version." for kind in others)
        folder, target = folder / "image", Path("shards" if out is None else out) / "image"
    if target.exists() and target.samefile(folder):
        raise ShardingError(f"{target}: is the folder that is read. Name another one with --out.")
    return Places(folder, target, notes)


def _last_part(folder: Path) -> str:
    """The name a folder goes by where it was named: that of a link, not of what it leads to."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def _kinds(folder: Path) -> list[str]:
    """The kinds of media a folder has a folder each for; empty for any other folder."""
    try:
        visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read ({error.strerror}).") from error
    names = sorted(path.name for path in visible if path.is_dir())
    is_typed = all(name in MEDIA_SUFFIXES for name in names)
    return names if is_typed and not any(is_media_name(path.name, "image") for path in visible) else []


def _has_files(folder: Path) -> bool:
    return any(not path.name.startswith(".") for path in folder.iterdir())
