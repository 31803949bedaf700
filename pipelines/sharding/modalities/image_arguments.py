"""The flags of `ImageSettings` on the command line."""

from __future__ import annotations

from typing import Any

__all__ = ["add_arguments"]


def add_arguments(group: Any) -> None:
    """The flags of these settings."""
    group.add_argument("--resize", type=int, metavar="PIXELS", help="make upright RGB JPEGs with this shorter side")
    group.add_argument("--quality", type=int, metavar="NUM", help="JPEG quality from 1 to 95 (default: 90)")
    group.add_argument(
        "--annotations",
        nargs="+",
        metavar="FILE",
        help="COCO files with captions, boxes, masks, keypoints: into the field json",
    )
    group.add_argument(
        "--annotation-frame",
        choices=("auto", "stored", "upright"),
        help="pixels that annotations count: of the file, or as seen after its EXIF orientation (default: auto)",
    )
    group.add_argument("--max-pixels", type=int, metavar="NUM", help="refuse larger images (default: 178956970)")
