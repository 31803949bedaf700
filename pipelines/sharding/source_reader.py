"""The bytes of one file of the source, which must stay as it was listed while it is packed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from ..errors import ShardingError, SourceError
from ..storage.plain_files import open_sized, system_path
from ..storage.walk import Failure
from .wording import printable

__all__ = [
    "CHUNK_BYTES",
    "PackingStoppedError",
    "SourceReader",
    "UnpackableError",
    "changed_error",
    "kept_when_stopped",
]

CHUNK_BYTES = 1 << 20


class PackingStoppedError(ShardingError):
    """Packing began and could not be finished; what is finished is kept. `failures` are the files at fault."""

    def __init__(self, message: str, failures: tuple[Failure, ...] = ()) -> None:
        super().__init__(message)
        self.failures = failures

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.failures)


class UnpackableError(Exception):
    """A file that cannot be packed. `str()` of it is the reason, which goes into the manifest: no path, no address."""


class SourceReader:
    """A file of `size` bytes, open for reading at any offset inside a `with`.

    Raises `UnpackableError` where it cannot be read, and `PackingStoppedError` where it has another size than in
    the listing, which the shard boundaries were made from. `full_path` is where it lies, if not in the folder.
    """

    def __init__(self, folder: Path | str, path: str, size: int, *, full_path: str = "") -> None:
        self.path, self.size = path, size
        self.full_path = full_path or system_path(folder, path)
        self._handle = -1

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`, fewer at the end of the file."""
        length = max(0, min(length, self.size - offset))
        chunks = []
        while length:
            try:
                chunk = os.pread(self._handle, length, offset)
            except OSError as error:
                raise UnpackableError(f"cannot be read ({error.strerror})") from error
            if not chunk:
                raise self._changed()
            chunks.append(chunk)
            offset, length = offset + len(chunk), length - len(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def content(self) -> bytes:
        """The whole file."""
        return self.read(0, self.size)

    def chunks(self) -> Iterator[bytes]:
        """The whole file, a mebibyte at a time."""
        for offset in range(0, self.size, CHUNK_BYTES):
            yield self.read(offset, CHUNK_BYTES)

    def __enter__(self) -> SourceReader:
        try:
            self._handle, size = open_sized(self.full_path)
        except FileNotFoundError:
            raise self._changed() from None
        except OSError as error:
            raise UnpackableError(f"cannot be read ({error.strerror})") from error
        if size != self.size:
            os.close(self._handle)
            raise self._changed()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)
        self._handle = -1

    def _changed(self) -> PackingStoppedError:
        return changed_error(self.path, self.size)


def changed_error(path: str, size: int) -> PackingStoppedError:
    """What packing ends with where a file is not as it was listed."""
    return PackingStoppedError(
        f"{printable(path)}: no longer the {size:,} bytes it had when packing began. Leave the folder "
        "alone until it is packed; if the change is to stay, pack it again with --overwrite."
    )


@contextlib.contextmanager
def kept_when_stopped() -> Iterator[None]:
    """Failed requests, and a lease that was lost, as `PackingStoppedError`: the run can be continued."""
    try:
        yield
    except PackingStoppedError:
        raise
    except ShardingError as error:
        raise PackingStoppedError(str(error)) from error
    except SourceError as error:
        raise PackingStoppedError(
            f"{error} Finished shards are kept: the same command continues from there."
        ) from error
