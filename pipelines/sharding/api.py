"""make_shards: from a folder of media to finished sets of shards, whatever state those are found in.

This module imports nothing large. So worker processes can start first and import at the same time as this process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from ..child_process import usable_cores
from .request import PackRequest

if TYPE_CHECKING:
    from .engines import ProcessEngine
    from .request import PackReport
    from .settings import PackOptions

__all__ = ["begin_early", "make_shards"]

MOST_EARLY = 4
"""Workers that start before the number of shards is known."""


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
    request = PackRequest(
        source=source,
        out=out,
        only=only,
        workers=workers,
        strict=strict,
        append=append,
        overwrite=overwrite,
        retry_failed=retry_failed,
        storage_options=storage_options,
        engine=engine,
        ray_address=ray_address,
        options=options,
        progress=progress,
    )
    begun = begin_early(workers, engine)
    try:
        from .source_job import pack_source

        return pack_source(request, begun)
    finally:
        if begun is not None:
            begun.end()


def begin_early(workers: object, engine: object) -> ProcessEngine | None:
    """Start worker processes, if these settings ask for any. The settings are not checked here.

    Returns None if this process or a Ray cluster packs.
    """
    if engine != "processes" or not (workers is None or (type(workers) is int and workers > 0)):
        return None
    from .engines.processes import ProcessEngine
    from .source_reader import PackingStoppedError

    begun = ProcessEngine(usable_cores() if workers is None else workers)
    with contextlib.suppress(PackingStoppedError):  # `begin` raises it again when the workers are needed
        begun.begin(MOST_EARLY)
    return begun
