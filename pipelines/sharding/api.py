"""make_shards: from a folder of media to finished sets of shards, whatever state those are found in."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from ..errors import ShardingError
from ..order.checked_numbers import flag
from ..storage.walk import Failure
from .manner import Manner, check_workers, checked_asking, connected_manner
from .packing import NamesFunctions
from .packing_state import PackingState
from .places import folder_above, out_setting, place_of
from .retrying import check_retry
from .set_job import SetReport, pack_set, strict_error
from .settings import PackOptions, PackSettings, check_options, known_settings
from .source_place import SourceUrl, source_of
from .survey import FoundSet, Survey, survey

__all__ = ["PackReport", "Work", "found_work", "make_shards"]


@dataclass(frozen=True)
class PackReport:
    """What is there now: a set of shards for each modality that was packed.

    `skipped` files are neither media of these modalities nor sidecar files of one, `notes` are remarks on what was
    left alone. The rest adds up over `sets`.
    """

    sets: tuple[SetReport, ...]
    skipped: int
    notes: tuple[str, ...]
    seconds: float

    @property
    def out(self) -> Path | str:
        """The folder or URL of the set; of several sets, the one they are in."""
        return self.sets[0].out if len(self.sets) == 1 else folder_above(self.sets[0].out)

    @property
    def examples(self) -> int:
        """Examples in all shards."""
        return sum(one.examples for one in self.sets)

    @property
    def shards(self) -> int:
        """Shards of all sets."""
        return sum(one.shards for one in self.sets)

    @property
    def bytes(self) -> int:
        """Bytes of all shards."""
        return sum(one.bytes for one in self.sets)

    @property
    def new_shards(self) -> int:
        """Shards that were made by this call."""
        return sum(one.new_shards for one in self.sets)

    @property
    def was_complete(self) -> bool:
        """Whether there was nothing to do."""
        return all(one.was_complete for one in self.sets)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What could not be packed, set by set."""
        return tuple(failure for one in self.sets for failure in one.failures)


def make_shards(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    only: str | None = None,
    workers: int | None = None,
    strict: bool = False,
    append: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    progress: bool = False,
    storage_options: Mapping[str, Any] | None = None,
    engine: str = "processes",
    ray_address: str | None = None,
    **options: Unpack[PackOptions],
) -> PackReport:
    """Pack a folder of images, recordings or videos into webdataset tars with an index and a manifest.

    The same folder and settings give the same bytes, however often it was interrupted and however many
    processes took part. An interrupted run continues when called again; a complete set is left alone.

    source      a folder, or a URL of s3, gs or az, of which everything below it is listed.
    out         default: the last name in `source`, below ./shards; a folder of several modalities is packed into
                a set for each, in ./shards/image, ./shards/audio and ./shards/video, or below `out`. A URL of s3, gs
                or az packs into a bucket, which needs obstore.
    only        "image", "audio" or "video": pack that modality alone. A folder of such a name stands for it.
    workers     processes; None: one per usable core, 0: all in this process. With Ray: most shards at a time; None:
                one per CPU of the cluster.
    strict      raise if any file cannot be packed, and do not finish the set.
    append      to a finished set, add the files it does not hold in new shards; what is there stays as it is.
    overwrite   remove the set that is there and make it again.
    retry_failed  of a finished set, try the files again that its manifest lists as failures, and no others; those
                that can be packed now go into new shards. With `append` new files are added as well.
    progress    show it on standard error.
    storage_options   obstore's settings (`endpoint`, `region`, …) of the URLs, for `source` and `out` alike.
    engine      "processes" of this machine, or "ray": tasks on a Ray cluster that runs already.
    ray_address host:port of that cluster; None: that of RAY_ADDRESS, or one that `ray start` began on this machine.
    options     what decides the bytes of the shards: see `PackSettings`, `ImageSettings`, `AudioSettings` and
                `VideoSettings`; for a modality of your own, the fields of its settings class.

    Raises `SourceError` if there is nothing to pack; `ShardingError` if packing cannot start (another run,
    other files or settings than the folder was begun with) or a package is missing; its subclass
    `PackingStoppedError` if it cannot finish; `ValueError` or `TypeError` for settings that make no sense.
    """
    began = time.monotonic()
    known = known_settings(options)
    strict, progress = flag("strict", strict), flag("progress", progress)
    asked = checked_asking(append=append, overwrite=overwrite, retry_failed=retry_failed)
    num_workers, stream = check_workers(workers, engine, ray_address), sys.stderr if progress else None
    manner = Manner(num_workers, strict, asked, stream, storage_options or {}, engine, ray_address)
    place, out = source_of(source, manner.storage_options), None if out is None else out_setting(out)
    try:
        work = found_work(place, out, only, options, known, manner)
        with connected_manner(manner) as connected:
            sets = [pack_set(one, work.settings[one.modality], connected) for one in work.found.sets]
    except OSError as error:
        raise ShardingError(f"{error.filename or place}: cannot be used ({error.strerror or error}).") from error
    notes = (*work.notes, *(note for one in sets for note in one.notes))
    return PackReport(tuple(sets), work.found.skipped, notes, time.monotonic() - began)


@dataclass(frozen=True)
class Work:
    """What was found to be packed, the settings for each modality, and remarks on both."""

    found: Survey
    settings: dict[str, PackSettings]
    notes: tuple[str, ...]


def found_work(
    source: Path | SourceUrl,
    out: Path | str | None,
    only: str | None,
    options: PackOptions,
    known: dict[str, PackSettings | ValueError],
    manner: Manner,
) -> Work:
    """Look for what is to be packed, and check that it can be. Raises as `make_shards` does before it packs."""
    found = survey(source, out, only=only)
    check_options([one.modality for one in found.sets], options, source)
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
