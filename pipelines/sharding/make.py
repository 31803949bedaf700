"""make_shards: from a folder of images to a finished set of shards, whatever state that is found in."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..errors import ShardingError, SourceError
from ..manifest import Manifest, ShardColumns
from .engines import make_engine
from .listing import Listing, list_images
from .lock import hold_folder
from .pack import PackingStoppedError, ShardResult, ShardTask
from .places import resolve_places
from .plan import PackSettings, Plan
from .progress import Progress
from .start import Start, choose_start, complete_manifest
from .walk import Failure
from .wording import counted, printable
from .workspace import Workspace

__all__ = ["PackReport", "make_shards"]


@dataclass(frozen=True)
class PackReport:
    """What is in the folder now.

    `new_shards` were made by this call; `was_complete` says that there was nothing to do. `failures` could
    not be packed, `skipped` files are neither images nor sidecar files of one, `notes` are remarks on what
    was left alone.
    """

    out: Path
    examples: int
    shards: int
    bytes: int
    new_shards: int
    was_complete: bool
    failures: tuple[Failure, ...]
    skipped: int
    notes: tuple[str, ...]
    seconds: float


def make_shards(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    shuffle: int | None = 0,
    shard_bytes: int | None = None,
    shard_examples: int = 10_000,
    decode: bool = False,
    resize: int | None = None,
    quality: int | None = None,
    workers: int | None = None,
    strict: bool = False,
    append: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> PackReport:
    """Pack a folder of images into webdataset tars with an index and a manifest.

    The same folder and settings give the same bytes, however often it was interrupted and however many
    processes took part. An interrupted run goes on when called again; a complete set is left alone.

    out         default: the last part of `source` below ./shards.
    shuffle … quality   see `PackSettings`.
    workers     processes; None: one a usable core, 0: all in this process.
    strict      raise if any file cannot be packed, and do not finish the set.
    append      to a finished set, add the files it does not hold in new shards; what is there stays as it is.
    overwrite   remove the set that is there and make it anew.
    progress    show it on standard error.

    Raises `SourceError` if there is nothing to pack; `ShardingError` if packing cannot start (another run,
    other files or settings than the folder was begun with); its subclass `PackingStoppedError` if it cannot
    finish; `ValueError` for settings that make no sense.
    """
    began = time.monotonic()
    settings = PackSettings(shuffle, shard_bytes, shard_examples, decode, resize, quality)
    num_workers = _check_workers(workers)
    if append and overwrite:
        raise ValueError("append and overwrite exclude each other: keep what is there, or make it anew.")
    places = resolve_places(source, out)
    listing = list_images(places.source, exclude=places.out)
    _check_listing(places.source, listing, strict=strict)
    manifest = None if overwrite else complete_manifest(places.out, listing, settings)
    new_shards, was_complete, notes = 0, manifest is not None, places.notes
    if manifest is None:
        _make_folder(places.out)
        try:
            with hold_folder(places.out):
                workspace = Workspace(places.out)
                start = choose_start(workspace, listing, settings, append=append, overwrite=overwrite)
                was_complete = start.plan is None
                if start.gone:
                    gone = counted(start.gone, "packed image")
                    notes += (f"{gone} no longer in the folder: kept in the shards. --overwrite leaves them out.",)
                job = _Job(places.source, workspace, listing, start)
                new_shards = job.pack(num_workers, sys.stderr if progress else None)
                manifest = job.finish(strict=strict)
        except OSError as error:
            reason = error.strerror or str(error)
            raise PackingStoppedError(
                f"{places.out}: cannot be written to ({reason}). Finished shards are kept; mend it and run again."
            ) from error
    failures = tuple(Failure(failure["path"], failure["reason"]) for failure in manifest.failures)
    if strict and failures:
        raise _strict_error(failures)
    return PackReport(
        out=places.out,
        examples=manifest.examples,
        shards=len(manifest.shards.name),
        bytes=sum(manifest.shards.bytes),
        new_shards=new_shards,
        was_complete=was_complete,
        failures=failures,
        skipped=listing.skipped,
        notes=notes,
        seconds=time.monotonic() - began,
    )


class _Job:
    """Carries a plan out in a folder whose lock is held."""

    def __init__(self, source: Path, workspace: Workspace, listing: Listing, start: Start) -> None:
        self._source, self._workspace, self._listing = source, workspace, listing
        self._plan, self._base = start.plan, start.base
        self._results: dict[int, ShardResult] = {}

    def pack(self, workers: int, stream: TextIO | None) -> int:
        """Make the shards that are not finished; returns how many that were."""
        if self._plan is None:
            return 0
        self._results = self._workspace.finished()
        missing = [shard for shard in self._plan.shards if shard.number not in self._results]
        total = len(self._plan.images)
        left = sum(len(shard.images) for shard in missing)
        counts = {shard.number: len(shard.images) for shard in missing}
        with self._workspace.parts() as parts, Progress(total, total - left, stream=stream) as progress:
            tasks = [ShardTask(shard, self._source, parts, self._plan.settings) for shard in missing]
            for result in make_engine(workers).run(tasks, progress.on_image):
                self._workspace.publish(result, parts)
                self._results[result.number] = result
                progress.on_shard(result.number, counts[result.number])
        return len(missing)

    def finish(self, *, strict: bool) -> Manifest:
        """Write names and manifest. With `strict` and failures, raises and leaves the set unfinished."""
        if self._plan is None:
            assert self._base is not None
            return self._base
        found = [failure for result in self._results.values() for failure in result.failures]
        failures = tuple(sorted([*self._listing.failures, *found]))
        if strict and failures:
            raise _strict_error(failures)
        manifest = self._manifest(self._plan, failures)
        if not manifest.examples:
            self._workspace.wipe()
            raise PackingStoppedError(
                f"{self._source}: none of its {counted(len(failures), 'image')} can be packed.", failures
            )
        unpacked = {failure.path for failure in failures}
        names = ((one.key, one.image.path) for one in self._plan.images if one.image.path not in unpacked)
        self._workspace.finish(manifest, names, kept=self._base.examples if self._base else 0)
        return manifest

    def _manifest(self, plan: Plan, failures: tuple[Failure, ...]) -> Manifest:
        old = self._base.shards if self._base else ShardColumns()
        made = [result.summary for _, result in sorted(self._results.items()) if result.summary.examples]
        columns = ShardColumns(
            name=old.name + [summary.name for summary in made],
            examples=old.examples + [summary.examples for summary in made],
            bytes=old.bytes + [summary.bytes for summary in made],
            sha256=old.sha256 + [summary.sha256 for summary in made],
        )
        return Manifest(
            modality="image",
            shards=columns,
            listing=plan.listing,
            settings=plan.settings.describe(),
            failures=[{"path": failure.path, "reason": failure.reason} for failure in failures],
        )


def _check_workers(workers: int | None) -> int:
    if workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 0:
        raise ValueError(f"workers is {workers}; it must be at least 0.")
    return workers


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ShardingError(f"{out}: cannot be made ({error.strerror}). Name another folder with --out.") from error


def _check_listing(source: Path, listing: Listing, *, strict: bool) -> None:
    if strict and listing.failures:
        raise _strict_error(tuple(listing.failures))
    if listing.images:
        return
    if listing.failures:
        first = listing.failures[0]
        rest = f" and {len(listing.failures) - 1:,} more" if len(listing.failures) > 1 else ""
        raise SourceError(f"{source}: no image in it can be read: {printable(first.path)} is {first.reason}{rest}.")
    if listing.other_media:
        kinds = " and ".join(sorted(listing.other_media))
        raise SourceError(f"{source}: holds {kinds}, no images; only images are packed by this version.")
    raise SourceError(f"{source}: no images in it. Put some there, or name another folder.")


def _strict_error(failures: tuple[Failure, ...]) -> PackingStoppedError:
    return PackingStoppedError(
        f"{counted(len(failures), 'file')} cannot be packed. Repair or remove what is listed, "
        "or go on without --strict.",
        failures,
    )
