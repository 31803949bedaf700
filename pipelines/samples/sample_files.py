"""Folders that samples are written to: never among a user's own files unless asked."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ShardingError

__all__ = ["clear_samples"]


def clear_samples(folder: Path, own: re.Pattern[str], num: int, *, force: bool) -> None:
    """Make the folder; `own` matches the names of samples, group 1 the number.

    Raises `ShardingError` for a folder with other files, or with samples numbered `num` and above; with `force` other
    files stay, and these samples are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    foreign = [path for path in visible if not own.fullmatch(path.name)]
    if foreign and not force:
        raise ShardingError(
            f"{folder}: holds {foreign[0].name}, which is not a sample. Name another folder with --out, or add the "
            "samples to what is there with --force."
        )
    numbers = {path: int(found[1]) for path in visible if (found := own.fullmatch(path.name))}
    beyond = {number for number in numbers.values() if number >= num}
    if beyond and not force:
        raise ShardingError(
            f"{folder}: holds {len(set(numbers.values())):,} samples, {len(beyond):,} of them beyond the {num:,} to "
            "make. Remove these with --force, or name another folder with --out."
        )
    for path, number in numbers.items():
        if number in beyond:
            path.unlink()
