"""Exploring a latent space: paths, archetypes, masks, arithmetic, exemplars, neighbours and use of components.

Pure functions over tensors, and `EXPLORATIONS`, the table of all explorations of a run; `python -m dirvae.explore RUN`.
"""

from typing import TYPE_CHECKING

from pipelines.lazy_names import lazy_names

if TYPE_CHECKING:
    from dirvae.explore.component_use import barycentric, usage
    from dirvae.explore.distances import exemplars, neighbours
    from dirvae.explore.mixtures import archetypes, arithmetic, mask_components
    from dirvae.explore.parameters import Parameter
    from dirvae.explore.registry import EXPLORATIONS, Exploration
    from dirvae.explore.sheet import Chart, ExplorationError, Sheet
    from dirvae.explore.traversals import component_latents, interpolate, seen_strength, traverse

__all__ = [
    "EXPLORATIONS",
    "Chart",
    "Exploration",
    "ExplorationError",
    "Parameter",
    "Sheet",
    "archetypes",
    "arithmetic",
    "barycentric",
    "component_latents",
    "exemplars",
    "interpolate",
    "mask_components",
    "neighbours",
    "seen_strength",
    "traverse",
    "usage",
]

lazy_names(
    __name__,
    {
        "Chart": ".sheet",
        "EXPLORATIONS": ".registry",
        "Exploration": ".registry",
        "ExplorationError": ".sheet",
        "Parameter": ".parameters",
        "Sheet": ".sheet",
        "archetypes": ".mixtures",
        "arithmetic": ".mixtures",
        "barycentric": ".component_use",
        "component_latents": ".traversals",
        "exemplars": ".distances",
        "interpolate": ".traversals",
        "mask_components": ".mixtures",
        "neighbours": ".distances",
        "seen_strength": ".traversals",
        "traverse": ".traversals",
        "usage": ".component_use",
    },
)
