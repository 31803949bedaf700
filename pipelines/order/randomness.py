"""Random numbers as a function of place: no generator that runs, nothing to save.

Order is a file format, so its keys come from raw Philox words and the integer mixing below, never from the
methods of `numpy.random.Generator`, whose streams may change between versions of NumPy.

Sources: Philox4x64-10, Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (NumPy's bit
generator); the mixing is the finaliser of SplitMix64, Steele, Lea & Flood 2014.
"""

from __future__ import annotations

import threading
from enum import IntEnum
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Place", "Purpose", "derive_key", "keyed_words", "mix64", "mix_word", "philox_words"]

Words = NDArray[np.uint64]

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Purpose(IntEnum):
    """What a key is for, so that two uses of one seed never share random numbers. Its numbers are part of the
    format.
    """

    ORDER = 1
    SHARDS = 2
    WINDOW = 3
    HELD_OUT = 4
    AUGMENT = 5
    SUBSTITUTE = 6
    PACKING = 7
    TRANSFORM = 8
    MIXTURE = 9


def mix64(words: Words) -> Words:
    """SplitMix64's finaliser, element by element: uint64 → uint64, a bijection. The argument is not changed."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def mix_word(word: int) -> int:
    """The same for one number of 64 bits; higher bits are cut off."""
    word &= _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)


def derive_key(*parts: int) -> int:
    """A 64-bit key from whole numbers of any size and sign; another order or count of parts is another key."""
    key = mix_word(len(parts) + _GOLDEN)
    for part in parts:
        number, rest = part & _MASK, part >> 64
        key = mix_word(((key + _GOLDEN) & _MASK) ^ mix_word(number + _GOLDEN))
        while rest not in (0, -1):
            number, rest = rest & _MASK, rest >> 64
            key = mix_word(((key + _GOLDEN) & _MASK) ^ mix_word(number + 2 * _GOLDEN))
        key = mix_word(key + (_GOLDEN if rest else 0))
    return key


def philox_words(num: int, key: int) -> Words:
    """The first `num` raw words of Philox4x64-10 under a 64-bit key: (num,) uint64."""
    words: Words = np.random.Philox(key=np.array([key & _MASK, 0], np.uint64)).random_raw(num)
    return words


def keyed_words(key: int, positions: NDArray[np.int64], num: int) -> Words:
    """`num` random words for each position, independent of which positions are asked for together.

    (len(positions), num) uint64: word j of position p is mix64(mix64(key + golden·(p + 1)) + golden·(j + 1)).
    """
    rows = mix64(np.uint64(key & _MASK) + np.uint64(_GOLDEN) * (positions.astype(np.uint64) + np.uint64(1)))
    columns = np.uint64(_GOLDEN) * np.arange(1, num + 1, dtype=np.uint64)
    return mix64(rows[:, None] + columns[None, :])


class Place(NamedTuple):
    """Where in the run an example stands; all randomness in decoding it follows from that."""

    seed: int
    epoch: int
    position: int

    def words(self, num: int) -> list[int]:
        """`num` 64-bit words for the augmentations of the library itself."""
        key = derive_key(self.seed, Purpose.AUGMENT, self.epoch)
        word = mix_word(key + _GOLDEN * (self.position + 1))
        return [mix_word(word + _GOLDEN * (j + 1)) for j in range(num)]

    def generator(self) -> np.random.Generator:
        """A NumPy generator of this place's own, for a user's `transform` or decoder."""
        key = np.array([_transform_key(self.seed, self.epoch), self.position], np.uint64)
        return np.random.Generator(np.random.Philox(key=key))

    def lend_generator(self) -> np.random.Generator:
        """The same numbers as `generator`, from the calling thread's one generator, set to this place.

        It takes a twentieth of the time; what was lent before to the same thread moves along.
        """
        return _lent.generator.at(_transform_key(self.seed, self.epoch), self.position)


@lru_cache(maxsize=64)
def _transform_key(seed: int, epoch: int) -> int:
    return derive_key(seed, Purpose.TRANSFORM, epoch)


class _LentGenerator:
    """Setting the key of a generator is cheap, making one is not (NumPy seeds each from the system)."""

    __slots__ = ("_bits", "_generator", "_key", "_state")

    def __init__(self) -> None:
        self._bits = np.random.Philox(key=0)
        self._generator = np.random.Generator(self._bits)
        self._key = [0, 0]
        inner = {"counter": [0, 0, 0, 0], "key": self._key}
        rest = {"buffer": [0, 0, 0, 0], "buffer_pos": 4, "has_uint32": 0, "uinteger": 0}
        self._state: Any = {"bit_generator": "Philox", "state": inner, **rest}

    def at(self, key: int, position: int) -> np.random.Generator:
        self._key[0] = key
        self._key[1] = position
        self._bits.state = self._state
        return self._generator


class _Lent(threading.local):
    """One generator per thread."""

    def __init__(self) -> None:
        self.generator = _LentGenerator()


_lent = _Lent()
