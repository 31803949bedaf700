"""Colours of examples that are drawn as points, by a label or by the largest share, and their legend."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import Tensor

from dirvae.drawing.charts import COMPONENT_COLOURS, OTHERS
from dirvae.drawing.simplex import coloured_components
from dirvae.evaluate.labels import Label

__all__ = ["Colouring", "Entry", "by_component", "by_label"]

MOST_ENTRIES = 10
"""The number of values that get their own colour."""
YES, NO = "#d9722e", "#7f9fbf"
SCALE = ("#3f63cc", "#8f5fc9", "#d0608f", "#ee8b55", "#efb944")
"""From low to high numbers, getting lighter; both ends are visible on white and on near black."""


@dataclass(frozen=True)
class Entry:
    """A line of a legend: a value's name, its colour, and how many examples have it."""

    name: str
    colour: str
    count: int


@dataclass(frozen=True)
class Colouring:
    """For each example its colour, its value in words (None without one), and whether it is drawn on top.

    `subject` is the meaning of the colours. Numbers have a scale from the lowest to the highest instead of entries.
    Examples without a value always have an entry.
    """

    subject: str
    colours: list[str]
    words: list[str | None]
    is_above: list[bool]
    entries: list[Entry]
    scale: tuple[float, float] | None = None
    scale_colours: tuple[str, ...] = SCALE


def by_label(label: Label) -> Colouring:
    """Colours of the values of a label: two for yes and no, a scale for numbers, one for each of the most frequent."""
    known = label.known
    if known and label.is_yes_or_no:
        return _by_truth(label)
    if known and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return _by_number(label)
    return _by_text(label)


def by_component(shares: Tensor) -> Colouring:
    """Colours of the largest share in each row of (row, component), as in the bars; rare components are grey."""
    order = coloured_components(shares)
    largest = shares.argmax(1).tolist()
    colours = dict(zip(order, COMPONENT_COLOURS, strict=False))
    counts = Counter(largest)
    entries = [Entry(f"component {number}", colours[number], counts[number]) for number in order if counts[number]]
    if others := sum(count for number, count in counts.items() if number not in colours):
        entries.append(Entry("others", OTHERS, others))
    return Colouring(
        "the component with the largest share",
        [colours.get(number, OTHERS) for number in largest],
        [f"mostly component {number}" for number in largest],
        [False] * len(largest),
        entries,
    )


def _by_truth(label: Label) -> Colouring:
    names = {True: f"with {label.name}", False: f"without {label.name}"}
    if not label.is_category:
        names = {True: "yes", False: "no"}
    colours = {True: YES, False: NO}
    counts = Counter(label.known)
    entries = [Entry(names[value], colours[value], counts[value]) for value in (True, False)]
    return Colouring(
        _subject(label),
        [OTHERS if value is None else colours[value] for value in label.values],
        [_without(label) if value is None else names[value] for value in label.values],
        [value is True for value in label.values],
        [*entries, *_missing(label)],
    )


def _by_number(label: Label) -> Colouring:
    low, high = min(label.known), max(label.known)
    room = (high / 2 - low / 2) or 1.0  # halves, or the difference of the largest numbers would not be finite
    return Colouring(
        _subject(label),
        [OTHERS if value is None else _on_scale((value / 2 - low / 2) / room) for value in label.values],
        [_without(label) if value is None else f"{label.name} {value:,.6g}" for value in label.values],
        [value is not None for value in label.values],
        _missing(label),
        scale=(low, high),
    )


def _by_text(label: Label) -> Colouring:
    counts = Counter(str(value) for value in label.known)
    ordered = [name for name, _ in sorted(counts.items(), key=lambda found: (-found[1], found[0]))]
    own = ordered[:MOST_ENTRIES]
    colours = dict(zip(own, COMPONENT_COLOURS, strict=False))
    entries = [Entry(name, colours[name], counts[name]) for name in own]
    if rest := ordered[MOST_ENTRIES:]:
        entries.append(Entry(f"{len(rest)} other values", OTHERS, sum(counts[name] for name in rest)))
    return Colouring(
        _subject(label),
        [OTHERS if value is None else colours.get(str(value), OTHERS) for value in label.values],
        [_without(label) if value is None else f"{label.name} {value}" for value in label.values],
        [value is not None and str(value) in colours for value in label.values],
        [*entries, *_missing(label)],
    )


def _subject(label: Label) -> str:
    return f"the category {label.name} of the annotations" if label.is_category else f"the factor {label.name}"


def _without(label: Label) -> str:
    return "not annotated" if label.is_category else f"no {label.name}"


def _missing(label: Label) -> list[Entry]:
    count = label.values.count(None)
    return [Entry(_without(label), OTHERS, count)] if count else []


def _on_scale(share: float) -> str:
    """The colour at a share of the scale, interpolated between its neighbours."""
    place = min(max(share, 0.0), 1.0) * (len(SCALE) - 1)
    low = min(int(place), len(SCALE) - 2)
    first, second = _channels(SCALE[low]), _channels(SCALE[low + 1])
    mixed = (round(a + (place - low) * (b - a)) for a, b in zip(first, second, strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _channels(colour: str) -> list[int]:
    return [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
