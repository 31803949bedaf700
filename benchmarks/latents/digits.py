"""MNIST and OMNIGLOT as the experiments see them: 28×28 pixels, fixed splits, labels.

The files are read from where they lie and never copied. MNIST: 50,000 to train on, the last 10,000 of the training
file for validation, 10,000 to test. OMNIGLOT: the drawings of 105×105 bits are averaged over boxes of 3.75 pixels,
which is not how the published 28×28 files were made, so likelihoods do not compare with published ones; 23,000 to
train on, 1,345 for validation, 8,115 to test, by a fixed permutation of all; labels are the 50 alphabets.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.order.epoch_order import permutation

__all__ = ["DATASETS", "Digits", "Part", "load_digits", "shrink"]

OMNIGLOT_SPLIT = (23_000, 1_345)
OMNIGLOT_KEY = 20_190_108
SIDE = 28


@dataclass(frozen=True, eq=False)
class Part:
    """Images (num, 784) uint8, ink 255, and their labels (num,) int64."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True, eq=False)
class Digits:
    """The three parts of a data set."""

    train: Part
    validation: Part
    test: Part


def load_digits(name: str, folder: Path) -> Digits:
    """The data set called `name` in `folder`/`name`. SystemExit with a sentence where it is not."""
    try:
        return DATASETS[name](folder / name)
    except FileNotFoundError as error:
        raise SystemExit(f"{error.filename}: not there. Name the folder that holds {name}/ with --data.") from error


def _mnist(folder: Path) -> Digits:
    pixels = _idx(folder / "train-images-idx3-ubyte.gz").reshape(-1, SIDE * SIDE)
    labels = _idx(folder / "train-labels-idx1-ubyte.gz").astype(np.int64)
    test = _idx(folder / "t10k-images-idx3-ubyte.gz").reshape(-1, SIDE * SIDE)
    test_labels = _idx(folder / "t10k-labels-idx1-ubyte.gz").astype(np.int64)
    return Digits(
        Part(pixels[:50_000], labels[:50_000]), Part(pixels[50_000:], labels[50_000:]), Part(test, test_labels)
    )


def _idx(path: Path) -> NDArray[np.uint8]:
    """An idx file of bytes: two zeros, 8 for uint8, the number of axes, their sizes in big-endian, the values."""
    with gzip.open(path) as file:
        content = file.read()
    if content[:3] != b"\0\0\x08":
        raise SystemExit(f"{path}: no idx file of bytes.")
    axes = content[3]
    sizes = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(sizes)


def _omniglot(folder: Path) -> Digits:
    path = folder / "omniglot_105x105_packbits.npz"
    with np.load(path, allow_pickle=False) as file:
        pixels = np.concatenate([_shrunk(file[f"images_{half}"]) for half in ("background", "evaluation")])
        labels = _alphabets(file)
    order = permutation(len(pixels), OMNIGLOT_KEY)
    parts = np.split(order, np.cumsum(OMNIGLOT_SPLIT))
    return Digits(*(Part(pixels[part], labels[part]) for part in parts))


def _alphabets(file: Any) -> NDArray[np.int64]:
    """Alphabet numbers over both halves, each of which counts from 0: the evaluation half's come after the other's."""
    background, evaluation = (
        file[f"images_{half}_alphabet"].astype(np.int64) for half in ("background", "evaluation")
    )
    return np.concatenate([background, evaluation + background.max() + 1])


def _shrunk(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    parts = []
    for start in range(0, len(packed), 1000):
        bits = np.unpackbits(packed[start : start + 1000], axis=1)[:, : 105 * 105].reshape(-1, 105, 105)
        parts.append(np.rint(255 * shrink(bits.astype(np.float32), SIDE)).astype(np.uint8))
    return np.concatenate(parts).reshape(-1, SIDE * SIDE)


def shrink(images: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Square images (num, n, n) averaged over boxes, fractions of pixels counted by area: (num, side, side)."""
    size = images.shape[1]
    edges = np.arange(side + 1) * (size / side)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(size)[None, :]
    weights = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None) * (side / size)
    weights = weights.astype(np.float32)
    small: NDArray[np.float32] = weights @ images @ weights.T
    return small


DATASETS = {"mnist": _mnist, "omniglot": _omniglot}
