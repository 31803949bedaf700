"""The table of explorations, which library, command line, application and documentation share.

>>> from dirvae.explore import EXPLORATIONS
>>> sheet = EXPLORATIONS["interpolate"].run(explored, keys=("scene-3", "scene-8"), kind="aitchison")  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dirvae.choices import DISTANCES, PATHS
from dirvae.explore.parameters import Parameter
from dirvae.explore.sheet import ExplorationError

if TYPE_CHECKING:
    from dirvae.explore.explored import Explored
    from dirvae.explore.sheet import Chart, Sheet

__all__ = ["EXPLORATIONS", "Exploration"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Exploration:
    """One way to look at the latents of a run.

    name        as in flags and addresses, with underscores
    title       a few words for a heading
    summary     one sentence
    parameters  taken by name; the first one is the value of the exploration's flag
    needs       "simplex": latents must be shares; "anything"
    make        "module:function" in this package, imported when used, so that the table does not load torch:
                (explored, **all parameters) → `Sheet` or `Chart`
    """

    name: str
    title: str
    summary: str
    parameters: tuple[Parameter, ...]
    needs: Literal["anything", "simplex"]
    make: str

    def run(self, explored: Explored, /, **values: Any) -> Sheet | Chart:
        """Make the sheet or the chart. Parameters that are left out or None have their defaults.

        Raises `ExplorationError` for unknown parameters, keys and components, for values out of range, and for a latent
        that does not fit.
        """
        known = {parameter.name for parameter in self.parameters}
        if unknown := sorted(values.keys() - known):
            raise ExplorationError(
                f"{self.name} has no parameter {unknown[0]!r}; it has {', '.join(sorted(known)) or 'none'}."
            )
        checked = {one.name: one.checked(values.get(one.name)) for one in self.parameters}
        if self.needs == "simplex" and not explored.on_simplex:
            raise ExplorationError(
                f"{self.name} needs shares that sum to 1, but the latents of {explored.name} are not on the simplex. "
                "Name a run with a Dirichlet latent, or take traverse or interpolate."
            )
        module, _, function = self.make.partition(":")
        make = getattr(importlib.import_module(f"dirvae.explore.{module}"), function)
        made: Sheet | Chart = make(explored, **checked)
        return made


def _key() -> Parameter:
    return Parameter(
        name="key", kind="key", default=None, help="key of the example; the most typical one by default"
    )


def _components(default: str, *, least: int = 1, most: int | None = None) -> Parameter:
    return Parameter(
        name="components",
        kind="components",
        default=None,
        help=f"components; {default} by default",
        least=least,
        most=most,
    )


def _keys(help: str, *, most: int) -> Parameter:
    return Parameter(name="keys", kind="keys", default=None, help=help, least=2, most=most)


def _choice(name: str, choices: tuple[str, ...], default: str, help: str) -> Parameter:
    return Parameter(name=name, kind="choice", default=default, help=help, choices=choices)


def _num(default: int, what: str, *, least: int, most: int) -> Parameter:
    return Parameter(name="num", kind="count", default=default, help=what, least=least, most=most)


EXPLORATIONS: dict[str, Exploration] = {
    found.name: found
    for found in (
        Exploration(
            name="traverse",
            title="Traverse components",
            summary="An example with more and more of a component, the others in proportion.",
            parameters=(
                _key(),
                _components("the 5 most used", most=64),
                _num(9, "steps of a path, its ends included", least=2, most=64),
            ),
            needs="anything",
            make="path_sheets:traversal_sheet",
        ),
        Exploration(
            name="interpolate",
            title="Interpolate between two examples",
            summary="A path from one example to another, in one of three geometries.",
            parameters=(
                _keys("keys of the two examples; two that are far apart by default", most=2),
                _choice(
                    "kind",
                    PATHS,
                    "latent",
                    "straight in the latents, straight in the Dirichlet concentrations, or Aitchison's geodesic",
                ),
                _num(9, "steps of the path, its ends included", least=2, most=64),
            ),
            needs="anything",
            make="path_sheets:interpolation_sheet",
        ),
        Exploration(
            name="archetypes",
            title="Archetypes",
            summary="Each component alone, and equal mixtures of two or three.",
            parameters=(
                _components("all of them, or the 6 most used for edges and triangles", most=64),
                _choice(
                    "span",
                    ("vertices", "edges", "triangles"),
                    "vertices",
                    "each component alone, or the middles of edges or of triangles between them",
                ),
            ),
            needs="simplex",
            make="path_sheets:archetype_sheet",
        ),
        Exploration(
            name="mask_components",
            title="Mask components",
            summary="An example without each component, and with it alone.",
            parameters=(_key(), _components("the 8 that the example has most of", most=64)),
            needs="anything",
            make="path_sheets:mask_sheet",
        ),
        Exploration(
            name="arithmetic",
            title="Add and subtract examples",
            summary="A sum or difference of examples, in their concentrations where they have them: a + b - c.",
            parameters=(
                _keys("keys of the examples; three that are far apart or typical by default", most=8),
                Parameter(
                    name="weights",
                    kind="weights",
                    default=None,
                    help="a number for each key; 1, and -1 for the last of three or more by default",
                    least=2,
                    most=8,
                ),
            ),
            needs="anything",
            make="path_sheets:arithmetic_sheet",
        ),
        Exploration(
            name="exemplars",
            title="Exemplars of components",
            summary="The examples that have most of a component.",
            parameters=(
                _components("the 5 most used", most=64),
                _num(8, "examples of a component", least=1, most=64),
            ),
            needs="anything",
            make="example_sheets:exemplar_sheet",
        ),
        Exploration(
            name="neighbours",
            title="Nearest neighbours",
            summary="The examples whose latents are nearest to those of an example.",
            parameters=(
                _key(),
                _num(7, "neighbours", least=1, most=255),
                _choice(
                    "distance",
                    DISTANCES,
                    "euclidean",
                    "Aitchison's distance of log-ratios, the sum of absolute differences, or Euclid's",
                ),
            ),
            needs="anything",
            make="example_sheets:neighbour_sheet",
        ),
        Exploration(
            name="usage",
            title="Use of the components",
            summary="How much of each component the examples have, and how many components that amounts to.",
            parameters=(),
            needs="anything",
            make="charts:usage_chart",
        ),
        Exploration(
            name="barycentric",
            title="Examples between components",
            summary="A map of the examples between three to six components.",
            parameters=(_components("the 6 most used", least=3, most=6),),
            needs="simplex",
            make="charts:barycentric_chart",
        ),
    )
}
"""Name → exploration, in the order in which they are shown."""
