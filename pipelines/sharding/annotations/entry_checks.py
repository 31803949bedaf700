"""Checks of one annotation before it is stored."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...boxes import string_to_runs
from ...boxes.json_numbers import LARGEST
from ...boxes.run_lengths import MAX_PIXELS
from .problems import ProblemLog, shown

__all__ = ["Extent", "checked_annotation", "fills_size", "is_caption", "mask_size", "usable_id"]


class Extent(NamedTuple):
    """What an annotation covers, to compare it with its picture: its edges in pixels, and the size of an RLE.

    least is the smaller of left and top.
    """

    least: float
    right: float
    bottom: float
    mask_height: int | None
    mask_width: int | None


def usable_id(value: Any) -> int | float | str | None:
    """An id as it can be compared: a number or a text; None for anything else."""
    return value if isinstance(value, int | float | str) and not isinstance(value, bool) else None


def is_caption(entry: dict[str, Any]) -> bool:
    """Whether an entry of the section "annotations" is a caption."""
    return "caption" in entry and "bbox" not in entry and "category_id" not in entry


def checked_annotation(entry: dict[str, Any], name: str, log: ProblemLog) -> Extent | None:
    """What an annotation with a box covers; None if it is left out.

    A segmentation or keypoints that cannot be used become null in `entry`, and `iscrowd` 0. `log` counts the problems;
    `name` is the file's.
    """

    def place(key: str) -> str:
        return f"{name}: annotation {shown(entry.get('id'))}, {key} {shown(entry.get(key))}"

    box = entry.get("bbox")
    if box is None and "bbox" not in entry:
        log.add("no box", lambda: f"{name}: annotation {shown(entry.get('id'))}")
        return None
    if not _is_box(box):
        log.add("bad box", lambda: place("bbox"))
        return None
    if entry.get("keypoints") is not None and not _are_numbers(entry["keypoints"], groups=3, least=0):
        log.add("bad keypoints", lambda: place("keypoints"))
        entry["keypoints"] = None
    if not _is_flag(entry.get("iscrowd")):
        log.add("bad crowd", lambda: place("iscrowd"))
        entry["iscrowd"] = 0
    segmentation = entry.get("segmentation")
    problem, size = _segmentation(segmentation)
    if problem:
        log.add(problem, lambda: place("segmentation"))
        entry["segmentation"] = None
    x, y, width, height = entry["bbox"]
    return Extent(min(x, y), x + width, y + height, *(size or (None, None)))


def mask_size(segmentation: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) in pixels of an RLE; None for anything but positive whole numbers of at most 2**28 pixels."""
    size = segmentation.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        return None
    height, width = size
    return (height, width) if height * width <= MAX_PIXELS else None


def fills_size(counts: Any, size: tuple[int, int]) -> bool:
    """Whether the counts of an RLE, a list or COCO's compressed text, are runs that sum to height × width."""
    if isinstance(counts, list):
        return set(map(type, counts)) == {int} and min(counts) >= 0 and sum(counts) == size[0] * size[1]
    if not isinstance(counts, str):
        return False
    try:
        string_to_runs(counts, size)
    except ValueError:
        return False
    return True


def _is_box(box: Any) -> bool:
    return _are_numbers(box, groups=4, least=4) and len(box) == 4 and box[2] >= 0 and box[3] >= 0


def _segmentation(value: Any) -> tuple[str, tuple[int, int] | None]:
    """The kind of problem with a segmentation, "" for none; and the (height, width) of an RLE."""
    if value is None:
        return "", None
    if isinstance(value, list):
        return ("" if all(_are_numbers(ring, groups=2, least=6) for ring in value) else "bad polygon"), None
    if not isinstance(value, dict):
        return "bad polygon", None
    size = mask_size(value)
    if size is None or not fills_size(value.get("counts"), size):
        return "bad run lengths", None
    return "", size


def _are_numbers(values: Any, *, groups: int, least: int) -> bool:
    """Whether this is a list of at least `least` numbers of ±1e8 at most, in whole groups."""
    if not isinstance(values, list) or len(values) % groups or len(values) < least:
        return False
    return set(map(type, values)) <= {int, float} and all(-LARGEST <= value <= LARGEST for value in values)


def _is_flag(value: Any) -> bool:
    """Whether readers take this `iscrowd` for false or true."""
    return value is None or (type(value) in (int, bool) and value in (0, 1))
