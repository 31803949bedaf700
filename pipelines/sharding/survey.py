"""Which files of which modality are read from where, and which folder their shards go to, from what was named.

named                                      read                          written, unless OUT is given
data/image, data/audio                     files of that modality alone  shards/image, shards/audio
data, of folders image, audio, video       data/image, data/audio        shards/image, shards/audio (OUT/image …)
any other, with files of one modality      those                         shards/NAME, after the folder
any other, with files of several           all, a set for each           shards/image, shards/audio (OUT/image …)
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ShardingError, SourceError
from ..modality import Modality, find_modality, modalities, packed_modalities
from ..storage.heads import LocalHeads
from ..storage.listing import Contents, Listing
from .places import place_below
from .source_place import MakesHeads, SourcePlace, open_place
from .wording import counted, plurals, printable

if TYPE_CHECKING:
    from .source_bucket import SourceUrl

__all__ = ["FoundSet", "Survey", "survey"]


@dataclass(frozen=True)
class FoundSet:
    """Files of one modality to be packed, the folder they are in, and the folder or URL for their shards."""

    modality: str
    source: Path | SourceUrl
    out: Path | str
    listing: Listing


@dataclass(frozen=True)
class Survey:
    """The sets to be made, at least one; the number of files passed over; remarks on what is left alone."""

    sets: tuple[FoundSet, ...]
    skipped: int
    notes: tuple[str, ...]


def survey(
    source: Path | SourceUrl, out: Path | str | None, *, only: str | None = None, heads: MakesHeads = LocalHeads
) -> Survey:
    """Find what a folder, or a URL, holds, by the table above; `only` names the one modality to be packed.

    `out` is a folder, or the URL of one of a bucket; `heads` reads what files of a folder begin with.

    Raises `SourceError` for a source that cannot be read or holds nothing to pack, `ShardingError` for an `out` that
    is the source itself, `ValueError` for a modality that cannot be packed.
    """
    names = _names(packed_modalities())
    if only is not None and only not in names:
        raise ValueError(f"only is {only!r}; it must be one of {', '.join(names)}.")
    place = open_place(source, heads)
    inside = place.modality_folders()
    if inside:
        return _survey_modality_folders(place, inside, Path("shards") if out is None else out, only)
    return _survey_place(place, out, only)


def _survey_modality_folders(place: SourcePlace, inside: list[str], out: Path | str, only: str | None) -> Survey:
    sets, skipped, notes = [], 0, []
    for name in _names(packed_modalities()):
        if name in inside and only in (None, name):
            target, folder = place_below(out, name), place.below(name)
            contents = folder.contents((name,), (target,))
            skipped += contents.skipped
            if not _is_empty(contents.listings[name]):
                sets.append(_found(name, folder.source, target, contents))
    left = [name for name in inside if find_modality(name).packing is None and place.below(name).has_files()]
    if only is None:
        notes = [f"{place.below(name)} is left: {name} is not packed by this version." for name in left]
    if not sets:
        wanted = (find_modality(only),) if only else packed_modalities()
        held = f"holds {' and '.join(left)}; {_only_packed()}." if left else _nothing(place, inside, wanted)
        raise SourceError(f"{place}: {held}")
    return Survey(tuple(sets), skipped, tuple(notes))


def _survey_place(place: SourcePlace, out: Path | str | None, only: str | None) -> Survey:
    name, packed = place.name, _names(packed_modalities())
    if only is None and name in _names(modalities()) and name not in packed:
        raise SourceError(
            f"{place}: {name} is not packed by this version. Name a folder of {plurals(packed_modalities(), 'or')}."
        )
    asked = only or (name if name in packed else None)
    wanted = packed_modalities() if asked is None else (find_modality(asked),)
    names = _names(wanted)
    single, several = out or Path("shards") / name, out or Path("shards")
    _check_target(single, place.source)
    contents = place.contents(names, (single, *(place_below(several, one) for one in names)))
    listings = contents.listings
    chosen = [one for one in names if listings[one].files]
    chosen = chosen or [one for one in names if listings[one].failures][:1]
    if not chosen:
        raise SourceError(f"{place}: {_other_media(contents, wanted) or _nothing(place, (), wanted)}")
    sets = [
        _found(one, place.source, place_below(several, one) if len(chosen) > 1 else single, contents)
        for one in chosen
    ]
    skipped = contents.skipped + sum(len(listings[one].failures) for one in names if one not in chosen)
    return Survey(tuple(sets), skipped, () if asked else _left_files(contents))


def _left_files(contents: Contents) -> tuple[str, ...]:
    """Remarks on files of modalities that are not packed."""
    left = [one for one in modalities() if one.packing is None and contents.other_media.get(one.name)]
    return tuple(
        f"{counted(contents.other_media[one.name], one.noun)} left: {one.name} is not packed by this version."
        for one in left
    )


def _found(modality: str, source: Path | SourceUrl, out: Path | str, contents: Contents) -> FoundSet:
    listing = contents.listings[modality]
    _check_target(out, source)
    if not listing.files:
        first = listing.failures[0]
        others = len(listing.failures) - 1
        rest = f"; {counted(others, 'other')} cannot be read either" if others else ""
        noun = find_modality(modality).noun
        raise SourceError(
            f"{source}: no {noun} in it can be read: {printable(first.path)} is {first.reason}{rest}."
        )
    return FoundSet(modality, source, out, listing)


def _check_target(target: Path | str, source: Path | SourceUrl) -> None:
    if isinstance(source, Path):
        is_source = isinstance(target, Path) and target.exists() and target.samefile(source)
    else:
        is_source = target == source.url
    if is_source:
        raise ShardingError(f"{target}: is the folder that is read. Name another one with --out.")


def _is_empty(listing: Listing) -> bool:
    return not listing.files and not listing.failures


def _nothing(place: SourcePlace, inside: Collection[str], wanted: Sequence[Modality]) -> str:
    if not isinstance(place.source, Path) and not place.has_files():
        bucket = place.source.bucket
        return (
            f"the bucket {bucket} has no files there. Look at the name, in which capitals count, or put some there."
        )
    nothing = f"no {plurals(wanted, 'or')} in it"
    if any(one.has_tars() for one in (place, *(place.below(name) for name in inside))):
        return f"{nothing}, but tars, which may be shards already. Iterators read them as they are."
    return f"{nothing}. Put some there, or name another folder."


def _other_media(contents: Contents, wanted: Sequence[Modality]) -> str:
    """What a folder holds instead of what is wanted; empty where that is nothing."""
    others = sorted(contents.other_media)
    if not others:
        return ""
    held = f"holds {' and '.join(others)}, no {plurals(wanted, 'or')}"
    packed = [name for name in others if find_modality(name).packing is not None]
    return f"{held}. Pack it with --only {packed[0]}." if packed else f"{held}; {_only_packed()}."


def _only_packed() -> str:
    return f"only {plurals(packed_modalities(), 'and')} are packed by this version"


def _names(found: Sequence[Modality]) -> tuple[str, ...]:
    return tuple(modality.name for modality in found)
