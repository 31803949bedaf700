"""The part of a run that explorations read: keys and latents; and functions that find examples and components."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from dirvae.explore.component_use import by_use, usage
from dirvae.explore.sheet import ExplorationError
from pipelines.shown_names import shown_name

__all__ = [
    "Explored",
    "chosen_components",
    "find_component",
    "find_key",
    "typical_number",
    "vectors",
    "with_context",
]

MOST_SHOWN = 3
"""Keys that an error suggests."""


class Explored(Protocol):
    """A run's latents, as `dirvae.run.explored_run.ExploredRun` has them.

    keys            of the examples
    latents         (num, model_size, *grid) float32: means of the posteriors
    concentrations  of the same shape: those of Dirichlet posteriors; None for others
    on_simplex      whether latents are shares that sum to 1 along axis 1
    context_name    what an example gives a decoder besides its latent: "map", "pitch and loudness", or "" for nothing
    typical         number of the example that stands for the set
    """

    @property
    def name(self) -> str: ...
    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def latents(self) -> Tensor: ...
    @property
    def concentrations(self) -> Tensor | None: ...
    @property
    def on_simplex(self) -> bool: ...
    @property
    def model_size(self) -> int: ...
    @property
    def context_name(self) -> str: ...
    @property
    def typical(self) -> int: ...


def find_key(explored: Explored, key: str) -> int:
    """The number of the example with a key. Raises `ExplorationError` with the nearest keys."""
    if key in explored.keys:
        return explored.keys.index(key)
    near = difflib.get_close_matches(key, explored.keys, n=MOST_SHOWN, cutoff=0.0)
    offered = ", ".join(shown_name(one) for one in near)
    raise ExplorationError(
        f"no example has the key {shown_name(key)} among the {len(explored.keys):,} that were read of "
        f"{explored.name}. Name one that is there; the nearest are {offered}."
    )


def find_component(explored: Explored, component: int) -> int:
    """The same number, checked. Raises `ExplorationError` if the run has no such component."""
    if not 0 <= component < explored.model_size:
        raise ExplorationError(
            f"there is no component {component}; {explored.name} has 0 to {explored.model_size - 1}."
        )
    return component


def chosen_components(explored: Explored, given: Sequence[int] | None, most: int) -> list[int]:
    """The given components without repetitions; if None are given, the `most` components that are used most."""
    if given is not None:
        return list(dict.fromkeys(find_component(explored, one) for one in given))
    return by_use(usage(explored.latents, on_simplex=explored.on_simplex))[:most]


def typical_number(explored: Explored, key: str | None) -> int:
    """The number of the example with this key; if the key is None, of the most typical example."""
    return explored.typical if key is None else find_key(explored, key)


def with_context(explored: Explored, number: int) -> str:
    """A sentence that names the example whose map (or pitch and loudness) the decoder gets; "" if it gets none."""
    if not explored.context_name:
        return ""
    return f" Decoded with the {explored.context_name} of {shown_name(explored.keys[number])}."


def vectors(latents: Tensor) -> Tensor:
    """The mean of latents (num, model_size, *grid) over the grid cells: (num, model_size)."""
    return latents.flatten(2).mean(2) if latents.ndim > 2 else latents
