"""`labels.json`: what the labels of a set of shards mean, and how many there are of each.

    {"format": "dirvae-labels", "version": 1,
     "labels": [{"class": 0, "id": 1, "name": "person", "annotations": 262465, "images": 64115,
                 "supercategory": "person"}, …]}

`class` counts from 0 without a gap: what a model predicts. `id` is the number that the data came with. A label of
annotated pictures is the category of an object, and `annotations` counts objects; one of sub-folders is the class of a
whole example, and `annotations` equals `images`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from ..errors import ShardError
from ..shown_names import shown_name
from .json_text import parse_json
from .plain_files import MOST_TEXT_BYTES, read_plain

__all__ = ["LABELS_NAME", "Label", "LabelTable"]

LABELS_NAME = "labels.json"
LABELS_FORMAT = "dirvae-labels"
LABELS_VERSION = 1
COUNTS = ("annotations", "images")


@dataclass(frozen=True)
class Label:
    """One label.

    number         0 to C - 1: the class that fields of a batch give
    id             the number in the annotations that were packed
    name           such as "traffic light"
    annotations    objects of it in the set
    images         examples that have at least one
    supercategory  such as "outdoor"; empty where there is none
    keypoints      names of its keypoints, such as "left_eye"; empty without
    skeleton       pairs of keypoints that are joined, numbers from 1 as COCO has them
    """

    number: int
    id: int
    name: str
    annotations: int = 0
    images: int = 0
    supercategory: str = ""
    keypoints: tuple[str, ...] = ()
    skeleton: tuple[tuple[int, int], ...] = ()

    @property
    def keypoint_pairs(self) -> tuple[tuple[int, int], ...]:
        """Numbers, from 0, of keypoints that change places in a mirror: "left_eye" and "right_eye"."""
        numbers = {name: number for number, name in enumerate(self.keypoints)}
        return tuple(
            (number, numbers[other])
            for name, number in numbers.items()
            if "left" in name and (other := name.replace("left", "right")) in numbers
        )

    def to_json(self) -> dict[str, Any]:
        """As it stands in the file, which `of_json` takes: lone surrogates in names are question marks.

        Pairs of the skeleton with a keypoint that has no name are left out.
        """
        content: dict[str, Any] = {"class": self.number, "id": self.id, "name": _without_surrogates(self.name)}
        content |= {"annotations": self.annotations, "images": self.images}
        more = {
            "supercategory": _without_surrogates(self.supercategory),
            "keypoints": tuple(map(_without_surrogates, self.keypoints)),
            "skeleton": tuple(pair for pair in self.skeleton if _are_keypoints(pair, self.keypoints)),
        }
        return content | {name: value for name, value in more.items() if value}

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> Label:
        """From an entry of the file. Raises `ValueError`, `KeyError` or `TypeError` for what is none."""
        number, identity = content["class"], content["id"]
        annotations, images = (content[name] for name in COUNTS)
        numbers = (number, identity, annotations, images)
        if any(type(one) is not int for one in numbers) or min(number, annotations, images) < 0:
            raise ValueError("a number in it is not a whole number from 0 up")
        keypoints, skeleton = tuple(content.get("keypoints", ())), content.get("skeleton", ())
        texts = (content["name"], content.get("supercategory", ""), *keypoints)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("a name in it is not a text")
        if any(text != _without_surrogates(text) for text in texts):
            raise ValueError("a name in it holds half a character (a lone surrogate)")
        if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in skeleton):
            raise ValueError("its skeleton is not made of pairs")
        pairs = tuple((first, second) for first, second in skeleton)
        if not all(_are_keypoints(pair, keypoints) for pair in pairs):
            raise ValueError("its skeleton joins keypoints that it does not name")
        return cls(number, identity, texts[0], annotations, images, texts[1], keypoints, pairs)


def _without_surrogates(text: str) -> str:
    """The text; with question marks for lone surrogates, except those that stand for bytes in the name of a file."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def _are_keypoints(pair: tuple[Any, Any], keypoints: Sequence[str]) -> bool:
    return all(type(number) is int and 1 <= number <= len(keypoints) for number in pair)


