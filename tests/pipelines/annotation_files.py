"""Small annotation files, built into stores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.sharding.annotations.store import AnnotationStore
from pipelines.sharding.annotations.store_building import StoreReport, build_store

__all__ = ["annotation", "built", "coco", "image", "sentences"]


def image(number: Any = 1, file_name: str = "a.jpg", **other: Any) -> dict[str, Any]:
    """The entry of a picture of 40 × 30 pixels."""
    return {"id": number, "file_name": file_name, "width": 40, "height": 30, **other}


def annotation(number: Any = 1, image_id: Any = 1, **other: Any) -> dict[str, Any]:
    """An object of category 1."""
    return {"id": number, "image_id": image_id, "category_id": 1, "bbox": [1.5, 2, 10, 20], **other}


def coco(path: Path, images: Sequence[Any], annotations: Sequence[Any], **sections: Any) -> Path:
    """Write a file with the category 1, dog, unless `sections` has others."""
    categories = [{"id": 1, "name": "dog", "supercategory": "animal"}]
    content = {"images": images, "annotations": annotations, "categories": categories, **sections}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def built(
    folder: Path, *annotations: Path, files: Sequence[str] = ("a.jpg",), **other: Any
) -> tuple[StoreReport, AnnotationStore]:
    """The store of these files."""
    settings = {"table": None, "key": "file", **other}
    report = build_store(folder / "annotations.store", annotations=annotations, files=files, **settings)
    return report, AnnotationStore(folder / "annotations.store")


def sentences(report: StoreReport) -> list[str]:
    """What a report says is wrong."""
    return [problem.sentence() for problem in report.problems]
