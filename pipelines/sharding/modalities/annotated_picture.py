"""Boxes, polygons, keypoints and masks that follow a picture into a shard: through EXIF orientation and resize."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from ...boxes import compose, is_record, move_record, orientation_matrix, transform_of
from ...storage.json_text import encode_json, parse_json_exactly
from ..annotations.store import RecordText
from ..findings import NO_FINDINGS, Findings, LabelKey, Remark
from .record_faults import record_faults

__all__ = ["NO_ANNOTATIONS", "Annotations", "Frame", "annotated_fields", "checked_frame"]

Frame = Literal["auto", "stored", "upright"]
"""The pixels that annotations refer to: the file's, the upright picture's, or whichever their width and height fit."""

OTHER_SIZE = "a picture has another size than its annotations say, so that they may not fit it; they are kept"
NO_JSON = "a .json file beside a file is not JSON; it is kept as it is"
UNREADABLE = "the annotations beside a picture cannot be used; they are kept as they are"

MOST_CLASSES = 1 << 31
"""The limit of `record_classes`."""

Size = tuple[int, int]
"""(width, height) in pixels."""


class Annotations(NamedTuple):
    """The fields of a picture, its name for remarks, and the pixels that its annotations refer to."""

    fields: Mapping[str, bytes]
    name: str = ""
    frame: Frame = "auto"

    def moved(self, *, file: Size, orientation: int, stored: Size) -> tuple[Mapping[str, bytes], Findings]:
        """As `annotated_fields`."""
        return annotated_fields(
            self.fields, self.name, file=file, orientation=orientation, stored=stored, frame=self.frame
        )


NO_ANNOTATIONS = Annotations(MappingProxyType({}))


def checked_frame(frame: object) -> Frame:
    """The setting `annotation_frame`. Raises `ValueError`."""
    if frame not in get_args(Frame):
        raise ValueError(
            f"annotation_frame is {frame!r}; it must be one of {', '.join(map(repr, get_args(Frame)))}."
        )
    return frame  # type: ignore[return-value]


def annotated_fields(
    fields: Mapping[str, bytes], name: str, *, file: Size, orientation: int, stored: Size, frame: Frame
) -> tuple[Mapping[str, bytes], Findings]:
    """The fields of a picture with its annotations moved to the stored pixels, and the findings: labels and remarks.

    file         (width, height) of the file's pixels, before its EXIF `orientation` (1 to 8)
    stored       (width, height) of the upright picture that is packed, or of the upright file that is kept
    """
    content = fields.get("json")
    if isinstance(content, RecordText) and content.size == file == stored and orientation == 1:
        return fields, Findings(content.labels)  # what the steps below would find
    if content is None:
        return fields, NO_FINDINGS
    try:
        record = parse_json_exactly(content)
    except ValueError:
        return fields, Findings(remarks=(Remark(NO_JSON, 1, name),))
    faults = () if isinstance(content, RecordText) else record_faults(record, name)
    if not is_record(record):
        return fields, Findings(remarks=faults)
    try:
        matrix, remarks = _matrix(record, name, file, orientation, stored, frame)
        moved = move_record(record, matrix, (stored[1], stored[0]))
    except ValueError as error:
        return fields, Findings(remarks=faults or (Remark(UNREADABLE, 1, f"{name}: {error}"),))
    if moved is not record:
        fields = {**fields, "json": encode_json(moved)}
    return fields, Findings(_labels(record), (*faults, *remarks))


def _matrix(
    record: Mapping[str, Any], name: str, file: Size, orientation: int, stored: Size, frame: Frame
) -> tuple[Any, tuple[Remark, ...]]:
    """The (2, 3) map from annotated to stored pixels, and what is odd about the annotated size."""
    annotated = (record["image"]["width"], record["image"]["height"])
    if record.get("stored") is not None:  # of a set that was unpacked, and is packed again
        transform_of(record)
        annotated = (record["stored"]["width"], record["stored"]["height"])
    upright = (file[1], file[0]) if orientation >= 5 else file
    scale = _scale(upright, stored)
    if annotated not in (file, upright):
        said = f"{name}: {upright[0]} × {upright[1]} pixels, annotated as {annotated[0]} × {annotated[1]}"
        return scale, (Remark(OTHER_SIZE, 1, said),)
    counts_stored = annotated == file and (frame != "upright" or annotated != upright)
    is_turned = counts_stored and orientation != 1
    return compose(scale, orientation_matrix(orientation, *file)) if is_turned else scale, ()


def _scale(source: Size, target: Size) -> Any:
    """The map of a resize: (2, 3) float64."""
    return np.array([[target[0] / source[0], 0, 0], [0, target[1] / source[1], 0]], np.float64)


def _labels(record: Mapping[str, Any]) -> dict[LabelKey, tuple[int, int]]:
    """How many objects of each category there are, and that this is one example."""
    found = Counter[LabelKey]()
    for entry in record.get("annotations") or ():
        number, identity, category = entry.get("class"), entry.get("category_id"), entry.get("category")
        if (
            type(number) is int
            and type(identity) is int
            and isinstance(category, str)
            and 0 <= number < MOST_CLASSES
        ):
            found[LabelKey(number, identity, category)] += 1
    return {key: (count, 1) for key, count in found.items()}
