"""Which files of what kind are read from where, and which folder their shards go to, from what was named.

named                                      read                          written, unless OUT is given
data/image, data/audio                     files of that kind alone      shards/image, shards/audio
data, of folders image, audio, video       data/image, data/audio        shards/image, shards/audio (OUT/image …)
any other, with files of one kind          those                         shards/NAME, after the folder
any other, with files of several           all, a set for each kind      shards/image, shards/audio (OUT/image …)
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ..errors import ShardingError, SourceError
from ..modality import modalities
from ..storage.listing import Contents, Listing, list_folder
from ..storage.media_types import is_media_name
from .settings import PACKED_KINDS
from .wording import FILE_OF, counted, printable

__all__ = ["FoundSet", "Survey", "survey"]

KNOWN = tuple(modality.name for modality in modalities())
ONLY = "only images and audio are packed by this version"


@dataclass(frozen=True)
class FoundSet:
    """Files of one kind to be packed, the folder they are in, and the one for their shards."""

    kind: str
    source: Path
    out: Path
    listing: Listing


@dataclass(frozen=True)
class Survey:
    """The sets to be made, at least one; the number of files passed over; remarks on what is left alone."""

    sets: tuple[FoundSet, ...]
    skipped: int
    notes: tuple[str, ...]


def survey(
    source: str | os.PathLike[str], out: str | os.PathLike[str] | None, *, only: str | None = None
) -> Survey:
    """Look through a folder, by the table above; `only` names the one kind of media to be packed.

    Raises `SourceError` for a source that cannot be read or holds nothing to pack, `ShardingError` for an `out` that
    is the source itself, `ValueError` for a kind that cannot be packed.
    """
    if only is not None and only not in PACKED_KINDS:
        raise ValueError(f"only is {only!r}; it must be one of {', '.join(PACKED_KINDS)}.")
    folder = Path(source)
    if not folder.is_dir():
        problem = "a file; name the folder it is in" if folder.exists() else "no such folder"
        raise SourceError(f"{folder}: {problem}.")
    kinds = _folders_of_kinds(folder)
    if kinds:
        return _survey_folders_of_kinds(folder, kinds, Path("shards" if out is None else out), only)
    return _survey_folder(folder, None if out is None else Path(out), only)


def _survey_folders_of_kinds(folder: Path, kinds: list[str], out: Path, only: str | None) -> Survey:
    sets, skipped, notes = [], 0, []
    for kind in PACKED_KINDS:
        if kind in kinds and only in (None, kind):
            target = out / kind
            contents = list_folder(folder / kind, (kind,), exclude=(target,))
            skipped += contents.skipped
            if not _is_empty(contents.listings[kind]):
                sets.append(_found(kind, folder / kind, target, contents))
    left = [kind for kind in kinds if kind not in PACKED_KINDS and _has_files(folder / kind)]
    if only is None:
        notes = [f"{folder / kind} is left: {kind} is not packed by this version." for kind in left]
    if not sets:
        wanted = (only,) if only else PACKED_KINDS
        held = f"holds {' and '.join(left)}; {ONLY}." if left else _nothing(folder, wanted)
        raise SourceError(f"{folder}: {held}")
    return Survey(tuple(sets), skipped, tuple(notes))


def _survey_folder(folder: Path, out: Path | None, only: str | None) -> Survey:
    name = _last_part(folder)
    if only is None and name in KNOWN and name not in PACKED_KINDS:
        raise SourceError(f"{folder}: {name} is not packed by this version. Name a folder of images or audio.")
    asked = only or (name if name in PACKED_KINDS else None)
    wanted = PACKED_KINDS if asked is None else (asked,)
    single, several = out or Path("shards") / name, out or Path("shards")
    _check_target(single, folder)
    exclude = (single, *(several / kind for kind in wanted))
    contents = list_folder(folder, wanted, exclude=exclude)
    kinds = [kind for kind in wanted if contents.listings[kind].files]
    kinds = kinds or [kind for kind in wanted if contents.listings[kind].failures][:1]
    if not kinds:
        raise SourceError(f"{folder}: {_other_kinds(contents, wanted) or _nothing(folder, wanted)}")
    sets = [_found(kind, folder, several / kind if len(kinds) > 1 else single, contents) for kind in kinds]
    skipped = contents.skipped + sum(len(contents.listings[kind].failures) for kind in wanted if kind not in kinds)
    videos = 0 if asked else contents.other_media.get("video", 0)
    left = (f"{counted(videos, 'video')} left: video is not packed by this version.",) if videos else ()
    return Survey(tuple(sets), skipped, left)


def _found(kind: str, source: Path, out: Path, contents: Contents) -> FoundSet:
    listing = contents.listings[kind]
    _check_target(out, source)
    if not listing.files:
        first = listing.failures[0]
        others = len(listing.failures) - 1
        rest = f"; {counted(others, 'other')} cannot be read either" if others else ""
        raise SourceError(
            f"{source}: no {FILE_OF[kind]} in it can be read: {printable(first.path)} is {first.reason}{rest}."
        )
    return FoundSet(kind, source, out, listing)


def _check_target(target: Path, folder: Path) -> None:
    if target.exists() and target.samefile(folder):
        raise ShardingError(f"{target}: is the folder that is read. Name another one with --out.")


def _is_empty(listing: Listing) -> bool:
    return not listing.files and not listing.failures


def _nothing(folder: Path, kinds: Collection[str]) -> str:
    nothing = f"no {' or '.join(FILE_OF[kind] + 's' for kind in kinds)} in it"
    if any(next(place.glob("*.tar"), None) for place in (folder, *(folder / kind for kind in PACKED_KINDS))):
        return f"{nothing}, but tars, which may be shards already. Iterators read them as they are."
    return f"{nothing}. Put some there, or name another folder."


def _other_kinds(contents: Contents, wanted: Collection[str]) -> str:
    """What a folder holds instead of what is wanted; empty where that is nothing."""
    others = sorted(contents.other_media)
    if not others:
        return ""
    held = f"holds {' and '.join(others)}, no {' or '.join(FILE_OF[kind] + 's' for kind in wanted)}"
    packed = [kind for kind in others if kind in PACKED_KINDS]
    return f"{held}. Pack it with --only {packed[0]}." if packed else f"{held}; {ONLY}."


def _last_part(folder: Path) -> str:
    """The name a folder goes by where it was named: that of a link, not of what it leads to."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def _folders_of_kinds(folder: Path) -> list[str]:
    """The kinds of media a folder has a folder each for; empty for any other folder."""
    try:
        visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read ({error.strerror}).") from error
    names = sorted(path.name for path in visible if path.is_dir())
    has_media = any(is_media_name(path.name, kind) for path in visible for kind in PACKED_KINDS)
    return names if all(name in KNOWN for name in names) and not has_media else []


def _has_files(folder: Path) -> bool:
    return any(not path.name.startswith(".") for path in folder.iterdir())
