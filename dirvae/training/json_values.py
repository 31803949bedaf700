"""The door through which values of callers reach JSON: numbers of torch and NumPy as plain ones, the rest by name."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

__all__ = ["json_value"]


def json_value(value: Any) -> Any:
    """A value as JSON has it: scalars of torch and NumPy become numbers, arrays and tuples lists, paths text.

    Numbers that are not finite become None, because JSON has none. Waits for the device of a tensor. Raises
    `TypeError` for anything else, a complex number or an object for instance, and for keys that are not text.
    """
    if isinstance(value, Tensor):
        value = value.detach().tolist()
    elif isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [json_value(part) for part in value]
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"the key {wrong[0]!r} is {type(wrong[0]).__name__}; keys must be text")
        return {str(key): json_value(part) for key, part in value.items()}
    raise TypeError(f"{type(value).__name__} is not a number, text, or a list or dict of them")
