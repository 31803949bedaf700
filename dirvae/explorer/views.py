"""Answers about the whole set: paths, components, the map and every exploration of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dirvae.explorer.answers import describe_shown
from dirvae.explorer.desk import Desk
from dirvae.explorer.exports import formats_of
from dirvae.explorer.fields import RefusedError, text_of, whole_number
from dirvae.explorer.maps import coordinates
from dirvae.explorer.showing import Shown, ShownChart, joined
from dirvae.explorer.wire import pack

if TYPE_CHECKING:
    from dirvae.explore.sheet import Sheet

__all__ = ["component", "explore", "path", "set_map"]

Fields = Mapping[str, Any]
PATH_STEPS = 65
MOST_EXEMPLARS = 24


def path(desk: Desk, fields: Fields) -> bytes:
    """Latents from `start` to `end` in one of the geometries: "latents" (65, model_size, *grid) float32."""
    from dirvae.explore.compositions import SMALLEST_SHARE, num_clamped
    from dirvae.explore.traversals import interpolate

    _, run = desk.run_of(fields)
    ends = desk.subject(fields, "start"), desk.subject(fields, "end")
    kind = text_of(fields, "kind")
    first, last = (one.latent for one in ends)
    if kind == "concentration":
        if ends[0].concentration is None or ends[1].concentration is None:
            raise RefusedError("This run's posteriors have no concentrations. Choose another kind of path.")
        first, last = ends[0].concentration, ends[1].concentration
    if kind == "aitchison" and not run.on_simplex:
        raise RefusedError("This run's latents are not on the simplex. Choose another kind of path.")
    try:
        latents = interpolate(first, last, PATH_STEPS, kind=kind)  # type: ignore[arg-type]
    except ValueError as error:
        raise RefusedError(str(error)) from None
    clamped = num_clamped(first) + num_clamped(last) if kind == "aitchison" else 0
    facts = {"clamped": clamped, "smallest": SMALLEST_SHARE, "labels": [one.label for one in ends]}
    return pack(facts, {"latents": latents.float().numpy()})


def component(desk: Desk, fields: Fields) -> bytes:
    """A component: the numbers of the examples with most of it, "exemplars", how much they have, "amounts", and on the
    simplex the decoded archetype."""
    from dirvae.explore.distances import exemplars
    from dirvae.explore.mixtures import archetypes

    _, run = desk.run_of(fields)
    number = whole_number(fields, "component", below=run.model_size)
    order, amounts = exemplars(run.latents, number, MOST_EXEMPLARS)
    facts = {"exemplars": order.tolist(), "amounts": amounts.tolist()}
    if not run.on_simplex:
        return pack(facts, {})
    vertex = archetypes(run.model_size, [(number,)], tuple(run.latents.shape[2:]))
    context = int(order[0]) if run.context_name else None
    return describe_shown(desk, Shown(run.decode(vertex, context), f"{run.name}-component-{number}"), facts)


def set_map(desk: Desk, fields: Fields) -> bytes:
    """The place of each example on the map: "points" (num, 2) float32 in [0, 1]."""
    number, run = desk.run_of(fields)
    place = ("map", number, len(run.keys))
    if place not in desk.remembered:
        desk.remembered[place] = coordinates(run.latents, on_simplex=run.on_simplex)
    return pack({}, {"points": desk.remembered[place]})


def explore(desk: Desk, fields: Fields) -> bytes:
    """The result of an exploration: a sheet of decoded latents or of examples, or a chart as SVG."""
    from dirvae.explore.registry import EXPLORATIONS
    from dirvae.explore.sheet import Chart, ExplorationError

    _, run = desk.run_of(fields)
    name, values = text_of(fields, "name"), fields.get("values", {})
    if name not in EXPLORATIONS or not isinstance(values, dict):
        raise RefusedError(f"name is {name!r}; it must be one of {', '.join(EXPLORATIONS)}, and values an object.")
    try:
        found = EXPLORATIONS[name].run(run, **values)
    except ExplorationError as error:
        raise RefusedError(str(error)) from None
    if isinstance(found, Chart):
        chart = ShownChart(found, f"{run.name}-{name}")
        kept = {"shown": desk.shown.keep(chart), "formats": formats_of(chart)}
        return pack({"caption": found.caption, "svg": found.svg, **kept}, {})
    return _sheet(desk, run, name, found)


def _sheet(desk: Desk, run: Any, name: str, sheet: Sheet) -> bytes:
    facts = {
        "caption": sheet.caption,
        "columns": sheet.columns,
        "row_labels": sheet.row_labels,
        "column_labels": sheet.column_labels,
        "cell_labels": sheet.cell_labels,
        "examples": None if sheet.examples is None else sheet.examples.tolist(),
    }
    return describe_shown(desk, Shown(joined(run.cells(sheet)), f"{run.name}-{name}", sheet), facts)
