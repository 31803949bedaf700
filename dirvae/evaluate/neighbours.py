"""How well a latent space separates classes: by its nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dirvae.float64 import wide, wide_device

__all__ = ["average_precision", "neighbour_errors", "neighbour_precisions"]


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
    device = wide_device(train.device)
    train_labels, test_labels = train_labels.to(device), test_labels.to(device)
    wrong = dict.fromkeys(counts, 0)
    for start, nearest in _nearest(train, test, counts, rows):
        num_classes = int(max(train_labels.max(), test_labels.max())) + 1
        votes = F.one_hot(train_labels[nearest], num_classes)
        truth = test_labels[start : start + rows]
        for count in counts:
            wrong[count] += int((_weighed(votes[:, :count]).argmax(1) != truth).sum())
    return {count: number / len(test) for count, number in wrong.items()}


@torch.inference_mode()
def neighbour_precisions(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    test_labels: Tensor,
    *,
    counts: Sequence[int] = (3, 5, 10),
    rows: int = 500,
) -> dict[int, float]:
    """Average precision of ranking `test` latents by how many of their k nearest `train` latents are true, per k.

    As `neighbour_errors`, but labels (num,) are truth values. With equal numbers of true neighbours, the latent whose
    true neighbours are nearer comes first. ValueError also if no test label is true.
    """
    device = wide_device(train.device)
    train_labels, test_labels = train_labels.to(device), test_labels.to(device)
    scores: dict[int, list[Tensor]] = {count: [] for count in counts}
    for _, nearest in _nearest(train, test, counts, rows):
        votes = train_labels[nearest].long()[..., None]
        for count in counts:
            scores[count].append(_weighed(votes[:, :count])[:, 0])
    return {count: average_precision(torch.cat(found), test_labels) for count, found in scores.items()}


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """Average precision of ranking examples by `scores` (num,), highest first, to find the true `truth` (num,) bool.

    The precision down to each score, weighted by the recall that this score adds, in (0, 1]. Examples of equal score
    count together, so their order does not matter. By chance it is about the share of true examples. ValueError if no
    example is true.
    """
    if not truth.any():
        raise ValueError("no example is to be found; an average precision needs 1 or more.")
    kinds, places = torch.unique(-scores, return_inverse=True)  # the highest score first
    found = torch.bincount(places, truth.double(), minlength=len(kinds))
    down_to = torch.bincount(places, minlength=len(kinds)).cumsum(0)
    return float((found.cumsum(0) / down_to * found).sum() / found.sum())


def _nearest(train: Tensor, test: Tensor, counts: Sequence[int], rows: int) -> Iterator[tuple[int, Tensor]]:
    """The first index of each block of `test` latents, and their neighbours in `train` (rows, k), nearest first."""
    if not counts or min(counts) < 1:
        raise ValueError(f"counts is {list(counts)}; it must hold numbers of neighbours, 1 or more each.")
    largest = max(counts)
    if len(train) < largest or len(test) < 1:
        raise ValueError(
            f"{len(train)} latents to compare with and {len(test)} to classify; {largest} neighbours need at least "
            f"{largest} and 1."
        )
    train, test = wide(train.flatten(1)), wide(test.flatten(1))
    center = train.mean(0)  # far from the origin, differences of squares would keep no digit of the distances
    train, test = train - center, test - center
    squares = train.square().sum(1)
    for start in range(0, len(test), rows):
        part = test[start : start + rows]
        distances = torch.addmm(squares, part, train.T, alpha=-2)  # the row's own square changes no order
        yield start, distances.topk(largest, dim=1, largest=False).indices


def _weighed(votes: Tensor) -> Tensor:
    """(rows, k, class) int64 votes, nearest first → (rows, class): their number, ties broken by the nearer ones."""
    count = votes.shape[1]
    ranks = torch.arange(count, 0, -1, device=votes.device)
    weights = count * (count + 1) + ranks  # all ranks together are half a vote
    return (votes * weights[None, :, None]).sum(1)
