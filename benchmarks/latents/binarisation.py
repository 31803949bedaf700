"""Grey pixels drawn as black or white, afresh in every epoch and always alike: noise keyed by place.

Pixel v of 255 is white with probability v/255 (to 2⁻¹⁷). The noise of an image is a function of (seed, epoch,
image): 16 bits per pixel of a Philox stream of the epoch's own, at the image's place in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipelines.order.epoch_order import permutation
from pipelines.order.randomness import derive_key, philox_words

__all__ = ["BinarisedBatches", "DrawnBatch", "binarise", "draw_all", "epoch_noise"]

NOISE, ORDER = 1, 2
LIMITS = np.rint(np.arange(256) / 255 * 65_536).astype(np.int32)


def epoch_noise(num: int, pixels: int, *, seed: int, epoch: int) -> NDArray[np.uint16]:
    """Noise of all images in an epoch: (num, pixels) uint16; `pixels` is a multiple of 4."""
    words = philox_words(num * pixels // 4, derive_key(seed, NOISE, epoch))
    return words.view(np.uint16).reshape(num, pixels)


def binarise(pixels: NDArray[np.uint8], noise: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Zeros and ones, one with probability pixel/255: two (num, pixels) → float32 of that shape."""
    return (noise < LIMITS[pixels]).astype(np.float32)


def draw_all(pixels: NDArray[np.uint8], *, seed: int) -> Tensor:
    """All images binarised once, as test images are: (num, 784) uint8 → (num, 1, 28, 28) float32."""
    noise = epoch_noise(*pixels.shape, seed=seed, epoch=0)
    return torch.from_numpy(binarise(pixels, noise)).view(-1, 1, 28, 28)


@dataclass(frozen=True, eq=False)
class DrawnBatch:
    """A batch (batch, 1, 28, 28) float32 of zeros and ones, and where the epoch stands after it."""

    data: Tensor
    state: dict[str, int]


class BinarisedBatches:
    """Images (num, 784) uint8 in memory as batches, shuffled and binarised afresh in every epoch.

    An epoch is whole batches; what is left over waits for another order. Iterating continues from the state.
    """

    def __init__(self, pixels: NDArray[np.uint8], *, batch_size: int, seed: int) -> None:
        self._pixels, self._batch_size, self._seed = pixels, batch_size, seed
        self._state = {"epoch": 0, "position": 0}

    def __len__(self) -> int:
        return len(self._pixels) // self._batch_size

    def state_dict(self) -> dict[str, Any]:
        """Epoch, and batches of it that are done."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`, or from a batch's `state`."""
        self._state = dict(state)

    def __iter__(self) -> Iterator[DrawnBatch]:
        epoch = self._state["epoch"]
        noise = epoch_noise(*self._pixels.shape, seed=self._seed, epoch=epoch)
        order = permutation(len(self._pixels), derive_key(self._seed, ORDER, epoch))
        for position in range(self._state["position"], len(self)):
            chosen = order[position * self._batch_size : (position + 1) * self._batch_size]
            data = torch.from_numpy(binarise(self._pixels[chosen], noise[chosen]))
            is_last = position + 1 == len(self)
            self._state = {"epoch": epoch + is_last, "position": 0 if is_last else position + 1}
            yield DrawnBatch(data.view(-1, 1, 28, 28), dict(self._state))
