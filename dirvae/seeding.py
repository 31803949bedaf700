"""Seeds as a function of the place in a run, so that no generator's state has to be saved.

Every step, every evaluation batch and every picture has its own seed, an integer hash of (run seed, purpose, index);
resuming at a step needs only the number of that step.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray

from pipelines.order.randomness import mix64, mix_word

__all__ = [
    "Purpose",
    "derive_seed",
    "example_seeds",
    "seed_all_generators",
    "seed_generators",
    "seeded",
    "seeded_everywhere",
]

_WORD = 0xFFFF_FFFF_FFFF_FFFF
_GOLDEN = 0x9E37_79B9_7F4A_7C15


class Purpose(IntEnum):
    """What a seed is for. The numbers are part of what makes a run repeatable: append, never renumber."""

    WEIGHTS = 1
    STEP = 2
    EVALUATION = 3
    PICTURES = 4
    EPOCH = 5
    IMPORTANCE = 6
    PROPOSAL = 7
    CALLERS_EVALUATION = 8
    EXAMPLE = 9


def derive_seed(seed: int, purpose: Purpose, index: int = 0) -> int:
    """The 64-bit seed of one place: a chain of SplitMix64 finalisers over (seed, purpose, index).

    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    word = 0
    for part in (seed, int(purpose), index):
        word = mix_word((word ^ (part & _WORD)) + _GOLDEN)
    return word


def example_seeds(seed: int, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """The seed of each example: where it stands, (num, parts) int64, such as epoch and position → (num,) int64."""
    words = np.full(len(places), derive_seed(seed, Purpose.EXAMPLE), np.uint64)
    for column in places.T:
        words = mix64((words ^ column.astype(np.uint64)) + np.uint64(_GOLDEN))
    return words.view(np.int64)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block with torch's generators (CPU and `device`) seeded; the caller's are restored afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        seed_generators(seed, device)
        yield


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch's generators of the CPU and `device` with the numbers of `torch.manual_seed`, without other devices'.

    This is a hundred times as fast: for each device that is not in use yet, `torch.manual_seed` records a stack trace,
    to seed it later.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
        return
    module = torch.get_device_module(device)
    generators = getattr(module, "default_generators", ())  # empty until the device is in use
    if not generators:
        torch.manual_seed(seed)
        return
    torch.default_generator.manual_seed(seed)
    generators[module.current_device() if device.index is None else device.index].manual_seed(seed)


@contextmanager
def seeded_everywhere(seed: int, device: torch.device) -> Iterator[None]:
    """Run a block with torch's generators (CPU and `device`), NumPy's and Python's global ones seeded.

    All of the caller's are restored afterwards.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002 - callers' data may draw there
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            seed_all_generators(seed, device)
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)  # noqa: NPY002


def seed_all_generators(seed: int, device: torch.device) -> None:
    """Seed torch's generators like `seed_generators`, and the global ones of NumPy and Python."""
    seed_generators(seed, device)
    random.seed(seed)
    np.random.seed((seed & 0xFFFF_FFFF, seed >> 32 & 0xFFFF_FFFF))  # noqa: NPY002
