"""The rows of a batch, by the names of their arrays: posteriors, draws, keys, fields."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dirvae.latents.latent import Posterior
from dirvae.noise import example_noise
from dirvae.training.errors import ConfigError

__all__ = ["MISSING_LABEL", "RowArray", "field_rows", "key_rows", "posterior_rows"]

GRID_AXES = {0: (), 1: ("time",), 2: ("row", "column"), 3: ("time", "row", "column")}
MOST_DRAWN_BYTES = 1 << 30
MISSING_LABEL = -1
"""Written where an example has no whole number."""


@dataclass(frozen=True, eq=False)
class RowArray:
    """Rows of one array: values (batch, *shape), and the names of the axes after the first."""

    values: NDArray[Any]
    axes: tuple[str, ...] = ()


def posterior_rows(
    posteriors: Mapping[str, Posterior], *, samples: int, seeds: NDArray[np.int64]
) -> dict[str, RowArray]:
    """Means, parameters and `samples` draws of the posteriors of each level, float32.

    Level "" gives "mean" (batch, component, *grid), its parameters by their names ("concentration"), and "sample"
    (batch, draw, component, *grid); level "map" gives "map_mean" and so on. The draws of an example follow from its
    seed alone: `seeds` (batch,). Raises `ConfigError` for draws that need more than 1 GiB.
    """
    rows: dict[str, RowArray] = {}
    for level, posterior in posteriors.items():
        prefix = f"{level}_" if level else ""
        mean = posterior.mean
        component, grid = f"{prefix}component", tuple(prefix + axis for axis in _grid_axes(mean.ndim - 2))
        for name, value in {"mean": mean, **posterior.parameters}.items():
            own = component if value.shape[1] == mean.shape[1] else f"{prefix}stick"
            rows[prefix + name] = RowArray(_as_float32(value), (own, *grid))
    if samples:
        rows |= _drawn_rows(posteriors, rows, samples, seeds)
    return rows


def _drawn_rows(
    posteriors: Mapping[str, Posterior], rows: Mapping[str, RowArray], samples: int, seeds: NDArray[np.int64]
) -> dict[str, RowArray]:
    num_bytes = samples * sum(4 * posterior.mean.numel() for posterior in posteriors.values())
    if num_bytes > MOST_DRAWN_BYTES:
        raise ConfigError(
            f"samples is {samples}; the draws of a batch of {len(seeds)} need {num_bytes / 2**30:,.1f} GiB, and "
            f"{MOST_DRAWN_BYTES >> 30} GiB is allowed. Take fewer --samples or a smaller --batch-size."
        )
    drawn: dict[str, list[NDArray[Any]]] = {level: [] for level in posteriors}
    device = next(iter(posteriors.values())).mean.device
    with example_noise(torch.from_numpy(seeds).to(device)):
        for _ in range(samples):
            for level, posterior in posteriors.items():
                drawn[level].append(_as_float32(posterior.rsample()))
    found = {}
    for level, draws in drawn.items():
        prefix = f"{level}_" if level else ""
        found[f"{prefix}sample"] = RowArray(np.stack(draws, 1), ("draw", *rows[f"{prefix}mean"].axes))
    return found


def _grid_axes(num: int) -> tuple[str, ...]:
    return GRID_AXES.get(num) or tuple(f"grid_{axis}" for axis in range(num))


def _as_float32(values: torch.Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = values.detach().to("cpu", torch.float32).numpy()
    return found


def key_rows(batch: Any, *, are_clips: bool) -> dict[str, RowArray]:
    """Keys, valid steps of clips, and, if substitution is allowed, which examples are substitutes.

    The lengths of a batch are None if none of its clips is padded; other batches may still have lengths.
    """
    rows = {"key": RowArray(_texts(batch.keys))}
    if are_clips:
        whole = np.full(len(batch.keys), batch.data.shape[2], np.int64)
        rows["length"] = RowArray(whole if batch.lengths is None else np.asarray(batch.lengths, np.int64))
    if batch.substituted is not None:
        rows["substituted"] = RowArray(np.asarray(batch.substituted, np.bool_))
    return rows


def field_rows(batch: Any, names: Sequence[str]) -> dict[str, RowArray]:
    """Fields as "field_NAME": arrays of one shape as they are, whole numbers as int64, all else as text or JSON text.

    Raises `ConfigError` for arrays whose lengths differ between examples.
    """
    rows = {}
    for name in names:
        values = batch.fields[name]
        array_name = "field_" + name.replace(".", "_")
        if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
            axes = tuple(f"{array_name}_{axis}" for axis in range(values.ndim - 1))
            rows[array_name] = RowArray(values, axes)
        elif isinstance(values, list) and not any(isinstance(value, np.ndarray | bytes) for value in values):
            rows[array_name] = RowArray(_labels(values) if name.endswith("cls") else _texts(map(_as_text, values)))
        else:
            raise ConfigError(
                f"field {name!r} is not a number, a text or an array of one shape in all examples, so it cannot "
                "be a column of an array. Leave it out."
            )
    return rows


def _labels(values: Sequence[int | None]) -> NDArray[np.int64]:
    return np.array([MISSING_LABEL if value is None else value for value in values], np.int64)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _texts(values: Any) -> NDArray[Any]:
    """Texts for UTF-8. A lone surrogate has no UTF-8 and is written as in JSON: backslash, u, four digits."""
    encodable = [text.encode("utf-8", "backslashreplace").decode("utf-8") for text in values]
    return np.array(encodable, np.dtypes.StringDType())
