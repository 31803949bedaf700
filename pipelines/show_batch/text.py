"""Lines of text on a picture, in Pillow's own font, or in a font of the system for letters that it lacks."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from .style import INK, Colour, pixels

__all__ = ["draw_text", "line_height", "shorten", "text_width", "wrap"]

SYSTEM_FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "Arial.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "DroidSansFallbackFull.ttf",
    "PingFang.ttc",
)
ELLIPSIS = "…"
MOST_LETTERS = 2000  # of one text: nobody reads more on a sheet

Font = Any


def text_width(text: str, size: float) -> int:
    """Width in pixels of a line of text; `size` is the height of its letters in points."""
    shown, font = _prepared(text, size)
    return round(font.getlength(shown)) if hasattr(font, "getlength") else int(font.getbbox(shown)[2])


def line_height(size: float) -> int:
    """From one line to the next, in pixels."""
    return pixels(size * 1.36)


def draw_text(
    picture: Image.Image, place: tuple[int, int], text: str, size: float, colour: Colour = INK, *, anchor: str = "l"
) -> None:
    """Write one line of text; `place` is (x, y) in pixels: its left end, middle or right end ("l", "m", "r"), the top
    of a line of `line_height`."""
    shown, font = _prepared(text, size)
    x, y = place
    x -= {"l": 0, "m": text_width(text, size) // 2, "r": text_width(text, size)}[anchor]
    if isinstance(font, ImageFont.FreeTypeFont):
        baseline = y + round(0.76 * line_height(size))
        ImageDraw.Draw(picture).text((x, baseline), shown, fill=colour, font=font, anchor="ls")
    else:
        ImageDraw.Draw(picture).text((x, y), shown, fill=colour, font=font)


def shorten(text: str, size: float, width: int, *, keep_end: bool = False) -> str:
    """The text in one line of at most `width` pixels: its beginning, or with `keep_end` its end, and …"""
    text = " ".join(text.split())[:MOST_LETTERS]
    if text_width(text, size) <= width:
        return text
    low, high = 0, len(text)
    while low < high:  # the most letters that fit
        middle = (low + high + 1) // 2
        low, high = (middle, high) if text_width(_cut(text, middle, keep_end), size) <= width else (low, middle - 1)
    return _cut(text, low, keep_end)


def _cut(text: str, num: int, keep_end: bool) -> str:
    if keep_end:
        return ELLIPSIS + text[len(text) - num :]
    return text[:num].rstrip(" ,.;:") + ELLIPSIS


def wrap(text: str, size: float, width: int, most_lines: int) -> list[str]:
    """The text in lines of at most `width` pixels, cut with … after `most_lines`; none for an empty text."""
    words = text[:MOST_LETTERS].split()
    lines: list[str] = []
    while words and len(lines) < most_lines - 1:
        num = 1
        while num < len(words) and text_width(" ".join(words[: num + 1]), size) <= width:
            num += 1
        line = " ".join(words[:num])
        if num == 1 and text_width(line, size) > width:  # one long word, or a script without spaces
            fits = _num_fitting(line, size, width)
            line, words[0] = line[:fits], line[fits:]
            num = 0
        lines.append(line)
        words = words[num:]
    return [*lines, shorten(" ".join(words), size, width)] if words else lines


def _num_fitting(word: str, size: float, width: int) -> int:
    return max(1, next((num for num in range(len(word), 0, -1) if text_width(word[:num], size) <= width), 1))


def _prepared(text: str, size: float) -> tuple[str, Font]:
    """The text as it can be drawn, and the font that has most of its letters."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    own = _own_font(size)
    if text.isascii():
        return text, own
    if isinstance(own, ImageFont.FreeTypeFont):
        letters = frozenset(text)
        if _num_missing(None, letters) == 0:
            return text, own
        best = min((*_system_fonts(), None), key=lambda name: _num_missing(name, letters))
        if best is not None:
            return text, _system_font(best, size)
    plain = unicodedata.normalize("NFKD", text.replace(ELLIPSIS, "..."))
    return "".join("" if unicodedata.combining(letter) else letter for letter in plain).encode(
        "ascii", "replace"
    ).decode(), own


@lru_cache(maxsize=64)
def _own_font(size: float) -> Font:
    try:
        return ImageFont.load_default(pixels(size))
    except (ImportError, OSError):  # a Pillow without FreeType has letters of one size alone
        return ImageFont.load_default()


@lru_cache(maxsize=64)
def _system_font(name: str, size: float) -> Font:
    return ImageFont.truetype(name, pixels(size * 0.94), layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=1)
def _system_fonts() -> Sequence[str]:
    found = []
    for name in SYSTEM_FONTS:
        try:
            _system_font(name, 10)
        except OSError:
            continue
        found.append(name)
    return tuple(found)


@lru_cache(maxsize=4096)
def _num_missing(name: str | None, letters: frozenset[str]) -> int:
    """How many of the letters a font lacks: it draws those like a letter that does not exist."""
    font = _own_font(10) if name is None else _system_font(name, 10)
    unknown = bytes(font.getmask("\uffff"))
    return sum(letter != " " and bytes(font.getmask(letter)) == unknown for letter in letters)
