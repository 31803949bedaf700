"""How much the components of a latent say about the factors that the data was made from.

The mutual information between each component and each factor, and from it the gap between the best component and the
next (MIG: Chen et al. 2018, arXiv 1802.04942, section 4), by histograms of posterior means as in Locatello et al. 2019
(arXiv 1811.12359), minus what histograms of that few examples show by chance. The share of a factor that a linear map
predicts from the whole latent (informativeness: Eastwood and Williams 2018, "A framework for the quantitative
evaluation of disentangled representations"), as R² on examples that the map was not fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from dirvae.seeding import Purpose, derive_seed

__all__ = [
    "Association",
    "Factor",
    "associate",
    "associate_by_chance",
    "distinct_values",
    "is_plain",
    "make_factor",
    "mutual_information",
]

BINS = 20
SHUFFLES = 5
RIDGE = 1e-3


@dataclass(frozen=True, eq=False)
class Factor:
    """One factor over all examples: `labels` (num,) int64 from 0, its bins or categories; `targets` (num, columns)."""

    name: str
    labels: Tensor
    targets: Tensor


@dataclass(frozen=True, eq=False)
class Association:
    """How a latent represents a factor. Shares are of the factor's entropy, from 0 to 1.

    `shares` (model_size,): mutual information of each component with it, minus the part by chance. `gap`: between
    the largest and the next. `linear`: R² of a linear map from the whole latent, 1 if
    perfect, 0 if useless.
    """

    name: str
    shares: Tensor
    gap: float
    linear: float

    def to_json(self) -> dict[str, Any]:
        """The numbers, the best component first."""
        best = int(self.shares.argmax())
        return {
            "factor": self.name,
            "component": best,
            "share": float(self.shares[best]),
            "gap": self.gap,
            "linear_r2": self.linear,
            "shares": [round(value, 4) for value in self.shares.tolist()],
        }


def make_factor(name: str, values: Sequence[Any], *, circular: bool = False, bins: int = BINS) -> Factor:
    """A factor of numbers, or of categories (text and truth values).

    Numbers are divided into at most `bins` bins of equal counts; if there are no more values than that, each is a bin.
    `circular` ones make one turn from 0 to 1, as hues do: a linear map then predicts their sine and cosine. ValueError
    for a factor of one value, a circular one of text, and a number that is not finite or too large for float64.
    """
    is_category = _is_category(values)
    if not is_category and not all(map(is_plain, values)):
        raise ValueError(f"the factor {name!r} holds a number that is not finite or too large for float64.")
    if is_category and circular:
        raise ValueError(
            f"the factor {name!r} holds text, which cannot be circular; leave it out of the circular ones."
        )
    kinds = {kind: place for place, kind in enumerate(sorted(distinct_values(values)))}
    if len(kinds) < 2:
        raise ValueError(f"the factor {name!r} has the value {values[0]!r} only; it must vary.")
    if is_category:
        labels = torch.tensor([kinds[str(value)] for value in values])
        return Factor(name, labels, torch.nn.functional.one_hot(labels).double())
    numbers = torch.tensor([float(value) for value in values], dtype=torch.float64)
    turns = 2 * math.pi * numbers
    targets = torch.stack([turns.cos(), turns.sin()], 1) if circular else numbers[:, None]
    return Factor(name, _binned(numbers[:, None], bins)[:, 0], targets)


def associate(latents: Tensor, factors: Sequence[Factor], *, bins: int = BINS, seed: int = 0) -> list[Association]:
    """Compare latents (num, K, *grid), averaged over their grid, with factors of the same examples.

    If the examples are so few that shuffled factors fit as well, the shares are zero. ValueError for fewer than 2
    components or examples.
    """
    if min(latents.shape[:2]) < 2:
        raise ValueError(
            f"{latents.shape[0]} examples of {latents.shape[1]} components were given; to compare them with factors "
            "takes 2 or more of each."
        )
    components = latents.double().reshape(*latents.shape[:2], -1).mean(2)
    labels = _binned(components, bins)
    associations = []
    for factor in factors:
        generator = Generator().manual_seed(seed)
        shuffled = [factor.labels[torch.randperm(len(labels), generator=generator)] for _ in range(SHUFFLES)]
        chance = torch.stack([mutual_information(labels, other) for other in shuffled]).mean(0)
        entropy = mutual_information(factor.labels[:, None], factor.labels)[0]
        room = entropy - chance
        above = (mutual_information(labels, factor.labels) - chance) / room.clamp(min=1e-9)
        shares = torch.where(room > 1e-9, above, 0.0).clamp(0, 1)
        top = shares.topk(2).values
        associations.append(
            Association(factor.name, shares, float(top[0] - top[1]), _linear_r2(components, factor.targets, seed))
        )
    return associations


def associate_by_chance(
    latents: Tensor, factors: Sequence[Factor], *, bins: int = BINS, seed: int = 0
) -> list[list[Association]]:
    """What `associate` finds between latents and the factors of other examples: a list for each of five shuffles.

    The largest of many components' shares is above zero even for unrelated factors; this measures by how much.
    """
    found = []
    for index in range(SHUFFLES):
        generator = Generator().manual_seed(derive_seed(seed, Purpose.EVALUATION, index))
        order = torch.randperm(len(latents), generator=generator)
        shuffled = [
            replace(factor, labels=factor.labels[order], targets=factor.targets[order]) for factor in factors
        ]
        found.append(associate(latents, shuffled, bins=bins, seed=seed))
    return found


def mutual_information(labels: Tensor, other: Tensor) -> Tensor:
    """Mutual information in nats between each column of `labels` (num, K) and `other` (num,), both int64 from 0."""
    num, size = labels.shape
    rows, columns = int(labels.max()) + 1, int(other.max()) + 1
    offsets = torch.arange(size) * rows
    cells = ((labels + offsets) * columns + other[:, None]).flatten()
    joint = torch.bincount(cells, minlength=size * rows * columns).view(size, rows, columns).double() / num
    independent = joint.sum(2, keepdim=True) * joint.sum(1, keepdim=True)
    terms = torch.where(joint > 0, joint * (joint / independent.clamp(min=1e-300)).log(), 0.0)
    return terms.sum((1, 2))


def is_plain(value: Any) -> bool:
    """Whether a value can be one of a factor: text, a truth value, or a number that is finite in float64."""
    try:
        return isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value))
    except OverflowError:  # an integer beyond float64
        return False


def _is_category(values: Sequence[Any]) -> bool:
    return any(isinstance(value, str | bool) for value in values)


def distinct_values(values: Sequence[Any]) -> set[Any]:
    """The different values of a factor, at least one; 1 and 1.0 are the same."""
    return {str(value) for value in values} if _is_category(values) else {float(value) for value in values}


def _binned(values: Tensor, bins: int) -> Tensor:
    """Bins for each column of (num, columns) → int64 of that shape, from 0; equal values are in one bin.

    One bin per value if there are at most `bins` of them, otherwise bins of equal counts. A column that varies has at
    least two bins, even if all values but one are rare.
    """
    bins = max(2, min(bins, len(values) // 5))
    return torch.stack([_binned_column(column.contiguous(), bins) for column in values.T], 1)


def _binned_column(column: Tensor, bins: int) -> Tensor:
    kinds = torch.unique(column)
    if len(kinds) <= bins:
        return torch.searchsorted(kinds, column)
    places = torch.arange(1, bins, dtype=column.dtype) / bins
    edges = torch.quantile(column, places, interpolation="lower").clamp(max=kinds[-2])  # the last value is above
    return torch.searchsorted(torch.unique(edges), column)


def _linear_r2(components: Tensor, targets: Tensor, seed: int) -> float:
    """R² of ridge regression, fitted to a random half of the examples and measured on the other, and the reverse."""
    targets = targets / targets.abs().max()  # or the squares of the largest numbers would not be finite
    order = torch.randperm(len(components), generator=Generator().manual_seed(seed))
    halves = order.chunk(2)
    left, total = 0.0, 0.0
    for fitted, tested in (halves, halves[::-1]):
        mean, spread = components[fitted].mean(0), components[fitted].std(0, correction=0).clamp(min=1e-12)
        inputs = (components - mean) / spread
        center = targets[fitted].mean(0)
        gram = inputs[fitted].T @ inputs[fitted] + RIDGE * len(fitted) * torch.eye(
            inputs.shape[1], dtype=inputs.dtype
        )
        weights = torch.linalg.solve(gram, inputs[fitted].T @ (targets[fitted] - center))
        left += float((targets[tested] - center - inputs[tested] @ weights).square().sum())
        total += float((targets[tested] - center).square().sum())
    return 1 - left / total
