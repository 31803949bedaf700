"""The life of a shard task on a node of a Ray cluster.

    Ray's worker process                      child
    task ────────────────────────────────────▶  pack_shard
         ◀────── number of each file ──────────

The files are read in a child process, as `ProcessEngine` has it: a crash of the reader is distinguished from a
failure of the node, and its file is known. The child ends with Ray's process. Messages to the driver are small: a
number now and then, at the end a result or an exception. The driver counts a task as lost when it gets nothing for a
while.
"""

from __future__ import annotations

import contextlib
import functools
import queue
import socket
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, TypeAlias

from ..shard_job import ShardResult, ShardTask
from ..shard_target import FolderTarget
from ..source_reader import PackingStoppedError
from ..wording import printable
from .processes import ProcessEngine
from .worker_process import Work

__all__ = ["ALIVE", "Message", "package_root", "packed", "what_decides_bytes"]

Message: TypeAlias = int | ShardResult | Exception
ALIVE = -1
"""Sent in place of the number of a file, where there is no new one."""
ALIVE_SECONDS, TELL_SECONDS = 1.0, 0.25
PICTURE_MAKERS = "pillow", "cykooz-resizer"
"""Packages that `--resize` uses. Other versions may round differently; so does Pillow alone."""


def packed(driver: Mapping[str, str], sent: bytes) -> Iterator[Message]:
    """Pack what was sent: numbers of files or `ALIVE`, at least one a second, then the result or an exception.

    `driver` is `what_decides_bytes()` of the machine that packs.
    """
    try:
        _check_same(driver)
        work, task = _received(sent)
        _check_visible(task)
    except PackingStoppedError as error:
        yield _of_this_node(error)
        return
    messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_pack, args=(work, task, messages), daemon=True).start()
    yield from _told(messages)


def _told(messages: queue.SimpleQueue[Message]) -> Iterator[Message]:
    """The messages up to the last, without most of the numbers: each that is sent costs Ray a millisecond."""
    last = 0.0
    while True:
        message: Message = ALIVE
        with contextlib.suppress(queue.Empty):
            message = messages.get(timeout=ALIVE_SECONDS)
        if not isinstance(message, int):
            yield message
            return
        if message == ALIVE:
            yield message
        elif time.monotonic() - last >= TELL_SECONDS:
            last = time.monotonic()
            yield message


def _pack(work: Work, task: ShardTask, messages: queue.SimpleQueue[Message]) -> None:
    try:
        for result in ProcessEngine(1, work=work).run([task], lambda _, number: messages.put(number)):
            messages.put(result)
    except PackingStoppedError as error:
        messages.put(_of_this_node(error))
    except Exception as error:
        messages.put(error)


def _of_this_node(error: PackingStoppedError) -> PackingStoppedError:
    return PackingStoppedError(f"Node {socket.gethostname()}: {error}", error.failures)


def _check_same(driver: object) -> None:
    """Raise `PackingStoppedError` where this node would write other bytes than the machine that packs."""
    theirs = driver if isinstance(driver, dict) else {}  # an older version of this package sends something else
    for name, ours in what_decides_bytes().items():
        if theirs.get(name) == ours:
            continue
        if name == "source":
            raise PackingStoppedError(
                f"{package_root()} has another version of this package than the machine that packs. Install the same "
                "on every node: another version may write other bytes."
            )
        raise PackingStoppedError(
            f"{name} is {ours} here and {theirs.get(name)} on the machine that packs. Install the same version on "
            "every machine, or on none: another one may write other bytes."
        )


def _received(sent: bytes) -> tuple[Work, ShardTask]:
    """From the driver, which this process trusts as it does Ray."""
    try:
        found: Any = ForkingPickler.loads(sent)
    except (AttributeError, ImportError) as error:
        raise PackingStoppedError(
            f"what this packing needs cannot be imported ({error}). Install it on every node, or put it on a disk that "
            "all nodes see under the same path."
        ) from error
    work, task = found
    return work, task


def _check_visible(task: ShardTask) -> None:
    """Raise `PackingStoppedError` where this node does not see what the task reads, or where it is to write."""
    folder = task.target.folder if isinstance(task.target, FolderTarget) else None
    for path in (task.source, folder, task.records):
        if isinstance(path, Path) and not path.exists():
            raise PackingStoppedError(
                f"{printable(str(path))} is not there. Every node must see the source and the folder of shards under "
                "the same path: use a disk that they share, or URLs."
            )


def package_root() -> Path:
    """The folder that this package is in."""
    return Path(__file__).parents[len(__package__.split("."))]


def what_decides_bytes() -> dict[str, str]:
    """The digest of this package's source, and the versions of the packages that make pictures, or "absent"."""
    return {"source": _source_digest(), **{name: _version(name) for name in PICTURE_MAKERS}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


@functools.cache
def _source_digest() -> str:
    folder = package_root() / __package__.partition(".")[0]
    digest = 0
    for file in sorted(folder.rglob("*.py")):
        digest = zlib.crc32(file.read_bytes(), digest)
    return f"{digest:08x}"
