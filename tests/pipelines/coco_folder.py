"""A folder of drawn pictures with COCO files, in which every box is a rectangle of its own colour."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = ((230, 40, 40), (40, 210, 60), (50, 80, 240))
CATEGORIES = ({"id": 3, "name": "cat", "supercategory": "animal"}, {"id": 70, "name": "traffic light"})


@dataclass(frozen=True)
class CocoFolder:
    """Pictures in `images`, the COCO files `captions` and `instances`, and what they say."""

    images: Path
    captions: Path
    instances: Path

    @property
    def files(self) -> list[Path]:
        return [self.captions, self.instances]

    @property
    def objects(self) -> dict[str, list[dict[str, Any]]]:
        """The annotations of each file name."""
        content = json.loads(self.instances.read_text(encoding="utf-8"))
        return {
            image["file_name"]: [one for one in content["annotations"] if one["image_id"] == image["id"]]
            for image in content["images"]
        }

    def change(self, path: Path, **sections: Any) -> None:
        """Replace sections of a COCO file."""
        content = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**content, **sections}), encoding="utf-8")


def drawn(seed: int, height: int, width: int) -> tuple[NDArray[np.uint8], list[list[int]]]:
    """A gray picture with three rectangles that do not overlap, and these as x, y, width, height."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 128, np.uint8)
    boxes = []
    for number, colour in enumerate(COLOURS):
        left = number * width // 3 + int(rng.integers(1, width // 9))
        top = int(rng.integers(1, height // 3))
        box = [left, top, int(rng.integers(width // 6, width // 5)), int(rng.integers(height // 4, height // 2))]
        pixels[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = colour
        boxes.append(box)
    return pixels, boxes


def encoded(pixels: NDArray[np.uint8], orientation: int = 1) -> bytes:
    """A PNG, or with an EXIF orientation a JPEG of high quality, of these stored pixels."""
    file, picture = io.BytesIO(), Image.fromarray(pixels)
    if orientation == 1:
        picture.save(file, "PNG")
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture.save(file, "JPEG", quality=97, subsampling=0, exif=exif)
    return file.getvalue()


def make_coco_folder(
    folder: Path, num: int = 6, *, orientations: tuple[int, ...] = (1,), size: tuple[int, int] = (64, 96)
) -> CocoFolder:
    """`num` pictures, of which the last has no annotation at all, and the one before only captions."""
    made = CocoFolder(folder / "images", folder / "captions.json", folder / "instances.json")
    made.images.mkdir(parents=True)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(num):
        pixels, boxes = drawn(number, *size)
        orientation = orientations[number % len(orientations)]
        name = f"{number:06d}.{'png' if orientation == 1 else 'jpg'}"
        (made.images / name).write_bytes(encoded(pixels, orientation))
        height, width = pixels.shape[:2]
        if number < num - 1:
            images.append({"id": 1000 + number, "file_name": name, "height": height, "width": width, "license": 2})
        if number < num - 2:
            annotations += [
                annotation(len(annotations) + position, 1000 + number, box, position, (height, width))
                for position, box in enumerate(boxes)
            ]
    captions = [
        {"id": 7000 + 2 * number + which, "image_id": image["id"], "caption": f"Bild {number}, né {which} 図"}
        for number, image in enumerate(images)
        for which in range(2)
    ]
    licences = [{"id": 2, "name": "Attribution", "url": "https://example.org/by"}]
    made.captions.write_text(json.dumps({"images": images, "licenses": licences, "annotations": captions}))
    made.instances.write_text(
        json.dumps({"annotations": annotations, "images": images, "categories": CATEGORIES, "licenses": licences})
    )
    return made


def annotation(identity: int, image: int, box: list[int], position: int, size: tuple[int, int]) -> dict[str, Any]:
    """An object: its corners as a polygon, or run lengths for the second of a picture, and as keypoints."""
    x, y, width, height = box
    corners = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    polygons = [[float(value) for corner in corners for value in corner]]
    return {
        "id": identity,
        "image_id": image,
        "category_id": (3, 70, 3)[position],
        "bbox": box,
        "area": width * height,
        "iscrowd": int(position == 1),
        "segmentation": {"size": [*size], "counts": rectangle_runs(box, size)} if position == 1 else polygons,
        "keypoints": [value for corner in corners for value in (*corner, 2)],
        "num_keypoints": 4,
    }


def rectangle_runs(box: list[int], size: tuple[int, int]) -> list[int]:
    """The run lengths of a rectangle, column by column, as COCO has them."""
    (x, y, width, height), rows = box, size[0]
    runs = [x * rows + y, height]
    for _ in range(width - 1):
        runs += [rows - height, height]
    return [*runs, rows * size[1] - sum(runs)]
