"""Explorations that decode new latents: paths, archetypes, masks, sums and differences."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import torch
from torch import Tensor

from dirvae.choices import PathKind
from dirvae.explore.compositions import SMALLEST_SHARE, num_clamped
from dirvae.explore.explored import Explored, chosen_components, find_key, typical_number, vectors, with_context
from dirvae.explore.mixtures import SMALLEST_CONCENTRATION, archetypes, arithmetic, faces, mask_components
from dirvae.explore.sheet import ExplorationError, Sheet
from dirvae.explore.traversals import farthest_pair, interpolate, seen_strength, traverse
from pipelines.shown_names import shown_name

__all__ = ["archetype_sheet", "arithmetic_sheet", "interpolation_sheet", "mask_sheet", "traversal_sheet"]

USED_ROWS, USED_FACES, USED_MASKS = 5, 6, 8
"""Components that are shown by default."""
PAIRS_AMONG = 256
"""Examples among which the two that are farthest apart are found by default."""
COLUMNS = 8
MOST_FACES = 512
"""Faces in one sheet; more take many seconds to decode."""
SPANNED = {"vertices": 1, "edges": 2, "triangles": 3}


def traversal_sheet(explored: Explored, *, key: str | None, components: Sequence[int] | None, num: int) -> Sheet:
    """A row for each component, from 0 to the share that was seen; the other components stay in proportion."""
    number = typical_number(explored, key)
    chosen = chosen_components(explored, components, USED_ROWS)
    strength, weakness = seen_strength(explored.latents), seen_strength(explored.latents, quantile=0.05)
    latent, simplex = explored.latents[number], explored.on_simplex
    rows, labels, on_path = [], [], []
    for one in chosen:
        least, most = (
            (0.0, min(1.0, float(strength[one]))) if simplex else (float(weakness[one]), float(strength[one]))
        )
        rows.append(traverse(latent, one, num, least=least, most=most, on_simplex=simplex))
        labels.append(f"{one}: {least:.2g} to {most:.2g}")
        on_path += [f"{value:.2f}" for value in torch.linspace(least, most, num).tolist()]
    kept = "the other shares keep their proportions" if simplex else "the other components stay as they are"
    span = (
        "from 0 to the share that 1 in 20 examples exceeds"
        if simplex
        else "over the values that 9 in 10 examples have"
    )
    named = ", ".join(map(str, chosen))
    return Sheet(
        latents=torch.cat(rows),
        examples=None,
        rows=len(chosen),
        row_labels=tuple(f"component {label}" for label in labels),
        column_labels=(),
        caption=f"{_example(explored, number)} with component{'s' * (len(chosen) > 1)} {named} {span}; {kept}."
        + with_context(explored, number),
        cell_labels=tuple(on_path),
        contexts=(number,) * len(chosen),
        is_path=True,
    )


def interpolation_sheet(explored: Explored, *, keys: Sequence[str] | None, kind: PathKind, num: int) -> Sheet:
    """From one example to another."""
    if keys is None:
        first, second = farthest_pair(explored.latents[:PAIRS_AMONG])
    else:
        first, second = (find_key(explored, key) for key in keys)
    values = explored.latents
    if kind == "concentration":
        values = _concentrations(explored, "--kind concentration")
    elif kind == "aitchison" and not explored.on_simplex:
        raise ExplorationError(
            f"an Aitchison path needs shares, but the latents of {explored.name} are not on the simplex. Take kind "
            "latent."
        )
    ends = values[first], values[second]
    how = {
        "latent": "a straight line in the latent space",
        "concentration": "a straight line in the concentrations, normalised",
        "aitchison": "the geodesic of Aitchison's geometry, a normalised weighted geometric mean",
    }[kind]
    clamped = sum(map(num_clamped, ends)) if kind == "aitchison" else 0
    shares = torch.linspace(0, 1, num).tolist()
    line = interpolate(*ends, num, kind=kind)
    contexts = (first, second) if explored.context_name else (first,)
    labels = [f"{explored.context_name} of {shown_name(explored.keys[one], quoted=False)}" for one in contexts]
    return Sheet(
        latents=line.repeat(len(contexts), *(1,) * (line.ndim - 1)),
        examples=None,
        rows=len(contexts),
        row_labels=tuple(labels) if explored.context_name else (),
        column_labels=tuple(f"{share:.0%}" for share in shares),
        caption=f"From {_key(explored, first)} to {_key(explored, second)} in {num - 1} steps on {how}."
        + (f" Decoded with the {explored.context_name} of either." if explored.context_name else "")
        + _clamped(clamped, "share", SMALLEST_SHARE),
        contexts=contexts,
        is_path=True,
    )


def archetype_sheet(explored: Explored, *, components: Sequence[int] | None, span: str) -> Sheet:
    """The vertices of the simplex, or the middles of its edges or triangles."""
    order = SPANNED[span]
    chosen = chosen_components(explored, components, explored.model_size if order == 1 else USED_FACES)
    if len(chosen) < order:
        raise ExplorationError(
            f"{span} span {order} components, but {len(chosen)} are given. Name more components."
        )
    if (num := comb(len(chosen), order)) > MOST_FACES:
        raise ExplorationError(
            f"{len(chosen)} components span {num:,} {span}, more than the {MOST_FACES} of a sheet. Name fewer of them."
        )
    found = faces(chosen, order)
    latents = archetypes(explored.model_size, found, explored.latents.shape[2:])
    what = {
        "vertices": f"Each of {len(found)} components alone, of the {explored.model_size} of the latent",
        "edges": f"The middles of the {len(found)} edges between components {', '.join(map(str, chosen))}",
        "triangles": f"The middles of the {len(found)} triangles of components {', '.join(map(str, chosen))}",
    }[span]
    order_said = ", the most used first" if components is None else ""
    return Sheet(
        latents=latents,
        examples=None,
        rows=-(-len(found) // COLUMNS),
        row_labels=(),
        column_labels=(),
        caption=f"{what}{order_said}. No example needs to lie there."
        + (f" Decoded with the {explored.context_name} of a typical example." if explored.context_name else ""),
        cell_labels=tuple(" + ".join(map(str, one)) for one in found),
    )


def mask_sheet(explored: Explored, *, key: str | None, components: Sequence[int] | None) -> Sheet:
    """An example without each component, and with it alone."""
    number = typical_number(explored, key)
    latent, every = explored.latents[number], vectors(explored.latents)
    if components is None:
        amounts = every[number] if explored.on_simplex else (every[number] - every.mean(0)).abs()
        components = amounts.argsort(descending=True, stable=True)[:USED_MASKS].tolist()
    chosen = chosen_components(explored, components, USED_MASKS)
    rest = None if explored.on_simplex else explored.latents.mean(0)
    without, alone = mask_components(latent, chosen, rest=rest)
    whole = latent[None]
    left = "renormalised" if explored.on_simplex else "what is removed takes its mean over the examples"
    return Sheet(
        latents=torch.cat([whole, without, whole, alone]),
        examples=None,
        rows=2,
        row_labels=("without it", "with it alone"),
        column_labels=("all", *(f"{one} ({float(every[number, one]):.2f})" for one in chosen)),
        caption=f"{_example(explored, number)}: all of its latent, then without each component and with it alone, "
        f"{left}; above each its {'share' if explored.on_simplex else 'value'}." + with_context(explored, number),
        contexts=(number, number),
    )


def arithmetic_sheet(explored: Explored, *, keys: Sequence[str] | None, weights: Sequence[float] | None) -> Sheet:
    """Sums and differences of examples: a + b - c."""
    if keys is None:
        if len(explored.keys) < 3:
            raise ExplorationError(f"{explored.name} has {len(explored.keys)} examples; name the keys to add.")
        first, second = farthest_pair(explored.latents[:PAIRS_AMONG])
        numbers = [first, second, typical_number(explored, None)]
    else:
        numbers = [find_key(explored, key) for key in keys]
    factors = _weights(weights, len(numbers))
    values, what, smallest = _summed(explored)
    result, clamped = arithmetic(values[numbers], factors, smallest=smallest)
    cells = torch.cat([explored.latents[numbers], result[None]])
    terms = " ".join(
        f"{_sign(factor, place == 0)}{_key(explored, number)}"
        for place, (factor, number) in enumerate(zip(factors, numbers, strict=True))
    )
    said = "" if smallest is None else _clamped(clamped, what.removesuffix("s"), smallest)
    signs = [_sign(factor, place == 0).strip() for place, factor in enumerate(factors)]
    labels = [
        f"{sign} {shown_name(explored.keys[number], quoted=False)}".strip()
        for sign, number in zip(signs, numbers, strict=True)
    ]
    return Sheet(
        latents=cells,
        examples=None,
        rows=1,
        row_labels=(),
        column_labels=(*labels, "="),
        caption=f"{terms}, added in their {what}{', normalised' if smallest is not None else ''}.{said}"
        + with_context(explored, numbers[0]),
        contexts=(numbers[0],),
    )


def _summed(explored: Explored) -> tuple[Tensor, str, float | None]:
    """The values to add, their name, and the smallest value allowed in the result."""
    if explored.concentrations is not None:
        return explored.concentrations, "concentrations", SMALLEST_CONCENTRATION
    if explored.on_simplex:
        return explored.latents, "shares", SMALLEST_SHARE
    return explored.latents, "latents", None


def _concentrations(explored: Explored, where: str) -> Tensor:
    if explored.concentrations is None:
        raise ExplorationError(
            f"{where} needs Dirichlet posteriors, but those of {explored.name} have no concentrations. Take another "
            "kind of path."
        )
    return explored.concentrations


def _weights(weights: Sequence[float] | None, num: int) -> Sequence[float]:
    if weights is None:
        return [1.0] * num if num < 3 else [1.0] * (num - 1) + [-1.0]
    if len(weights) != num:
        raise ExplorationError(f"there are {len(weights)} weights for {num} keys. Give one weight for each key.")
    return weights


def _sign(factor: float, is_first: bool) -> str:
    sign = "- " if factor < 0 else ("" if is_first else "+ ")
    size = "" if abs(factor) == 1 else f"{abs(factor):g} x "
    return sign + size


def _example(explored: Explored, number: int) -> str:
    return f"Example {_key(explored, number)}"


def _key(explored: Explored, number: int) -> str:
    return shown_name(explored.keys[number])


def _clamped(num: int, what: str, smallest: float) -> str:
    if not num:
        return ""
    verb = "value was" if num == 1 else "values were"
    return f" {num:,} {what} {verb} below {smallest:g} and raised to it."
