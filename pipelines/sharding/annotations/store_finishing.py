"""The tables at the end of a store: where the bodies of each file and of each annotation are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .body_file import BodyFile
from .categories import NumberedCategories
from .json_bytes import to_bytes
from .store_merging import Bodies
from .store_schema import ANNOTATION, FILE, NOWHERE, path_hash, tables_to_bytes, to_path_bytes

__all__ = ["Finished", "Meanings", "finish_store"]

ALL_SOURCES = -1
CAPTION, UNKNOWN = -1, 0
MOST_SIDE = (1 << 31) - 1
Place = tuple[int, int]


class Meanings:
    """Numbers for the categories of annotations: 0 for an unknown one, then two for each category.

    The second one is for ids that are written with a decimal point, which do not count as labels. A file without
    categories uses those of all files.
    """

    def __init__(self, numbered: NumberedCategories, with_categories: set[int], num_sources: int) -> None:
        self.categories = numbered.categories
        self._explained = [set[int]() for _ in range(num_sources)]
        for source, number in numbered.ids:
            self._explained[source].add(number)
        everything = {category.id for category in self.categories}
        for source in range(num_sources):
            if source not in with_categories:
                self._explained[source] = everything
        self._numbers = {one.id: 1 + 2 * place for place, one in enumerate(self.categories)}

    def of(self, objects: NDArray[Any]) -> NDArray[np.int32]:
        """(N,) int32 for (N,) of `OBJECT`: -1 for captions."""
        found = np.zeros(len(objects), np.int32)
        for source, explained in enumerate(self._explained):
            rows = np.flatnonzero(objects["source"] == source)
            codes, places = np.unique(objects["category"][rows], return_inverse=True)
            numbers = [self._numbers[code] if code in explained else UNKNOWN for code in codes.tolist()]
            found[rows] = np.array(numbers, np.int32)[places] if len(rows) else 0
        found += (found > 0) & objects["is_odd"]
        found[objects["is_caption"]] = CAPTION
        return found

    def endings(self) -> list[tuple[str, list[Any] | None]]:
        """For each number, the end of the JSON of an annotation, and its label (class, id, name) if it counts."""
        found: list[tuple[str, list[Any] | None]] = [(_ending(None, -1), None)]
        for one in self.categories:
            ending = _ending(one.name, one.class_number)
            found += [(ending, [one.class_number, one.id, one.name]), (ending, None)]
        return found


def _ending(name: str | None, class_number: int) -> str:
    return "," + to_bytes({"category": name, "class": class_number}).decode("ascii")[1:]


@dataclass(frozen=True)
class Finished:
    """What goes into a store: the first image entry of each file; annotations, their files (-1: none) and meanings."""

    images: NDArray[Any]
    objects: NDArray[Any]
    files: NDArray[np.int64]
    meanings: NDArray[np.int32]
    rows: Mapping[int, Place]
    licenses: Mapping[Place, Place]


def finish_store(bodies: Bodies, content: Finished, meanings: Meanings, paths: Sequence[str]) -> int:
    """Write the tables after the bodies; returns the number of files with a record."""
    body_file, order = bodies.body_file, np.flatnonzero(content.files >= 0)
    order = order[np.argsort(content.files[order], kind="stable")]
    for row in order[content.objects["names_itself"][order]]:
        value = bodies.parsed(content.objects[row])
        bodies.replace(
            content.objects[row], {key: one for key, one in value.items() if key not in ("category", "class")}
        )
    annotations = np.zeros(len(order), ANNOTATION)
    for name in ("offset", "length"):
        annotations[name] = content.objects[name][order]
    annotations["meaning"] = content.meanings[order]
    files = _files(body_file, content, content.files[order], paths)
    about = {"categories": [vars(one) for one in meanings.categories], "endings": meanings.endings()}
    body_file.append(tables_to_bytes({"files": files, "annotations": annotations}, about))
    return len(files)


def _files(
    body_file: BodyFile, content: Finished, of_annotations: NDArray[np.int64], paths: Sequence[str]
) -> NDArray[Any]:
    """(N,) of `FILE`."""
    images = content.images
    numbers = np.union1d(images["file"], np.fromiter(content.rows, np.int64, len(content.rows)))
    found = np.zeros(len(numbers), FILE)
    encoded = [to_path_bytes(paths[number]) for number in numbers.tolist()]
    found["hash"] = np.fromiter(map(path_hash, encoded), np.uint64, len(encoded))
    found["path"], found["path_length"] = body_file.append_each(encoded)
    found["row"] = found["image"] = found["license"] = NOWHERE
    of_images = np.searchsorted(numbers, images["file"])
    found["image"][of_images], found["image_length"][of_images] = images["offset"], images["length"]
    is_whole = images["is_whole"] & (images["width"] <= MOST_SIDE) & (images["height"] <= MOST_SIDE)
    for side in ("width", "height"):
        found[side][of_images] = np.where(is_whole, images[side], 0)
    for name, place, (offset, length) in _extras(content, numbers, of_images):
        found[name][place], found[f"{name}_length"][place] = offset, length
    found["first"] = np.searchsorted(of_annotations, numbers)
    found["last"] = np.searchsorted(of_annotations, numbers, side="right")
    return found[np.argsort(found["hash"], kind="stable")]


def _extras(content: Finished, numbers: NDArray[np.int64], of_images: NDArray[np.int64]) -> Any:
    """(column, places in `numbers`, where it lies) of the rows of the table and of the licenses of images."""
    for number, where in content.rows.items():
        yield "row", np.searchsorted(numbers, number), where
    for (source, code), where in content.licenses.items():
        named = (content.images["source"] == source) & (content.images["license"] == code)
        yield "license", of_images[named], where
