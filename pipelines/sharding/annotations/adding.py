"""Adding files to a set: what it holds already, and leaving out the annotations of its packed files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..findings import LabelKey
from ..wording import joined
from .store_checks import images_of

__all__ = ["NOTHING_EARLIER", "Earlier", "packed_remarks", "without_packed"]

Sizes = dict[int, tuple[int, int]]


@dataclass(frozen=True)
class Earlier:
    """A set that is added to.

    labels          its labels, in the order of their classes
    packed          paths of the listing that are packed, and stay as they are
    new_sources     numbers of the annotation files that it was not packed with
    is_new_table    whether it was packed without this table
    """

    labels: Sequence[LabelKey] = ()
    packed: Collection[str] = frozenset()
    new_sources: frozenset[int] = frozenset()
    is_new_table: bool = False

    def are_packed(self, files: Sequence[str]) -> NDArray[np.bool_]:
        """(N,) bool for N paths of the listing."""
        return np.fromiter((file in self.packed for file in files), np.bool_, len(files))


NOTHING_EARLIER = Earlier()


def without_packed(
    images: NDArray[Any], objects: NDArray[Any], masks: Sizes, are_packed: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[Any], Sizes]:
    """Image entries, annotations and sizes of masks without those of packed files.

    images       (M,) of `IMAGE`
    objects      (N,) of `OBJECT`
    masks        (height, width) by the number of the annotation
    are_packed   (F,) bool of the files of the listing
    """
    if not are_packed.any():
        return images, objects, masks
    is_gone = _are_of_packed(images, are_packed)
    rows = images_of(objects, images)
    is_kept = ~((rows >= 0) & is_gone[np.maximum(rows, 0)]) if len(images) else np.ones(len(objects), bool)
    places = np.cumsum(is_kept) - 1
    kept = {int(places[row]): size for row, size in masks.items() if is_kept[row]}
    return images[~is_gone], objects[is_kept], kept


def packed_remarks(
    images: NDArray[Any], names: Sequence[str], rows: Collection[int], files: NDArray[np.bool_], earlier: Earlier
) -> tuple[str, ...]:
    """Sentences on packed files that new annotation files, called `names`, or rows of a new table name.

    images   (M,) of `IMAGE`
    files    (F,) bool: which files of the listing are packed
    """
    found = images[_are_of_packed(images, files)]
    found = found[np.isin(found["source"], list(earlier.new_sources))]
    sources = [names[number] for number in np.unique(found["source"]).tolist()]
    num_rows = sum(bool(files[number]) for number in rows) if earlier.is_new_table else 0
    said = []
    if num := len(np.unique(found["file"])):
        said.append(_staying(num, "picture", "named in annotation files that are", f" ({joined(sources, 'and')})"))
    if num_rows:
        said.append(_staying(num_rows, "file", "named in a table that is", ""))
    return tuple(said)


def _staying(num: int, noun: str, named: str, where: str) -> str:
    if num == 1:
        return f"1 packed {noun} is {named} new{where} and stays as it is; --overwrite packs it again."
    return f"{num:,} packed {noun}s are {named} new{where} and stay as they are; --overwrite packs them again."


def _are_of_packed(images: NDArray[Any], are_packed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which image entries name a packed file: (M,) bool."""
    if not len(are_packed):
        return np.zeros(len(images), bool)
    found: NDArray[np.bool_] = (images["file"] >= 0) & are_packed[np.maximum(images["file"], 0)]
    return found
