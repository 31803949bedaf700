"""What is wrong with annotation files and tables: counted by kind, each with the first example and a remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..wording import printable

__all__ = ["Problem", "ProblemLog", "brief", "shown"]

MOST_SHOWN = 200


class _Wording(NamedTuple):
    """One of a kind, many of a kind, and what became of them with the remedy."""

    one: str
    many: str
    remedy: str


_WORDINGS = {
    "image not in folder": _Wording(
        "image of the annotations is not in the folder",
        "images of the annotations are not in the folder",
        "Add the files, or leave it so: what is said of them is left out.",
    ),
    "ambiguous name": _Wording(
        "file name fits several files of the folder",
        "file names fit several files of the folder",
        "What is said of them is left out; write the paths as they are below the folder.",
    ),
    "image entry": _Wording(
        "image entry has no usable id or file_name",
        "image entries have no usable id or file_name",
        "They are left out; both must be there, the id as a number or a text.",
    ),
    "image size": _Wording(
        "image entry has no usable width and height",
        "image entries have no usable width and height",
        "They are kept, but boxes cannot be checked or moved; add both, in pixels.",
    ),
    "duplicate image id": _Wording(
        "image entry has the id of an earlier one in the same file",
        "image entries have the id of an earlier one in the same file",
        "The first of each id is kept; give every image an id of its own.",
    ),
    "image named twice": _Wording(
        "image entry names a file that an earlier one in the same annotation file names",
        "image entries name a file that an earlier one in the same annotation file names",
        "Their keys are merged, and the first value of each is kept; remove one of them.",
    ),
    "image entries differ": _Wording(
        "value in an image entry differs from that of an earlier entry for the same file",
        "values in image entries differ from those of earlier entries for the same file",
        "The first is kept; make the entries agree.",
    ),
    "unknown image": _Wording(
        "annotation has an image_id that no image has",
        "annotations have an image_id that no image has",
        "They are left out; add the images, or name the file of annotations that belongs to these.",
    ),
    "unknown category": _Wording(
        "annotation has a category_id that its file does not explain",
        "annotations have a category_id that their file does not explain",
        "They are kept with category null and class -1; add the categories.",
    ),
    "category entry": _Wording(
        "category entry has no whole number, written without a point, as id or no name",
        "category entries have no whole number, written without a point, as id or no name",
        "They are left out; correct them.",
    ),
    "category conflict": _Wording(
        "category has the id of an earlier one and another name",
        "categories have the id of an earlier one and another name",
        "The first keeps the id, and annotations of the others get category null and class -1; renumber them.",
    ),
    "category named twice": _Wording(
        "category has the name of an earlier one and another id",
        "categories have the name of an earlier one and another id",
        "Both are kept, as two classes; give them one id.",
    ),
    "bad box": _Wording(
        "annotation has a bbox that is not four numbers of ±1e8 at most with width and height of at least 0",
        "annotations have a bbox that is not four numbers of ±1e8 at most with width and height of at least 0",
        "They are left out; correct or remove them.",
    ),
    "no box": _Wording(
        "annotation has neither a bbox nor a caption",
        "annotations have neither a bbox nor a caption",
        "They are left out; annotations of this form are not read.",
    ),
    "box outside": _Wording(
        "annotation has a box that leaves its picture by more than 1 pixel",
        "annotations have a box that leaves its picture by more than 1 pixel",
        "They are kept as they are; see whether these annotations belong to these pictures.",
    ),
    "bad caption": _Wording(
        "caption is not a text",
        "captions are not texts",
        "They are left out; correct or remove them.",
    ),
    "bad run lengths": _Wording(
        "mask has run lengths that do not fit its size",
        "masks have run lengths that do not fit their size",
        "Their segmentation becomes null and the boxes stay; make these masks again.",
    ),
    "mask size": _Wording(
        "mask has another size than its picture",
        "masks have another size than their picture",
        "Their segmentation becomes null and the boxes stay; make these masks at the size of the picture.",
    ),
    "bad polygon": _Wording(
        "segmentation is not polygons of an even number of at least 6 coordinates of ±1e8 at most",
        "segmentations are not polygons of an even number of at least 6 coordinates of ±1e8 at most",
        "They become null and the boxes stay; correct them.",
    ),
    "bad keypoints": _Wording(
        "annotation has keypoints that are not three numbers of ±1e8 at most for each point",
        "annotations have keypoints that are not three numbers of ±1e8 at most for each point",
        "The keypoints become null and the boxes stay; correct them.",
    ),
    "bad crowd": _Wording(
        "annotation has an iscrowd that is neither 0 nor 1",
        "annotations have an iscrowd that is neither 0 nor 1",
        "It becomes 0; correct it.",
    ),
    "duplicate annotation id": _Wording(
        "annotation has the id of an earlier one in the same file",
        "annotations have the id of an earlier one in the same file",
        "They are kept like all others; see whether they are there twice.",
    ),
    "annotations differ": _Wording(
        "value in an annotation differs from that of an earlier file for the same id",
        "values in annotations differ from those of earlier files for the same id",
        "The first is kept; make the files agree.",
    ),
    "section": _Wording(
        "section is not a list",
        "sections are not lists",
        "What is in them is left out; write a list of objects.",
    ),
    "not an object": _Wording(
        "entry is not an object",
        "entries are not objects",
        "They are left out; correct the file.",
    ),
    "not finite": _Wording(
        "number is not finite (NaN or Infinity)",
        "numbers are not finite (NaN or Infinity)",
        "They become null; write the file again without them.",
    ),
    "long integer": _Wording(
        "whole number has more than 64 bits",
        "whole numbers have more than 64 bits",
        "They are rounded to the precision of a double; write such ids as texts.",
    ),
    "damaged": _Wording(
        "annotation file is cut off or damaged",
        "annotation files are cut off or damaged",
        "What comes before that place is used; get the file again.",
    ),
    "row without file": _Wording(
        "row of the table names no file of the folder",
        "rows of the table name no file of the folder",
        "They are left out; add the files, or choose another column with --label-key.",
    ),
    "row without key": _Wording(
        "row of the table has no value in the key column",
        "rows of the table have no value in the key column",
        "They are left out; fill in the name of the file.",
    ),
    "second row": _Wording(
        "row of the table names a file that an earlier row names",
        "rows of the table name a file that an earlier row names",
        "The first row of each file is kept; remove the others.",
    ),
    "row length": _Wording(
        "row of the table has another number of columns than its header",
        "rows of the table have another number of columns than its header",
        "They are left out; correct their delimiters and quotes.",
    ),
    "bad row": _Wording(
        "line of the table is not a JSON object",
        "lines of the table are not JSON objects",
        "They are left out; write one object in each line.",
    ),
    "column name": _Wording(
        "column of the table has no name, the name of an earlier one or one that is used by annotations",
        "columns of the table have no name, the name of an earlier one or one that is used by annotations",
        "They are left out; rename them.",
    ),
}


@dataclass(frozen=True)
class Problem:
    """One kind of problem: how often it occurs, and the first place: file, id and value."""

    kind: str
    count: int
    first: str

    def sentence(self) -> str:
        """The number of cases, the first of them, what becomes of them and the remedy."""
        wording = _WORDINGS[self.kind]
        if self.count == 1:
            return f"1 {wording.one} ({self.first}). {wording.remedy}"
        return f"{self.count:,} {wording.many} (the first: {self.first}). {wording.remedy}"


class ProblemLog:
    """Counts problems by kind while files are read."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str]] = {}

    def add(self, kind: str, first: str | Callable[[], str], count: int = 1) -> None:
        """Count cases of one kind; `first` is the place of the first one, used if it is the first of its kind."""
        assert kind in _WORDINGS, kind
        if count <= 0:
            return
        before = self._found.get(kind)
        if before:
            self._found[kind] = before[0] + count, before[1]
        else:
            self._found[kind] = count, brief(first if isinstance(first, str) else first(), MOST_SHOWN)

    def problems(self) -> tuple[Problem, ...]:
        """All that was found, in a fixed order."""
        return tuple(Problem(kind, *self._found[kind]) for kind in _WORDINGS if kind in self._found)


def shown(value: Any) -> str:
    """A JSON value for a sentence, cut to 60 characters."""
    try:
        return brief(json.dumps(value, ensure_ascii=False), 60)
    except (ValueError, TypeError, RecursionError):
        return f"a {type(value).__name__}"


def brief(text: str, most: int) -> str:
    """A text that can be shown on a terminal, cut to `most` characters."""
    return printable(text if len(text) <= most else f"{text[: most - 1]}…")
