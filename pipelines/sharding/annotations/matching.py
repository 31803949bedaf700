"""Finding the listed file that a name in an annotation file or a table means: the best match, never a guess."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from ...storage.sidecars import stem_of

__all__ = ["FileMatcher"]

FEW = 32
MOST_PARTS = 16

_Numbers = dict[str, "int | list[int]"]


class FileMatcher:
    """Finds paths of a listing by name, in dictionaries: a look-up costs the same for a million files."""

    def __init__(self, files: Sequence[str]) -> None:
        self._paths = _Names(files)
        self._files = files

    def find(self, name: str) -> Sequence[int]:
        """The numbers of the files that a `file_name` may mean: one, none, or several that fit alike.

        The file of exactly this path; else the one whose path ends with "/" and the name; else the one with the same
        base name.
        """
        found = self._paths.find(name)
        return found or (self._paths.find(name.replace("\\", "/")) if "\\" in name else ())

    def find_exact(self, name: str) -> int:
        """The number of the file with exactly this path; -1 if there is not exactly one."""
        found = self._paths.exact(name)
        return found if isinstance(found, int) else -1

    def find_key(self, key: str) -> Sequence[int]:
        """As `find`, for a key of a table, which may also be a name without its suffix."""
        return self.find(key) or self._stems.find(key)

    @cached_property
    def _stems(self) -> _Names:
        return _Names([stem_of(path) for path in self._files])


class _Names:
    """Numbered paths, found by a whole path, its end or its base name."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._whole = _grouped(paths)
        self._by_end: dict[int, _Numbers] = {}

    @cached_property
    def _by_base(self) -> _Numbers:
        return _grouped(path.rpartition("/")[2] for path in self._paths)

    def exact(self, name: str) -> int | list[int] | None:
        return self._whole.get(name)

    def find(self, name: str) -> Sequence[int]:
        name = name.removeprefix("./")
        if not (base := name.rpartition("/")[2]):
            return ()
        found = _sequence(self._whole.get(name)) or ()
        if found:
            return found
        alike = _sequence(self._by_base.get(base))
        return alike if len(alike) < 2 else self._ending(name, alike) or alike

    def _ending(self, name: str, alike: Sequence[int]) -> Sequence[int]:
        """Those paths of the same base name that end with "/" and the name."""
        parts = name.count("/") + 1
        if len(alike) <= FEW or parts > MOST_PARTS:
            return [number for number in alike if self._paths[number].endswith("/" + name)]
        if parts not in self._by_end:
            self._by_end[parts] = _grouped("/".join(path.split("/")[-parts:]) for path in self._paths)
        return _sequence(self._by_end[parts].get(name))


def _grouped(names: Iterable[str]) -> _Numbers:
    """Name → its number, or a list if it has several."""
    found: _Numbers = {}
    for number, name in enumerate(names):
        before = found.setdefault(name, number)
        if isinstance(before, list):
            before.append(number)
        elif before != number:
            found[name] = [before, number]
    return found


def _sequence(numbers: int | list[int] | None) -> Sequence[int]:
    if numbers is None:
        return ()
    return numbers if isinstance(numbers, list) else (numbers,)
