"""make_shards --explain: what is in the files of a folder, and what packing would make of them. Nothing is packed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Unpack

from ..child_process import end_idle_children
from ..errors import SourceError
from ..modality import find_modality, modalities
from ..storage.plain_files import path_setting
from ..storage.remote.urls import is_url, redacted
from .settings import PackOptions, PackSettings, check_options, known_settings
from .survey import FoundSet, Survey, survey
from .wording import plurals, printable

__all__ = ["explain_folder"]


def explain_folder(
    source: str | os.PathLike[str], *, only: str | None = None, **options: Unpack[PackOptions]
) -> Iterator[str]:
    """Lines of text on the files of a folder, by modalities that have something to explain; the rest is named.

    `only` and `options` are as in `make_shards`: what is explained is what they would make. Raises as it does.
    """
    known = known_settings(options)
    if is_url(os.fspath(source)):
        raise SourceError(
            f"{redacted(os.fspath(source))}: --explain reads folders of this machine. Copy some files to it."
        )
    folder = path_setting("source", source)
    found = survey(folder, None, only=only)
    check_options([one.modality for one in found.sets], options, folder)
    _refuse_nothing(folder, found)
    try:
        for one in found.sets:
            settings = known[one.modality]
            if isinstance(settings, ValueError):
                raise settings
            yield from _explained(one, settings)
    finally:
        end_idle_children()


def _refuse_nothing(folder: Path, found: Survey) -> None:
    """Raise `SourceError` where no modality of the folder has anything to explain."""
    if not any(find_modality(one.modality).explain for one in found.sets):
        held = plurals([find_modality(one.modality) for one in found.sets], "and")
        explained = plurals([one for one in modalities() if one.explain is not None], "and")
        raise SourceError(f"{folder}: holds {held}, of which nothing is explained; --explain is for {explained}.")


def _explained(found: FoundSet, settings: PackSettings) -> Iterator[str]:
    modality = find_modality(found.modality)
    explain = modality.part("explain")
    if explain is None:
        yield f"{found.source}: nothing is explained of its {modality.plural}."
        return
    settings.media.check(found.listing.files)
    assert isinstance(found.source, Path), "a URL is not explained"
    yield from explain(found.source, found.listing.files, settings.media)
    for failure in found.listing.failures:
        yield f"{printable(failure.path)}: {failure.reason}"
