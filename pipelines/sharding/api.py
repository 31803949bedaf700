"""make_shards: from a folder of media to finished sets of shards, whatever state those are found in."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from ..child_process import usable_cores
from ..errors import ShardingError
from ..order.checked_numbers import flag, whole_number
from ..storage.plain_files import path_setting
from ..storage.walk import Failure
from .packing import NamesFunctions
from .set_job import Manner, SetReport, pack_set, strict_error
from .settings import PackOptions, PackSettings, check_options, known_settings
from .source_place import SourceUrl, source_of
from .survey import FoundSet, survey

__all__ = ["PackReport", "make_shards"]


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
    def out(self) -> Path:
        """The folder of the set; of several sets, the one they are in."""
        return self.sets[0].out if len(self.sets) == 1 else self.sets[0].out.parent

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
    progress: bool = False,
    **options: Unpack[PackOptions],
) -> PackReport:
    """Pack a folder of images, recordings or videos into webdataset tars with an index and a manifest.

    The same folder and settings give the same bytes, however often it was interrupted and however many
    processes took part. An interrupted run continues when called again; a complete set is left alone.

    source      a folder, or a URL of s3, gs or az, of which everything below it is listed.
    out         default: the last name in `source`, below ./shards; a folder of several modalities is packed into
                a set for each, in ./shards/image, ./shards/audio and ./shards/video, or below `out`.
    only        "image", "audio" or "video": pack that modality alone. A folder of such a name stands for it.
    workers     processes; None: one per usable core, 0: all in this process.
    strict      raise if any file cannot be packed, and do not finish the set.
    append      to a finished set, add the files it does not hold in new shards; what is there stays as it is.
    overwrite   remove the set that is there and make it again.
    progress    show it on standard error.
    options     what decides the bytes of the shards: see `PackSettings`, `ImageSettings`, `AudioSettings` and
                `VideoSettings`; for a modality of your own, the fields of its settings class.

    Raises `SourceError` if there is nothing to pack; `ShardingError` if packing cannot start (another run,
    other files or settings than the folder was begun with) or a package is missing; its subclass
    `PackingStoppedError` if it cannot finish; `ValueError` or `TypeError` for settings that make no sense.
    """
    began = time.monotonic()
    known = known_settings(options)
    strict, append, overwrite = flag("strict", strict), flag("append", append), flag("overwrite", overwrite)
    progress = flag("progress", progress)
    if append and overwrite:
        raise ValueError("append and overwrite exclude each other: keep what is there, or make it again.")
    manner = Manner(_check_workers(workers), strict, append, overwrite, sys.stderr if progress else None)
    place = source_of(source)
    out = None if out is None else path_setting("out", out)
    try:
        return _packed(place, out, only, options, known, manner, began)
    except OSError as error:
        raise ShardingError(f"{error.filename or place}: cannot be used ({error.strerror or error}).") from error


def _packed(
    source: Path | SourceUrl,
    out: Path | None,
    only: str | None,
    options: PackOptions,
    known: dict[str, PackSettings | ValueError],
    manner: Manner,
    began: float,
) -> PackReport:
    found = survey(source, out, only=only)
    check_options([one.modality for one in found.sets], options, source)
    settings = {one.modality: _settings(known[one.modality], manner.workers) for one in found.sets}
    if manner.strict:
        _check_listings(found.sets)
    remarks = [note for one in found.sets for note in settings[one.modality].media.check(one.listing.files)]
    sets = [pack_set(one, settings[one.modality], manner) for one in found.sets]
    gone = [note for one in sets for note in one.notes]
    return PackReport(tuple(sets), found.skipped, (*found.notes, *remarks, *gone), time.monotonic() - began)


def _settings(found: PackSettings | ValueError, workers: int) -> PackSettings:
    """The settings of a modality that is packed. Raises `ShardingError` for those that workers cannot import."""
    if isinstance(found, ValueError):
        raise found
    found.attachments.describe()  # so that a file that cannot be read is found before anything is written
    media = type(found.media)
    if workers and media.__module__ == "__main__":
        raise ShardingError(
            f"{media.__name__} is defined in the program that was started, which worker processes do not run. Move it "
            "to a module that can be imported, or use workers=0."
        )
    if workers and isinstance(found.media, NamesFunctions):
        found.media.check_importable()
    return found


def _check_workers(workers: int | None) -> int:
    if workers is None:
        return usable_cores()
    return whole_number("workers", workers, least=0)


def _check_listings(sets: tuple[FoundSet, ...]) -> None:
    """With strict: raise before anything is packed where files are known to fail."""
    if failures := tuple(failure for one in sets for failure in one.listing.failures):
        raise strict_error(failures)