class LabelTable(Sequence[Label]):
    """The labels of a set, by class: `table[3].name`, `len(table)` classes, `table.find("dog").number`."""

    def __init__(self, labels: Iterable[Label]) -> None:
        self._labels = tuple(sorted(labels, key=lambda label: label.number))
        if [label.number for label in self._labels] != list(range(len(self._labels))):
            raise ValueError("its classes are not 0, 1, 2 and so on")

    @overload
    def __getitem__(self, index: int) -> Label: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Label, ...]: ...
    def __getitem__(self, index: int | slice) -> Label | tuple[Label, ...]:
        return self._labels[index]

    def __len__(self) -> int:
        return len(self._labels)

    def __iter__(self) -> Iterator[Label]:
        return iter(self._labels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelTable) and self._labels == other._labels

    def __hash__(self) -> int:
        return hash(self._labels)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all classes, in order."""
        return tuple(label.name for label in self._labels)

    @property
    def ids(self) -> tuple[int, ...]:
        """The numbers in the annotations that were packed, by class."""
        return tuple(label.id for label in self._labels)

    @property
    def counts(self) -> tuple[int, ...]:
        """Objects of each class, or examples where a label is that of a whole example."""
        return tuple(label.annotations for label in self._labels)

    def find(self, name: str) -> Label:
        """The label of a name. Raises `KeyError`."""
        for label in self._labels:
            if label.name == name:
                return label
        raise KeyError(
            f"no label {shown_name(str(name))}; there are {self._first_names(20)}{' …' * (len(self) > 20)}"
        )

    def with_counts(self, counts: Mapping[int, tuple[int, int]]) -> LabelTable:
        """The same labels with more of each class: (annotations, images) by number."""
        return LabelTable(
            label
            if label.number not in counts
            else replace(
                label,
                annotations=label.annotations + counts[label.number][0],
                images=label.images + counts[label.number][1],
            )
            for label in self._labels
        )

    def to_json(self) -> list[dict[str, Any]]:
        """The entries of the file."""
        return [label.to_json() for label in self._labels]

    def text(self) -> str:
        """The text of `labels.json`, without a line break at its end."""
        head = {"format": LABELS_FORMAT, "version": LABELS_VERSION}
        entries = ",\n  ".join(json.dumps(entry, ensure_ascii=False) for entry in self.to_json())
        return f'{json.dumps(head)[:-1]}, "labels": [\n  {entries}\n]}}'

    @classmethod
    def of_json(cls, entries: object) -> LabelTable:
        """From the entries of a file. Raises `ValueError`, `KeyError` or `TypeError` for nonsense."""
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("its labels are not a list of objects")
        return cls(Label.of_json(entry) for entry in entries)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> LabelTable:
        """The `labels.json` of a folder. Raises `FileNotFoundError` without one, `ShardError` for a damaged one."""
        path = Path(folder) / LABELS_NAME
        try:
            raw = read_plain(path, most=MOST_TEXT_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise _unreadable(str(path), error) from error
        return cls.parse(raw, where=str(path))

    @classmethod
    def parse(cls, raw: bytes, *, where: str) -> LabelTable:
        """From the bytes of a `labels.json`. Raises `ShardError`, which names `where` they come from."""
        try:
            content = parse_json(raw.decode("utf-8"))
            if not isinstance(content, dict):
                raise ValueError("it is not a table of labels")
            if content["format"] != LABELS_FORMAT or content["version"] != LABELS_VERSION:
                raise ValueError(f"it is not a {LABELS_FORMAT} of version {LABELS_VERSION}")
            return cls.of_json(content["labels"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(where, error) from error

    def __repr__(self) -> str:
        return f"LabelTable({len(self):,} classes: {self._first_names(3)}{', …' * (len(self) > 3)})"

    def _first_names(self, num: int) -> str:
        return ", ".join(shown_name(name, quoted=False) for name in self.names[:num])


def _unreadable(where: str, error: Exception) -> ShardError:
    return ShardError(
        f"{where}: not a readable table of labels ({_in_words(error)}). Make the shards again with --overwrite."
    )


def _in_words(error: Exception) -> str:
    """What is wrong with a file, as a reader would say it."""
    if isinstance(error, KeyError):
        return f"it lacks {error.args[0]}"
    if isinstance(error, TypeError | AttributeError):
        return "it is not a table of labels: its parts are of the wrong types"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
