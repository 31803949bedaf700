"""The arguments of a network as JSON values, from which the same network is made again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

__all__ = ["arguments_to_json"]


def arguments_to_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a network's arguments by name. ValueError if one of them is a module."""
    for name, value in arguments.items():
        if isinstance(value, nn.Module):
            raise ValueError(
                f"the {name} of this model was given as a module, which its config cannot hold; name it, or make the "
                "model in code and load its weights."
            )
    return dict(arguments)
