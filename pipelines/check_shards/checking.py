"""`check_shards`: all sets of a source, shard by shard in threads."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Executor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..child_process import usable_cores
from ..errors import SourceError
from ..modality import HEAD_BYTES
from ..order.checked_numbers import flag, whole_number
from ..stopping import stopped_by
from ..storage.blob import LocalFile
from ..storage.media_types import sniff
from .decode_check import decode_set
from .findings import Findings
from .folder_check import check_folder, check_tables
from .names_check import check_keys, check_names
from .opened_set import OpenedSet, Shard, open_sets
from .progress import CheckProgress
from .repair import repair_set
from .report import CheckReport, SetReport
from .shard_check import CheckedShard, check_shard
from .shard_verdict import KnownDigests, judge_shard
from .summary import Summary

__all__ = ["CheckOptions", "check_shards"]

MOST_THREADS = 16


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """The options of a check. Raises `ValueError` or `TypeError` for an invalid value.

    decode     decode every example whole
    repair     write again the files that can be derived from others: see `repair_set`
    threads    shards that are read at a time; None: one per core, 16 at most
    most       findings of one kind that are kept, of damaged examples 5 per shard; all are counted
    """

    decode: bool = False
    repair: bool = False
    threads: int | None = None
    most: int = 10_000

    def __post_init__(self) -> None:
        for name in ("decode", "repair"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        whole_number("most", self.most)
        if self.threads is not None:
            whole_number("threads", self.threads, most=1024)

    @property
    def num_threads(self) -> int:
        """The number of threads that are used."""
        return self.threads or min(MOST_THREADS, usable_cores())


def check_shards(
    source: str | os.PathLike[str], options: CheckOptions | None = None, *, progress: bool = False
) -> CheckReport:
    """Compare the files of a set of shards with each other; without `repair` nothing is changed.

    source      a folder of shards or of several sets, a tar, a pattern, or a URL (s3://, gs://, az://, https://)
    progress    show a progress bar on stderr

    Each tar is read once; 32 bytes are kept per example. Raises `SourceError` if there is nothing to check or a URL
    cannot be reached, `ShardingError` if a repair cannot be written.
    """
    options = options or CheckOptions()
    sets = open_sets(os.fspath(source))
    return CheckReport(os.fspath(source), tuple(_check_set(one, options, progress=progress) for one in sets))


def _check_set(opened: OpenedSet, options: CheckOptions, *, progress: bool) -> SetReport:
    stream = sys.stderr if progress else None
    opened.findings.most = options.most
    stop = threading.Event()
    threads = ThreadPoolExecutor(options.num_threads)
    try:
        total = sum(_size_of(opened, shard) for shard in opened.shards)
        with CheckProgress(total, stream=stream) as add:
            shards = _check_all(opened, threads, stop, add)
        modality = _modality_of(opened, shards)
        _check_the_rest(opened, shards, stop)
        if options.decode:
            with CheckProgress(sum(one.num_examples for one in shards), stream=stream, noun="examples") as add:
                decode_set(opened, modality, shards, threads=threads, stop=stop, progress=add)
    finally:
        stop.set()
        threads.shutdown(cancel_futures=True)
    refused = repair_set(opened, modality, shards) if options.repair else []
    findings, summary = Findings(options.most), Summary()
    findings.extend(opened.findings)
    for one in shards:
        findings.extend(one.findings)
        summary.merge(one.summary)
    return SetReport(
        opened.shown, modality, findings, summary, tuple(opened.notes), tuple(refused), opened.manifest
    )


def _size_of(opened: OpenedSet, shard: Shard) -> int:
    """The size of a tar in bytes for the progress bar; 0 if it is unknown without a request."""
    if shard.num_bytes is not None or opened.is_far:
        return shard.num_bytes or 0
    return Path(shard.tar).stat().st_size if Path(shard.tar).is_file() else 0


def _check_all(
    opened: OpenedSet, threads: Executor, stop: threading.Event, progress: Callable[[int], None]
) -> list[CheckedShard]:
    """Check every shard in a thread; the results come in the order of the shards."""
    known = KnownDigests.of(opened)

    def check(shard: Shard) -> CheckedShard:
        with stopped_by(stop.is_set):
            checked = check_shard(opened, shard, stop=stop, progress=progress)
        judge_shard(checked, opened, known)
        return checked

    tasks = [threads.submit(check, shard) for shard in opened.shards]
    wait(tasks, return_when=FIRST_EXCEPTION)
    stopped = [task for task in tasks if task.done() and task.exception() is not None]
    if stopped:
        stop.set()
    return [task.result() for task in (*stopped[:1], *tasks)][len(stopped[:1]) :]


def _check_the_rest(opened: OpenedSet, shards: list[CheckedShard], stop: threading.Event) -> None:
    check_keys(opened, shards)
    if not opened.is_whole:
        return
    if opened.manifest is not None:
        with _named_where_unreadable(opened):
            check_names(opened, shards, stop=stop)
        with _named_where_unreadable(opened):
            check_tables(opened)
    check_folder(opened)


@contextmanager
def _named_where_unreadable(opened: OpenedSet) -> Iterator[None]:
    """A local file that cannot be read becomes a finding; a remote file that cannot be read ends the check."""
    try:
        yield
    except SourceError as error:
        if opened.is_far:
            raise
        file, _, sentence = str(error).partition(": ")
        opened.findings.add("unreadable-file", file, f"It {sentence} Remove what stands there, and restore it.")


def _modality_of(opened: OpenedSet, shards: list[CheckedShard]) -> str | None:
    """The modality of the manifest, or else of the first example by its first bytes; None if it is unknown."""
    if opened.manifest is not None:
        return opened.manifest.modality
    for one in shards:
        if one.num_examples and not opened.is_far and one.shard.name.endswith(".tar"):
            offset = int(one.media[0][0])
            found = sniff(LocalFile(one.shard.tar).read(offset, HEAD_BYTES))
            return None if found is None else found[0]
    return None
