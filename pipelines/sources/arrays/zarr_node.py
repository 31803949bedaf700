"""Arrays and groups of zarr: from a place to what it holds, by metadata alone.

Local folders are looked into without zarr's event loop, so that opening one leaves no thread behind; anything else
(a URL, a zip) is opened by zarr through its own stores.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import SourceError
from ...storage.json_text import parse_json
from ...storage.plain_files import MOST_TEXT_BYTES, read_plain

if TYPE_CHECKING:
    import zarr

__all__ = ["ZarrLocation", "first_line", "is_zarr", "listed", "zarr_or_explain"]

METADATA_BYTES = 64 << 20
INFLATED_BYTES = 64 << 20  # of a member that a zip compresses once more; zarr's zips store chunks as they are
LISTED = 20
MARKS = ("zarr.json", ".zarray", ".zgroup")


@dataclass(frozen=True)
class ZarrLocation:
    """Where an array or a group lies: a folder, a zip, or a URL with the options of its file system."""

    location: str
    storage_options: dict[str, Any] | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of this machine."""
        return "://" not in self.location and Path(self.location).is_dir()

    def folder(self, name: str | None) -> Path:
        """The folder of the array of this name, or of the place itself."""
        return Path(self.location, name) if name else Path(self.location)

    def named(self, name: str | None) -> str:
        """The array as errors name it."""
        return f"{self.location.rstrip('/')}/{name}" if name else self.location

    def array(self, name: str | None) -> tuple[zarr.Array[Any], dict[str, Any] | None]:
        """The array, and its metadata as stored where the place is a folder.

        Raises `SourceError` if missing, or for metadata that cannot be understood or would unpickle.
        """
        package, stored = zarr_or_explain(self.named(name)), None
        if self.is_folder:
            stored = _array_metadata(self.folder(name), self.named(name))
            _refuse_pickles(self.named(name), stored)
        try:
            found: Any = (
                self._open(package, name or "") if stored is None else _of_folder(self.folder(name), stored)
            )
            is_array = isinstance(found, package.Array)
            metadata = found.metadata.to_dict() if is_array else {}
        except SourceError:
            raise
        except Exception as error:  # stores, codecs and parsers raise what they like
            raise SourceError(f"{self.named(name)}: cannot be opened as zarr ({first_line(error)}).") from error
        if not is_array:
            raise SourceError(f"{self.named(name)}: a group, not an array. It holds {listed(self.names())}.")
        _refuse_pickles(self.named(name), metadata)
        return found, stored

    def _open(self, package: Any, path: str) -> Any:
        """Let zarr open what is not a folder of this machine."""
        if "://" in self.location:
            return package.open(self.location, mode="r", path=path, storage_options=self.storage_options)
        _check_zip(self.location)
        return package.open(package.storage.ZipStore(self.location, mode="r"), mode="r", path=path)

    def names(self) -> list[str] | None:
        """The arrays of a group, sorted, those of its groups too; None where the place is an array itself."""
        package = zarr_or_explain(self.location)
        if self.is_folder:
            return _names_below(Path(self.location))
        try:
            node = self._open(package, "")
            if isinstance(node, package.Array):
                return None
            members = node.members(max_depth=None)
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(f"{self.location}: cannot be opened as zarr ({first_line(error)}).") from error
        return sorted(name for name, member in members if isinstance(member, package.Array))


def is_zarr(path: Path) -> bool:
    """Whether a folder is a zarr array or group."""
    try:
        found = [path / mark for mark in MARKS if (path / mark).is_file()]
        return bool(found) and not (found == [path / "zarr.json"] and _is_other_json(found[0]))
    except OSError:
        return False


def _is_other_json(path: Path) -> bool:
    """Whether a file is JSON, and no node of zarr: the field of a picture that is called zarr."""
    try:
        content = parse_json(read_plain(path, most=MOST_TEXT_BYTES))
    except (OSError, ValueError):
        return False
    return not isinstance(content, dict) or "zarr_format" not in content


def zarr_or_explain(name: str) -> Any:
    """The zarr package. Raises `ImportError` with the command that installs it."""
    try:
        import zarr
    except ImportError as error:
        raise ImportError(f"{name}: reading it needs zarr 3: pip install 'zarr>=3'.") from error
    return zarr


