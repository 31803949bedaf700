"""Packing one source: find and check its files, then pack each set."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ShardingError
from ..storage.heads import LocalHeads
from .manner import Manner, manner_of, ready_engine
from .packing import NamesFunctions
from .packing_state import PackingState
from .places import out_setting, place_of
from .request import PackReport, PackRequest
from .retrying import check_retry
from .set_job import pack_set, strict_error
from .settings import PackSettings, check_options, known_settings
from .source_place import MakesHeads, source_of
from .survey import FoundSet, Survey, survey

if TYPE_CHECKING:
    from .engines import ProcessEngine

__all__ = ["Work", "found_work", "pack_source", "unusable_places"]


def pack_source(request: PackRequest, begun: ProcessEngine | None) -> PackReport:
    """Carry out `make_shards`. `begun` has the workers that have started; None if there are none."""
    began = time.monotonic()
    known, manner = known_settings(request.options), manner_of(request)
    with unusable_places(request):
        work = found_work(request, known, manner, LocalHeads if begun is None else begun.heads)
        with ready_engine(manner, begun) as engine:
            sets = [pack_set(one, work.settings[one.modality], manner, engine) for one in work.found.sets]
    notes = (*work.notes, *(note for one in sets for note in one.notes))
    return PackReport(tuple(sets), work.found.skipped, notes, time.monotonic() - began)


@contextlib.contextmanager
def unusable_places(request: PackRequest) -> Iterator[None]:
    """Raise `ShardingError` instead of an `OSError`. The message names the file; if that is unknown, the source."""
    try:
        yield
    except OSError as error:
        place = error.filename or source_of(request.source, request.storage_options)
        raise ShardingError(f"{place}: cannot be used ({error.strerror or error}).") from error


@dataclass(frozen=True)
class Work:
    """What was found to be packed, the settings for each modality, and remarks on both."""

    found: Survey
    settings: dict[str, PackSettings]
    notes: tuple[str, ...]


def found_work(
    request: PackRequest,
    known: Mapping[str, PackSettings | ValueError],
    manner: Manner,
    heads: MakesHeads = LocalHeads,
) -> Work:
    """Look for what is to be packed, and check that it can be. Raises as `make_shards` does before it packs."""
    source = source_of(request.source, manner.storage_options)
    out = None if request.out is None else out_setting(request.out)
    found = survey(source, out, only=request.only, heads=heads)
    check_options([one.modality for one in found.sets], request.options, source)
    settings = {one.modality: _settings(known[one.modality], others=manner.has_others) for one in found.sets}
    if manner.strict:
        _check_listings(found.sets)
    if manner.asked.retry_failed:
        states = [PackingState(place_of(one.out, manner.storage_options)) for one in found.sets]
        check_retry(states, append=manner.asked.append)
    remarks = [note for one in found.sets for note in settings[one.modality].media.check(one.listing.files)]
    return Work(found, settings, (*found.notes, *remarks))


def _settings(found: PackSettings | ValueError, *, others: bool) -> PackSettings:
    """The settings of a modality. Raises `ShardingError` for those that other processes, if any, cannot import."""
    if isinstance(found, ValueError):
        raise found
    found.attachments.describe()  # so that a file that cannot be read is found before anything is written
    media = type(found.media)
    if others and media.__module__ == "__main__":
        raise ShardingError(
            f"{media.__name__} is defined in the program that was started, which worker processes do not run. Move it "
            "to a module that can be imported, or use workers=0."
        )
    if others and isinstance(found.media, NamesFunctions):
        found.media.check_importable()
    return found


def _check_listings(sets: tuple[FoundSet, ...]) -> None:
    """With strict: raise before anything is packed where files are known to fail."""
    if failures := tuple(failure for one in sets for failure in one.listing.failures):
        raise strict_error(failures)
