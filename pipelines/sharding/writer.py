"""ShardWriter: examples of any modality into numbered tar shards, with their index. For your own data and ours."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import TracebackType

from ..errors import ShardingError
from ..order.checked_numbers import whole_number
from ..storage.index import MAX_FRAMES, Record
from ..storage.plain_files import path_setting
from .shard_content import NO_FIELDS, ShardSummary, encode_example
from .shard_file import ShardFile

__all__ = ["ShardWriter", "shard_name"]


def shard_name(prefix: str, number: int) -> str:
    """The file name of a shard: `image-000000.tar`."""
    return f"{prefix}-{number:06d}.tar"


def _fact(name: str, value: int) -> int:
    """A number of an index. Raises `TypeError` or `ValueError` for one that does not fit in it."""
    number, most = whole_number(name, value, least=0), MAX_FRAMES if name == "frames" else (1 << 31) - 1
    if number > most:
        raise ValueError(f"{name} is {number}; it must be {most:,} at most.")
    return number


class ShardWriter:
    """Writes examples to `FOLDER/PREFIX-000000.tar` and on, each with its index, in the order given.

    ```python
    with ShardWriter("shards/image", "image", shard_bytes=256 << 20) as writer:
        writer.write("cat", jpeg_bytes, "jpg", fields={"cls": b"3"}, width=640, height=480)
    ```

    A shard is closed before it would grow beyond `shard_bytes`, or once it holds `shard_examples`. It
    appears, whole and with its index, by a rename; an exception inside the `with` removes the shard that is
    being written and keeps the finished ones. `first` is the number of the first shard. The same examples
    give the same bytes.

    Raises `ShardingError` where a shard of that name exists or cannot be begun, `ValueError` for a key that is taken or
    malformed, and `TypeError` or `ValueError` for what makes no sense.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        prefix: str,
        *,
        shard_bytes: int = 256 << 20,
        shard_examples: int = 10_000,
        first: int = 0,
    ) -> None:
        shard_bytes = whole_number("shard_bytes", shard_bytes)
        shard_examples, first = (
            whole_number("shard_examples", shard_examples),
            whole_number("first", first, least=0),
        )
        if not isinstance(prefix, str) or not prefix or "/" in prefix or prefix.startswith("."):
            raise ValueError(f"prefix={prefix!r}: a file name that is not hidden is needed.")
        self.folder, self.prefix = path_setting("folder", folder), prefix
        self.shards: list[ShardSummary] = []
        self._shard_bytes, self._shard_examples = shard_bytes, shard_examples
        self._number = first
        self._shard: ShardFile | None = None

    def write(
        self,
        key: str,
        media: bytes,
        suffix: str,
        *,
        fields: Mapping[str, bytes] = NO_FIELDS,
        frames: int = 1,
        width: int = 0,
        height: int = 0,
        channels: int = 0,
        rate: tuple[int, int] = (0, 0),
    ) -> None:
        """Append one example.

        `key` is without a dot in its base name, `suffix` without its leading dot ("jpg"); `fields` maps
        suffixes to the bytes of the example's other members. The rest goes to the index, 0 for unknown:
        `frames` is 1 for an image, sample frames of audio, decodable frames of video; `width` and `height` of
        the upright picture in pixels; `rate` is the number of frames per second, as numerator and denominator, for
        every modality: (16_000, 1) for audio, (30_000, 1_001) for video.
        """
        if not isinstance(media, bytes | bytearray | memoryview):
            raise TypeError(f"example {key!r}: its media is of type {type(media).__name__}; it must be bytes.")
        if not isinstance(rate, tuple) or len(rate) != 2:
            raise TypeError(f"rate is {rate!r}; it must be a numerator and a denominator: (16_000, 1).")
        numerator, denominator = rate
        facts = {
            "frames": frames,
            "width": width,
            "height": height,
            "channels": channels,
            "rate_numerator": numerator,
            "rate_denominator": denominator,
        }
        record = Record(**{name: _fact(name, value) for name, value in facts.items()})
        example = encode_example(key, media, suffix, fields=fields, record=record)
        shard = self._shard
        if shard is not None and (
            shard.examples >= self._shard_examples or shard.bytes + example.span_bytes > self._shard_bytes
        ):
            self._finish_shard(shard)
            shard = None
        if shard is None:
            shard = self._shard = self._open_shard()
        shard.add(example)

    def _open_shard(self) -> ShardFile:
        path = self.folder / shard_name(self.prefix, self._number)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path):
                raise ShardingError(
                    f"{path}: exists already. Remove it, or continue the numbers with first={self._number + 1}."
                )
            shard = ShardFile(path)
        except OSError as error:
            raise ShardingError(
                f"{path}: cannot be written ({error.strerror or error}). Name another folder."
            ) from error
        self._number += 1
        return shard

    def _finish_shard(self, shard: ShardFile) -> None:
        self._shard = None
        try:
            self.shards.append(shard.finish())
        except BaseException:
            shard.abort()
            raise

    def close(self) -> None:
        """Finish the shard that is being written; `shards` then lists all of them."""
        if self._shard is not None:
            self._finish_shard(self._shard)

    def abort(self) -> None:
        """Remove the shard that is being written; finished ones stay."""
        if self._shard is not None:
            self._shard.abort()
            self._shard = None

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
