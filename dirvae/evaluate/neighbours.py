"""How well a latent space separates classes: the error of its nearest neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.float64 import wide

__all__ = ["neighbour_errors"]


@torch.inference_mode()
def neighbour_errors(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    counts: Sequence[int] = (3, 5, 10),
    rows: int = 500,
) -> dict[int, float]:
    """Share of `test` latents that the majority of their k nearest `train` latents misclassify, for k in `counts`.

    Latents (num, K, *grid) by Euclidean distance, labels (num,) int64 from 0. A tie goes to the class whose
    neighbours are nearer. `rows` test latents are processed at a time. ValueError for fewer latents than k, for no k,
    and for one below 1.
    """
    if not counts or min(counts) < 1:
        raise ValueError(f"counts is {list(counts)}; it must hold numbers of neighbours, 1 or more each.")
    largest = max(counts)
    if len(train) < largest or len(test) < 1:
        raise ValueError(
            f"{len(train)} latents to compare with and {len(test)} to classify; {largest} neighbours need at least "
            f"{largest} and 1."
        )
    train, test = wide(train.flatten(1)), wide(test.flatten(1))
    train_labels, test_labels = train_labels.to(train.device), test_labels.to(test.device)
    center = train.mean(0)  # far from the origin, differences of squares would keep no digit of the distances
    train, test = train - center, test - center
    squares = train.square().sum(1)
    num_classes = int(max(train_labels.max(), test_labels.max())) + 1
    wrong = dict.fromkeys(counts, 0)
    for start in range(0, len(test), rows):
        part, truth = test[start : start + rows], test_labels[start : start + rows]
        distances = torch.addmm(squares, part, train.T, alpha=-2)  # the row's own square changes no order
        nearest = distances.topk(largest, dim=1, largest=False).indices
        votes = F.one_hot(train_labels[nearest], num_classes).double()
        for count in counts:
            wrong[count] += int((_winner(votes[:, :count]) != truth).sum())
    return {count: number / len(test) for count, number in wrong.items()}


def _winner(votes: Tensor) -> Tensor:
    """(rows, k, class) one-hot votes, nearest first → (rows,) the class with most, nearer ones deciding a tie."""
    count = votes.shape[1]
    ranks = torch.arange(count, 0, -1, dtype=votes.dtype, device=votes.device)
    weights = 1 + ranks / (count * (count + 1))  # all ranks together weigh one half: never a vote
    return (votes * weights[None, :, None]).sum(1).argmax(1)