def _of_folder(folder: Path, metadata: dict[str, Any]) -> Any:
    from zarr import Array, AsyncArray
    from zarr.storage import LocalStore, StorePath

    where = StorePath(LocalStore(folder, read_only=True), "")
    return Array(AsyncArray(metadata=metadata, store_path=where))  # type: ignore[call-overload]


def _array_metadata(folder: Path, name: str) -> dict[str, Any]:
    for mark in MARKS[:2]:
        if (folder / mark).is_file():
            metadata = _read_json(folder / mark)
            if mark == ".zarray" or metadata.get("node_type") == "array":
                return metadata
            break
    else:
        if not (folder / ".zgroup").is_file():
            raise SourceError(f"{name}: not a zarr array. Name the folder in which its zarr.json lies.")
    raise SourceError(f"{name}: a group, not an array. It holds {listed(_names_below(folder))}.")


def _names_below(folder: Path) -> list[str] | None:
    """The arrays below a group, each folder looked into once; chunks are never looked at."""
    if not is_zarr(folder):
        raise SourceError(f"{folder}: not a zarr array or group. Name the folder in which its zarr.json lies.")
    try:
        return _walk_group(folder)
    except OSError as error:
        raise SourceError(f"{folder}: cannot be read ({error.strerror}). Restore it.") from error


def _walk_group(folder: Path) -> list[str] | None:
    found, waiting, entered = [], [""], set[tuple[int, int]]()
    while waiting:
        prefix = waiting.pop()
        here = folder / prefix
        status = here.stat()
        if (status.st_dev, status.st_ino) in entered:  # links may lead in circles
            continue
        entered.add((status.st_dev, status.st_ino))
        is_v3 = (here / MARKS[0]).is_file()
        if (here / MARKS[1]).is_file() or (is_v3 and _read_json(here / MARKS[0]).get("node_type") == "array"):
            if not prefix:
                return None
            found.append(prefix)
        elif is_v3 or (here / MARKS[2]).is_file():
            inside = (entry.name for entry in os.scandir(here) if entry.is_dir() and not entry.name.startswith("."))
            waiting += [f"{prefix}/{name}" if prefix else name for name in inside]
    return sorted(found)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > METADATA_BYTES:
            raise SourceError(f"{path}: {size:,} bytes of metadata; at most {METADATA_BYTES:,} are read.")
        content = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: its metadata cannot be read ({error}). Restore it.") from error
    if not isinstance(content, dict):
        raise SourceError(f"{path}: its metadata is a {type(content).__name__}, not an object. Restore it.")
    return content


def _check_zip(place: str) -> None:
    """Raise `SourceError` for a zip with a member that would be inflated without a bound."""
    try:
        with zipfile.ZipFile(place) as archive:
            members = archive.infolist()
    except Exception as error:  # zipfile raises what damage provokes
        raise SourceError(f"{place}: not a readable zip ({first_line(error)}). Write it again.") from error
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED and member.file_size > INFLATED_BYTES:
            raise SourceError(
                f"{place}: its member {member.filename!r} would be inflated to {member.file_size:,} bytes, and at most "
                f"{INFLATED_BYTES:,} are. Write the zip without compression of its own."
            )


def _refuse_pickles(name: str, metadata: dict[str, Any]) -> None:
    """Raise `SourceError` for metadata that names a codec which would run what it reads."""
    waiting = [metadata.get(key) for key in ("codecs", "compressor", "filters")]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "pickle" in f"{part.get('id')} {part.get('name')}".lower():
                raise SourceError(f"{name}: stored by pickle, which could run any program. It is never read.")
            waiting += part.values()
        elif isinstance(part, list | tuple):
            waiting += part


def listed(names: list[str] | None) -> str:
    """Names for an error's text, the first ones."""
    more = f" and {len(names) - LISTED:,} more" if names and len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more if names else "no arrays"


def first_line(error: Exception) -> str:
    """What an error of another library says, in one line."""
    return str(error).partition("\n")[0] or type(error).__name__
