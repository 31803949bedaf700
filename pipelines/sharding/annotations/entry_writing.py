"""Writing the entries of annotation files and the rows of a table into a store, as they are read."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..wording import printable
from .batch_checks import are_captions, covered_by
from .body_file import BodyFile
from .categories import CategoryEntry
from .coco_reading import read_batches
from .codes import NO_ID, UNUSABLE, Codes
from .entry_checks import checked_annotation, is_caption, usable_id
from .json_bytes import to_bytes, to_bytes_of_each
from .matching import FileMatcher
from .problems import ProblemLog, shown
from .quick_reading import Batch
from .store_schema import IMAGE, NOWHERE, OBJECT
from .table_reading import read_table

__all__ = ["EntryWriter"]

IMAGE_KEYS = ("id", "file_name", "width", "height")

Place = tuple[int, int]
"""(offset, length) of a body."""


class EntryWriter:
    """Writes entries into a `BodyFile`, and what is known of them into arrays; `log` counts the problems."""

    def __init__(self, body_file: BodyFile, matcher: FileMatcher, log: ProblemLog) -> None:
        self._body_file, self._matcher, self._log = body_file, matcher, log
        self.categories: list[CategoryEntry] = []
        self.codes = Codes()
        self.names: list[str] = []
        self.licenses: dict[tuple[int, int], Place] = {}
        self.rows: dict[int, Place] = {}
        self.masks: dict[int, tuple[int, int]] = {}
        self._images: list[NDArray[Any]] = []
        self._objects: list[NDArray[Any]] = []
        self._num_objects = 0

    def add_file(self, path: Path) -> None:
        """All entries of one annotation file. Raises what `read_batches` raises."""
        self.names.append(printable(path.name))
        add: dict[str, Callable[[Batch], None]] = {
            "images": self._add_images,
            "annotations": self._add_annotations,
            "categories": self._add_categories,
            "licenses": self._add_licenses,
        }
        for batch in read_batches(path, self._log):
            if batch.entries:
                add[batch.section](batch)

    def add_table(self, path: Path, key: str) -> None:
        """The rows of a table that name one file each. Raises what `read_table` raises."""
        for row in read_table(path, key, self._log):
            found = self._matcher.find_key(row.key)
            first = f"{row.place}: {shown(row.key)}"
            if len(found) != 1:
                self._log.add("ambiguous name" if found else "row without file", first)
            elif found[0] in self.rows:
                self._log.add("second row", first)
            else:
                self.rows[found[0]] = self._appended(to_bytes(row.columns))

    def images(self) -> NDArray[Any]:
        """All image entries, (N,) of `IMAGE`; the writer forgets them."""
        found, self._images = np.concatenate([np.zeros(0, IMAGE), *self._images]), []
        return found

    def objects(self) -> NDArray[Any]:
        """All annotations, (N,) of `OBJECT`; the writer forgets them."""
        found, self._objects = np.concatenate([np.zeros(0, OBJECT), *self._objects]), []
        return found

    def _add_images(self, batch: Batch) -> None:
        rows = [self._image(entry) for entry in batch.entries]
        good = [entry for entry, row in zip(batch.entries, rows, strict=True) if row is not None]
        bodies = to_bytes_of_each(good)
        table = np.zeros(len(good), IMAGE)
        columns = zip(*(row for row in rows if row is not None), strict=True)
        for name, column in zip(("id", "file", "width", "height", "is_whole"), columns, strict=False):
            table[name] = self.codes.of_each(column) if name == "id" else column
        table["source"] = len(self.names) - 1
        table["offset"], table["length"] = self._body_file.append_each(bodies)
        table["license"] = self.codes.of_each([entry.get("license") for entry in good])
        table["hash"] = list(map(hash, bodies))
        self._images.append(table)

    def _image(self, value: dict[str, Any]) -> tuple[Any, int, float, float, bool] | None:
        """The id, the file (-1 if unknown), width and height of an image entry, and whether both are whole numbers."""
        number, file_name, width, height = map(value.get, IMAGE_KEYS)
        is_whole = type(width) is int and type(height) is int and width > 0 and height > 0
        if is_whole and type(number) is int and type(file_name) is str:
            file = self._matcher.find_exact(file_name)
            if file >= 0:
                return number, file, width, height, True  # type: ignore[return-value]

        def place() -> str:
            return f"{self.names[-1]}: image {shown(value.get('id'))}, file_name {shown(file_name)}"

        if usable_id(number) is None or not isinstance(file_name, str) or not file_name:
            self._log.add("image entry", place)
            return None
        found = self._matcher.find(file_name)
        if len(found) != 1:
            self._log.add("ambiguous name" if found else "image not in folder", place)
        if not is_whole:
            width, height = _side(width), _side(height)
            if width is None or height is None:
                self._log.add("image size", place)
        sides = float("nan" if width is None else width), float("nan" if height is None else height)
        return number, found[0] if len(found) == 1 else NOWHERE, *sides, is_whole

    def _add_annotations(self, batch: Batch) -> None:
        entries = batch.entries
        if are_captions(entries):
            self._add_objects(entries, True, np.full((len(entries), 4), np.nan), batch.text)
        elif (covered := covered_by(entries, batch.text)) is not None:
            self._masks_of(dict(covered.masks))
            self._add_objects(entries, False, covered.boxes, batch.text)
        else:
            self._add_one_by_one(entries)

    def _add_one_by_one(self, entries: list[dict[str, Any]]) -> None:
        """Entries that need a check each: some are wrong, or captions and objects are mixed."""
        good, captions, boxes, masks = (
            list[dict[str, Any]](),
            list[bool](),
            list[Any](),
            dict[int, tuple[int, int]](),
        )
        for entry in entries:
            if is_caption(entry):
                if not isinstance(entry["caption"], str):
                    said = f"annotation {shown(entry.get('id'))}, caption {shown(entry['caption'])}"
                    self._log.add("bad caption", f"{self.names[-1]}: {said}")
                    continue
                boxes.append((np.nan,) * 4)
            else:
                extent = checked_annotation(entry, self.names[-1], self._log)
                if extent is None:
                    continue
                if extent.mask_height is not None and extent.mask_width is not None:
                    masks[len(good)] = extent.mask_height, extent.mask_width
                boxes.append(entry["bbox"])
            captions.append(is_caption(entry))
            good.append(entry)
        self._masks_of(masks)
        self._add_objects(good, np.array(captions, bool), np.array(boxes, np.float64).reshape(-1, 4))

    def _masks_of(self, masks: dict[int, tuple[int, int]]) -> None:
        """Note the (height, width) of run lengths, by the place among the annotations that are added next."""
        self.masks.update({self._num_objects + place: size for place, size in masks.items()})

    def _add_objects(
        self,
        entries: list[dict[str, Any]],
        is_caption: bool | NDArray[np.bool_],
        boxes: NDArray[np.float64],
        text: bytes | None = None,
    ) -> None:
        """Entries that were checked, with (N, 4) boxes: NaN for captions. `text` is the text of unchanged ones."""
        table = np.empty(len(entries), OBJECT)
        table["id"] = self.codes.of_each(_column(entries, "id"))
        table["image"] = self.codes.of_each(_column(entries, "image_id"))
        table["source"], table["is_caption"], table["category"] = len(self.names) - 1, is_caption, NO_ID
        table["is_odd"] = table["names_itself"] = False
        if is_caption is not True:
            categories = _column(entries, "category_id")
            table["category"] = self.codes.of_each(categories)
            if not set(map(type, categories)) <= {int}:
                table["is_odd"] = [type(one) is float for one in categories]
                unusable = ["category_id" in entry and usable_id(entry["category_id"]) is None for entry in entries]
                table["category"][unusable] = UNUSABLE
            table["names_itself"] = ["category" in entry or "class" in entry for entry in entries]
            table["names_itself"] &= ~table["is_caption"]
        table["least"] = np.minimum(boxes[:, 0], boxes[:, 1])
        table["right"], table["bottom"] = boxes[:, 0] + boxes[:, 2], boxes[:, 1] + boxes[:, 3]
        places = None if text is None else self._body_file.append_text(text, len(entries))
        table["offset"], table["length"] = places or self._body_file.append_each(to_bytes_of_each(entries))
        self._objects.append(table)
        self._num_objects += len(entries)

    def _add_categories(self, batch: Batch) -> None:
        self.categories += [CategoryEntry(len(self.names) - 1, self.names[-1], entry) for entry in batch.entries]

    def _add_licenses(self, batch: Batch) -> None:
        for entry in batch.entries:
            if usable_id(entry.get("id")) is not None:
                place = (len(self.names) - 1, self.codes.of(entry["id"]))
                if place not in self.licenses:
                    self.licenses[place] = self._appended(to_bytes(entry))

    def _appended(self, body: bytes) -> Place:
        return self._body_file.append(body), len(body)


def _column(entries: list[dict[str, Any]], key: str) -> list[Any]:
    """The value of each entry under a key, None if absent."""
    try:
        return list(map(itemgetter(key), entries))
    except KeyError:
        return [entry.get(key) for entry in entries]


def _side(value: Any) -> float | int | None:
    """A width or a height in pixels; None for anything but a positive number."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else None
