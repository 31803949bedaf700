"""Decoding every example of a set, in many threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

from ..errors import PipelineError
from ..shown_names import shown_name
from ..sources.located import FilePart, Member
from ..storage.blob import Blob, LocalFile
from ..storage.keys import split_member_name
from ..storage.tar import iter_members
from ..storage.tar_index import open_tar
from .measured_media import can_measure, decode_media
from .opened_set import OpenedSet
from .shard_check import CheckedShard

__all__ = ["decode_set", "key_at", "member_of"]

AT_ONCE = 64
"""Examples that one task decodes."""


def member_of(blob: Blob, offset: int, length: int) -> Member:
    """A range of a tar as media: `length` bytes from `offset`."""

    def read(start: int, count: int) -> bytes:
        return blob.read(offset + start, max(0, min(count, length - start)))

    return Member(
        read, length, file=FilePart(str(blob.path.absolute()), offset) if isinstance(blob, LocalFile) else None
    )


def key_at(blob: Blob, offset: int, where: str) -> str:
    """The key of the example that begins at a byte of a tar."""

    def read(start: int, count: int) -> bytes:
        return blob.read(offset + start, count)

    for member in iter_members(read, 0, blob.size - offset, where=where, verify=False):
        if (parts := split_member_name(member.name)) is not None and member.is_file:
            return parts[0]
    return ""


def decode_set(
    opened: OpenedSet,
    modality: str | None,
    shards: list[CheckedShard],
    *,
    threads: Executor,
    stop: threading.Event,
    progress: Callable[[int], None],
) -> None:
    """Decode every example. Each failure becomes a finding of its shard; `progress` gets numbers of examples."""
    if modality is None or not can_measure(modality):
        opened.notes.append(f"not decoded: no decoder is known for {modality or 'media of this kind'}")
        return
    settings = {} if opened.manifest is None else opened.manifest.settings
    most = settings.get("max_pixels")
    decode = partial(decode_media, modality, max_pixels=most if type(most) is int else None)
    tasks = [
        (one, begin, threads.submit(_decode_some, opened, one, begin, decode, stop))
        for one in shards
        for begin in range(0, one.num_examples, AT_ONCE)
    ]
    for one, begin, task in tasks:
        for number, key, reason in task.result():
            offset = int(one.offsets[number])
            one.findings.add(
                "undecodable-example",
                one.shard.shown,
                f"Example {shown_name(key)} at byte {offset:,}: {reason}. Restore the shard, or pack it again.",
                key=key,
                offset=offset,
            )
        progress(min(AT_ONCE, one.num_examples - begin))


def _decode_some(
    opened: OpenedSet, one: CheckedShard, begin: int, decode: Callable[[Member], str], stop: threading.Event
) -> list[tuple[int, str, str]]:
    """(number, key, reason) of each failure among `AT_ONCE` examples from `begin`."""
    blob = opened.store.open(one.shard.tar) if one.shard.sha256 else open_tar(one.shard.tar, opened.store)
    found = []
    for number in range(begin, min(begin + AT_ONCE, one.num_examples)):
        if stop.is_set():
            break
        offset, length = one.media[number].tolist()
        try:
            reason = decode(member_of(blob, offset, length))
        except PipelineError as error:
            reason = str(error).rstrip(".")
        if reason:
            found.append((number, key_at(blob, int(one.offsets[number]), one.shard.shown), reason))
    return found
