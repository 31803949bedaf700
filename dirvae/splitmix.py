"""SplitMix64 on tensors: 64-bit words, held in int64, that are random to whoever looks at them.

Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014. The arithmetic wraps around, which
a compiler may assume that whole numbers do not: call it inside an operator of one's own where a model is compiled.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["WEYL", "mixed", "numbered_words", "shifted_right"]

WEYL = 0x9E37_79B9_7F4A_7C15 - 2**64
MIX_1 = 0xBF58_476D_1CE4_E5B9 - 2**64
MIX_2 = 0x94D0_49BB_1331_11EB - 2**64


def numbered_words(keys: Tensor, first: int, num: int) -> Tensor:
    """Words `first` to `first` + `num` of the sequence that begins at each key, (batch,) int64: (batch, num) int64.

    `first` may be below 0; any run of a sequence is a piece of the whole.
    """
    numbers = torch.arange(first, first + num, dtype=torch.int64, device=keys.device)
    return mixed(keys[:, None] + numbers * WEYL)


def mixed(words: Tensor) -> Tensor:
    """The finaliser, elementwise: a bijection of the 64-bit words that leaves 0 where it is."""
    words = (words ^ shifted_right(words, 30)) * MIX_1
    words = (words ^ shifted_right(words, 27)) * MIX_2
    return words ^ shifted_right(words, 31)


def shifted_right(words: Tensor, bits: int) -> Tensor:
    """Shifted by 1 bit or more with zeros coming in: `>>` alone repeats the sign."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)
