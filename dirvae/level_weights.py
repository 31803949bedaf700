"""Weights of a run with a map for a model without one, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from dirvae.levels import has_map

__all__ = ["tensors_for_levels"]

MAP, VECTOR_LIKELIHOOD, LIKELIHOOD = "map_level.", "vector_likelihood.", "likelihood."
"""Prefixes of the names of weights: of the map, and of the likelihoods of the vector alone and of both levels."""


def tensors_for_levels(model: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str | None]:
    """Weights of a run for `model`, also if only one of the two has a map.

    A model of two levels takes the weights of a vector for its vector, and keeps its own map; a vector takes those of
    the vector of two levels. Returns the weights, and "vector" if they are of the vector alone, else None.
    """
    is_with_map = any(name.startswith(MAP) for name in tensors)
    if has_map(model) == is_with_map:
        return dict(tensors), None
    if is_with_map:
        alone = {name: value for name, value in tensors.items() if not name.startswith((MAP, LIKELIHOOD))}
        return {_renamed(name, VECTOR_LIKELIHOOD, LIKELIHOOD): value for name, value in alone.items()}, "vector"
    own = {name: value.detach() for name, value in model.state_dict().items() if name.startswith(MAP)}
    twice = {
        _renamed(name, LIKELIHOOD, VECTOR_LIKELIHOOD): value
        for name, value in tensors.items()
        if name.startswith(LIKELIHOOD)
    }
    return {**tensors, **twice, **own}, "vector"


def _renamed(name: str, before: str, after: str) -> str:
    return after + name.removeprefix(before) if name.startswith(before) else name
