"""Objects drawn on a picture: masks, boxes, keypoints and labels, a colour per class."""

from __future__ import annotations

from collections.abc import Container

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .annotation_shapes import Shapes
from .style import DARK, LIGHT, Colour, class_colour, pixels, readable_on
from .text import draw_text, line_height, shorten, text_width

__all__ = ["draw_shapes"]

LABEL_SIZE = 9.0
LABEL_PAD = pixels(3)
STROKE = pixels(1.5)
DASH, DASH_GAP = pixels(4), pixels(3)
HATCH = pixels(5)
SHADE = 90
FILL, CROWD_FILL = 0.28, 0.60
POINT_RADIUS = pixels(2.5)
SMALL = 2.0
"""Labels do not hide other objects whose area is below this many times the label's."""

Rectangle = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels, half open."""


def draw_shapes(picture: Image.Image, shapes: Shapes, show: Container[str]) -> None:
    """Draw on an RGB picture what `show` names of "masks", "boxes" and "keypoints"; the largest objects first."""
    sides = shapes.boxes[:, 2:] - shapes.boxes[:, :2]
    order = [int(number) for number in np.argsort(-sides.prod(1), kind="stable") if sides[number].min() > 0]
    colours = [class_colour(int(number)) for number in shapes.classes]
    if "masks" in show and shapes.masks is not None:
        for number in order:
            _draw_mask(picture, shapes.masks[number], colours[number], is_crowd=bool(shapes.crowd[number]))
    if "boxes" in show:
        for number in order:
            box = _rectangle(shapes.boxes[number])
            _draw_box(picture, box, colours[number], is_crowd=bool(shapes.crowd[number]))
    if "keypoints" in show:
        for number in order:
            _draw_points(picture, shapes.keypoints[number], colours[number])
    if "boxes" in show or "masks" in show:
        _draw_labels(picture, shapes, order, colours)


def _rectangle(box: NDArray[np.float32]) -> Rectangle:
    left, top, right, bottom = (int(value) for value in np.rint(box))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _draw_box(picture: Image.Image, box: Rectangle, colour: Colour, *, is_crowd: bool) -> None:
    """Lines on the inside of the box's edge, with a thin shade inside them; dashed lines for a crowd."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    lines = Image.new("L", (width, height))
    draw = ImageDraw.Draw(lines)
    if is_crowd:
        for start in range(0, max(width, height), DASH + DASH_GAP):
            stop = start + DASH - 1
            draw.rectangle((start, 0, stop, STROKE - 1), fill=255)
            draw.rectangle((start, height - STROKE, stop, height - 1), fill=255)
            draw.rectangle((0, start, STROKE - 1, stop), fill=255)
            draw.rectangle((width - STROKE, start, width - 1, stop), fill=255)
    else:
        draw.rectangle((0, 0, width - 1, height - 1), outline=255, width=STROKE)
        if min(width, height) > 2 * (STROKE + 1):
            shade = Image.new("L", lines.size)
            inside = (STROKE, STROKE, width - 1 - STROKE, height - 1 - STROKE)
            ImageDraw.Draw(shade).rectangle(inside, outline=SHADE)
            picture.paste(DARK, (left, top), shade)
    picture.paste(colour, (left, top), lines)


def _draw_mask(picture: Image.Image, mask: NDArray[np.bool_], colour: Colour, *, is_crowd: bool) -> None:
    """A translucent fill with a firm edge; a crowd is hatched."""
    inside = Image.fromarray(mask.astype(np.uint8) * 255)
    soft = inside.filter(ImageFilter.GaussianBlur(0.9))
    core = soft.filter(ImageFilter.MinFilter(2 * STROKE - 1))
    edge = ImageChops.subtract(soft, core)
    if is_crowd:
        fill = ImageChops.multiply(soft, _hatching(picture.size))
        picture.paste(colour, (0, 0), fill.point(lambda value: round(value * CROWD_FILL)))
    else:
        picture.paste(colour, (0, 0), soft.point(lambda value: round(value * FILL)))
    picture.paste(colour, (0, 0), edge)


def _hatching(size: tuple[int, int]) -> Image.Image:
    """Diagonal lines over a whole picture, as a mask."""
    width, height = size
    distance = (np.arange(width)[None, :] + np.arange(height)[:, None]) % (2 * HATCH)
    return Image.fromarray(np.where(distance < HATCH * 0.7, 255, 0).astype(np.uint8))


def _draw_points(picture: Image.Image, points: NDArray[np.float32], colour: Colour) -> None:
    """A disc for each point that is seen, a ring for one that is hidden."""
    side = 2 * POINT_RADIUS + 3
    for x, y, visibility in points.tolist():
        if visibility > 0:
            rim, middle = (LIGHT, colour) if visibility >= 2 else (colour, LIGHT)
            place = round(x) - side // 2, round(y) - side // 2
            picture.paste(rim, place, _disc(side, POINT_RADIUS + 1.5))
            picture.paste(middle, place, _disc(side, POINT_RADIUS - 0.5))


def _disc(side: int, radius: float) -> Image.Image:
    """A mask (side, side) with a soft-edged disc in its middle."""
    axis = np.arange(side) + 0.5 - side / 2
    distance = np.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)
    return Image.fromarray((np.clip(radius - distance + 0.5, 0, 1) * 255).astype(np.uint8))


def _draw_labels(picture: Image.Image, shapes: Shapes, order: list[int], colours: list[Colour]) -> None:
    """The name of each object at a corner of its box, where it hides no other label and no other small object."""
    boxes = {number: _rectangle(shapes.boxes[number]) for number in order}
    taken: list[Rectangle] = []
    for number in order:
        if not shapes.names[number]:
            continue
        name = f"{shapes.names[number]} (crowd)" if shapes.crowd[number] else shapes.names[number]
        name = shorten(name, LABEL_SIZE, picture.width - 2 * LABEL_PAD)
        size = text_width(name, LABEL_SIZE) + 2 * LABEL_PAD, line_height(LABEL_SIZE) + pixels(1)
        small = [
            box
            for other, box in boxes.items()
            if other != number and (box[2] - box[0]) * (box[3] - box[1]) < SMALL * size[0] * size[1]
        ]
        place = next(
            (
                here
                for here in _label_places(boxes[number], size, picture.size)
                if not any(_overlap(here, other) for other in (*taken, *small))
            ),
            None,
        )
        if place is not None:
            taken.append(place)
            left, top, right, bottom = place
            draw = ImageDraw.Draw(picture)
            draw.rounded_rectangle((left, top, right - 1, bottom - 1), pixels(2), fill=colours[number])
            draw_text(picture, (left + LABEL_PAD, top), name, LABEL_SIZE, readable_on(colours[number]))


def _label_places(box: Rectangle, size: tuple[int, int], within: tuple[int, int]) -> list[Rectangle]:
    """Where a label of this (width, height) may stand within a picture of (width, height), the best place first."""
    (left, top, right, bottom), (width, height) = box, size
    outside = [(left, top - height), (right - width, top - height), (left, bottom), (right - width, bottom)]
    inside = [(left, top), (right - width, top), (left, bottom - height), (right - width, bottom - height)]
    is_roomy = right - left > width and bottom - top > 2 * height
    corners = [outside[0], inside[0], *outside[1:], *inside[1:]] if is_roomy else outside
    moved = [(max(0, min(x, within[0] - width)), y) for x, y in corners]
    return [(x, y, x + width, y + height) for x, y in moved if 0 <= y <= within[1] - height]


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
