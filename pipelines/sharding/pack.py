"""The work of one process: the images of one planned shard, read, looked at and written.

What comes out is a function of the task alone. A file that cannot be used is left out with its reason;
anything wrong with the disk, or a source that changes meanwhile, stops the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..decode.pillow import UnreadableImageError
from ..errors import ShardingError
from .image import prepare_image
from .plan import PackSettings, PlannedImage, PlannedShard
from .shard_file import EncodedExample, ShardFile, ShardSummary, encode_example
from .walk import Failure
from .wording import printable
from .writer import shard_name

__all__ = ["PackingStoppedError", "ShardResult", "ShardTask", "pack_shard"]


class PackingStoppedError(ShardingError):
    """Packing began and could not be finished; what is finished is kept. `failures` are the files at fault."""

    def __init__(self, message: str, failures: tuple[Failure, ...] = ()) -> None:
        super().__init__(message)
        self.failures = failures

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.failures)


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A planned shard, where its files are, and where it is to be written, complete with its index.

    `crashed` holds the places of images whose reader takes its process along, each with how it ended.
    """

    shard: PlannedShard
    source: Path
    target: Path
    settings: PackSettings
    crashed: dict[int, str] = field(default_factory=dict)

    def without(self, place: int, reason: str) -> ShardTask:
        """The same task, with one image counted as a failure unread."""
        return replace(self, crashed={**self.crashed, place: reason})


@dataclass(frozen=True, slots=True)
class ShardResult:
    """A shard in `ShardTask.target`, or none there if `summary.examples` is 0; and what was left out."""

    number: int
    summary: ShardSummary
    failures: tuple[Failure, ...]


def pack_shard(task: ShardTask, on_image: Callable[[int], None]) -> ShardResult:
    """Write one shard. `on_image` is told the place of every image before it is touched.

    Raises `PackingStoppedError` where the shard cannot be written or the source has changed since it was
    listed.
    """
    name = shard_name("image", task.shard.number)
    failures: list[Failure] = []
    try:
        shard = ShardFile(task.target / name)
        try:
            for place, planned in enumerate(task.shard.images):
                on_image(place)
                try:
                    if place in task.crashed:
                        raise UnreadableImageError(task.crashed[place])
                    shard.add(_load(planned, task))
                except UnreadableImageError as error:
                    failures.append(Failure(planned.image.path, str(error)))
            if shard.examples:
                return ShardResult(task.shard.number, shard.finish(), tuple(failures))
            shard.abort()
            return ShardResult(task.shard.number, ShardSummary(name, 0, 0, ""), tuple(failures))
        except BaseException:
            shard.abort()
            raise
    except OSError as error:
        raise PackingStoppedError(
            f"{task.target.parent.parent / name}: cannot be written ({error.strerror or error}). Make room, and "
            "run the same command again: finished shards are kept."
        ) from error


def _load(planned: PlannedImage, task: ShardTask) -> EncodedExample:
    image, settings = planned.image, task.settings
    content = _read(task.source, image.path, image.size)
    fields = {suffix.lower(): _read(task.source, f"{image.stem}.{suffix}", size) for suffix, size in image.sidecars}
    prepared = prepare_image(
        content,
        image.suffix,
        decode=settings.decode,
        resize=settings.resize,
        quality=settings.quality or 90,
    )
    return encode_example(planned.key, prepared.media, prepared.suffix, fields=fields, facts=prepared.facts)


def _read(source: Path, path: str, size: int) -> bytes:
    """A whole file of the size it had in the listing, which the shard boundaries were made from."""
    try:
        with open(source / path, "rb", buffering=0) as file:
            content = file.read(size + 1)
            while content and len(content) < size and (piece := file.read(size + 1 - len(content))):
                content += piece
    except FileNotFoundError:
        content = b""
    except OSError as error:
        raise UnreadableImageError(f"cannot be read ({error.strerror})") from error
    if len(content) != size:
        raise PackingStoppedError(
            f"{printable(path)}: no longer the {size:,} bytes it had when packing began. Leave the folder alone "
            "until it is packed; if the change is to stay, pack anew with --overwrite."
        )
    return content
