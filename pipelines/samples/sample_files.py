"""Folders that samples are written to: never among a user's own files unless asked."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ShardingError

__all__ = ["clear_samples"]


def clear_samples(folder: Path, own: re.Pattern[str], num: int, *, force: bool) -> None:
    """Make the folder, and remove samples numbered `num` and above; `own` matches their names, group 1 the number.

    Raises `ShardingError` for a folder with other files, unless `force`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    foreign = [path for path in visible if not own.fullmatch(path.name)]
    if foreign and not force:
        raise ShardingError(
            f"{folder}: holds {foreign[0].name}, which is not a sample. Name another folder with --out, or add the "
            "samples to what is there with --force."
        )
    for path in visible:
        if (found := own.fullmatch(path.name)) and int(found[1]) >= num:
            path.unlink()
