"""The latent of a request, checked before it is decoded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dirvae.explorer.fields import RefusedError

__all__ = ["latent_of"]


def latent_of(fields: Mapping[str, Any], shape: tuple[int, ...], *, on_simplex: bool) -> NDArray[np.float32]:
    """The latent of a request, a flat list of numbers, as float32 of a shape (model_size, *grid).

    On the simplex the shares of each cell must sum to 1 within 0.001; they are divided by their sum.
    """
    values, num = fields.get("latent"), math.prod(shape)
    if not isinstance(values, list) or len(values) != num:
        raise RefusedError(f"latent must be a list of {num} numbers.")
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise RefusedError("latent must hold numbers only.")
    try:
        latent = np.array(values, np.float64).reshape(shape)
    except OverflowError:
        raise RefusedError("latent must hold finite numbers only.") from None
    if not np.isfinite(latent).all() or np.abs(latent).max(initial=0) > 1e6:
        raise RefusedError("latent must hold finite numbers up to a million only.")
    if on_simplex:
        total = latent.sum(0)
        if latent.min() < 0 or np.abs(total - 1).max() > 1e-3:
            raise RefusedError("the shares of the latent must not be negative, and must sum to 1.")
        latent = latent / total
    return latent.astype(np.float32)
