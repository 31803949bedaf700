"""Example keys: webdataset's rule for reading them, and a safe way to make them from file names.

webdataset takes everything up to the first dot of the base name as the key and the rest as the suffix, groups
adjacent members of one key into an example, and treats names like `__this__` as metadata. So a key made here
holds no dot in its base name and does not begin with two underscores, and two files never share one.
"""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from .tar import NAME_BYTES, PREFIX_START, header_name

__all__ = ["KeyMaker", "header_key", "plain_key", "split_member_name"]

_METADATA = re.compile(r"__[^/]*__($|/)")
_ORDINARY = re.compile(rb"(?!__)([^\0.]*[^\0./])\.[^\0/]*(?:\0|\Z)")  # its first dot is in its base name
_ORDINARY_PATH = re.compile(r"(?!__)((?:[\w -]+/)*[\w -]+)\.\w+", re.ASCII)  # as it is, but for its suffix


def split_member_name(name: str) -> tuple[str, str] | None:
    """The (key, suffix) of a tar member by webdataset's rule, or None for a name that belongs to no example.

    `"a/b.seg.png"` → `("a/b", "seg.png")`. Hidden files, names without a suffix and whatever is called or lies
    below `__this__` have no key.
    """
    if name.startswith("__") and _METADATA.match(name):
        return None
    slash = name.rfind("/") + 1
    dot = name.find(".", slash)
    if dot <= slash:
        return None
    return name[:dot], name[dot + 1 :]


def header_key(header: bytes) -> str | None:
    """The key in one 512-byte tar header, as `split_member_name` has it of its name; ordinary names at a glance."""
    ordinary = _ORDINARY.match(header, 0, NAME_BYTES)
    if ordinary is not None and not header[PREFIX_START]:
        return ordinary[1].decode("utf-8", "surrogateescape")
    found = split_member_name(header_name(header))
    return None if found is None else found[0]


def _base(relative_path: str) -> str:
    path = PurePosixPath(relative_path)
    stem = path.name[: -len(path.suffix)] if path.suffix else path.name
    base = str(path.parent / (stem.replace(".", "_") or "_"))
    return "~" + base if base.startswith("__") else base


def _storable(path: str) -> str:
    """A path that can be printed and stored anywhere: bytes that are not UTF-8, and control characters, replaced."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if text.isprintable():
        return text
    return "".join("_" if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char for char in text)


def plain_key(relative_path: str) -> str:
    """The key of a file where no other file has it already."""
    ordinary = _ORDINARY_PATH.fullmatch(relative_path)
    return ordinary[1] if ordinary else _base(_storable(relative_path))


class KeyMaker:
    """Gives each file of a listing a key of its own, in the order they are asked for.

    Dots in the stem become `_`, and so do control characters; bytes that are not UTF-8 become U+FFFD; a leading `__` is
    escaped as `~__`; a key already given gets `~2`, `~3` and so on. The same listing in the same order gives the same
    keys.
    """

    def __init__(self, taken: set[str] | None = None) -> None:
        self._taken: set[str] = set() if taken is None else set(taken)
        self._next_copy: dict[str, int] = {}

    def key(self, relative_path: str) -> str:
        """The key of a file, from its path below the listed folder (posix separators)."""
        base = plain_key(relative_path)
        key, copy = base, self._next_copy.get(base, 2)
        while key in self._taken:
            key, copy = f"{base}~{copy}", copy + 1
        self._next_copy[base] = copy
        self._taken.add(key)
        return key
