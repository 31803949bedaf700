"""The draws of `dirvae.noise`: operators that draw for examples, each from its key and the number of the draw.

They are made of the words of SplitMix64 with element numbers, by formulas, so that nothing waits for the device. Gammas
on a CPU are torch's own sampler after `manual_seed` for each example, which is several times as fast there; its
generator (mt19937) takes 32 bits of a seed. They are operators because a compiler must neither look into whole numbers
that wrap around nor into Python's generators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from dirvae.splitmix import WEYL, mixed, numbered_words, shifted_right

__all__ = ["draw_exponential", "draw_gamma", "draw_normal", "draw_words", "gamma_gradient"]

ROUNDS = 8
"""Proposals per gamma. One is refused in 4.8 % of cases at most, all of them in 3e-11: then the draw is α - 1/3."""
RADIUS_BITS = 40
"""Of a normal's word; the others are its angle."""
EXPONENTIAL_BITS = 52

_is_counted_on_cpu = False
"""For tests: gammas on the CPU as other devices draw them."""


@torch.library.custom_op(
    "dirvae::example_gamma", mutates_args=(), schema="(Tensor concentration, Tensor keys, Tensor number) -> Tensor"
)
def draw_gamma(concentration: Tensor, keys: Tensor, number: Tensor) -> Tensor:
    """Draws of Gamma(concentration, 1), of its shape and dtype; the gradient is implicit."""
    rows = concentration.detach().reshape(len(keys), -1)
    if _is_counted(keys):
        drawn = _to_gamma(rows.to(_type_of_formulas(rows.dtype)), _keys_of_draw(keys, number)).to(rows.dtype)
    else:
        parts = zip(rows.unbind(), _generators(keys, number), strict=True)
        drawn = torch.stack([torch._standard_gamma(part, generator=generator) for part, generator in parts])
    return drawn.view(concentration.shape)


@draw_gamma.register_fake
def _(concentration: Tensor, keys: Tensor, number: Tensor) -> Tensor:
    return concentration.new_empty(concentration.shape)


@torch.library.custom_op(
    "dirvae::gamma_gradient", mutates_args=(), schema="(Tensor concentration, Tensor drawn) -> Tensor"
)
def gamma_gradient(concentration: Tensor, drawn: Tensor) -> Tensor:
    """Of a draw by its concentration (Figurnov et al. 2018, arXiv 1805.08498); torch's own is not for varying sizes."""
    return torch._standard_gamma_grad(concentration, drawn).contiguous()


@gamma_gradient.register_fake
def _(concentration: Tensor, drawn: Tensor) -> Tensor:
    return drawn.new_empty(drawn.shape)


def _keep_gamma(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], output)


def _gamma_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    return gradient * gamma_gradient(*ctx.saved_tensors), None, None


draw_gamma.register_autograd(_gamma_backward, setup_context=_keep_gamma)

_LIKE = "(Tensor keys, Tensor number, SymInt[] shape, ScalarType dtype) -> Tensor"


@torch.library.custom_op("dirvae::example_exponential", mutates_args=(), schema=_LIKE)
def draw_exponential(keys: Tensor, number: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Draws of Exp(1)."""
    return _draw(keys, number, shape, dtype, _to_exponential)


@torch.library.custom_op("dirvae::example_normal", mutates_args=(), schema=_LIKE)
def draw_normal(keys: Tensor, number: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Draws of the standard normal."""
    return _draw(keys, number, shape, dtype, _to_normal)


@draw_exponential.register_fake
@draw_normal.register_fake
def _(keys: Tensor, number: Tensor, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return keys.new_empty(shape, dtype=dtype)


@torch.library.custom_op(
    "dirvae::example_words", mutates_args=(), schema="(Tensor keys, Tensor number, SymInt num) -> Tensor"
)
def draw_words(keys: Tensor, number: Tensor, num: int) -> Tensor:
    """Words that are random in all 64 bits, (batch, num) int64, the same on all devices."""
    return numbered_words(_keys_of_draw(keys, number), 0, num)


@draw_words.register_fake
def _(keys: Tensor, number: Tensor, num: int) -> Tensor:
    return keys.new_empty((keys.shape[0], num))


def _draw(
    keys: Tensor,
    number: Tensor,
    shape: Sequence[int],
    dtype: torch.dtype,
    formula: Callable[[Tensor, torch.dtype], Tensor],
) -> Tensor:
    words = numbered_words(_keys_of_draw(keys, number), 0, math.prod(shape) // len(keys))
    return formula(words, _type_of_formulas(dtype)).to(dtype).view(*shape)


def _is_counted(keys: Tensor) -> bool:
    return _is_counted_on_cpu or keys.device.type != "cpu"


def _keys_of_draw(keys: Tensor, number: Tensor) -> Tensor:
    return mixed(keys + (number + 1) * WEYL)


def _generators(keys: Tensor, number: Tensor) -> Iterator[Generator]:
    """One generator of the CPU, seeded for each example in turn."""
    generator = Generator()
    for key in _keys_of_draw(keys, number).tolist():
        yield generator.manual_seed(key)


def _type_of_formulas(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _to_exponential(words: Tensor, dtype: torch.dtype, bits: int = EXPONENTIAL_BITS) -> Tensor:
    """-log U, elementwise, U made of the upper bits of words: (n + 1/2) / 2^bits, never 0 and never 1.

    Of U and 1 - U the smaller one is made, in which even float32 keeps all that it needs.
    """
    numbers = shifted_right(words, 64 - bits)
    is_upper = numbers >= 1 << (bits - 1)
    smaller = (torch.where(is_upper, (1 << bits) - 1 - numbers, numbers).to(dtype) + 0.5) * 2.0**-bits
    return torch.where(is_upper, -torch.log1p(-smaller), -torch.log(smaller))


def _to_normal(words: Tensor, dtype: torch.dtype) -> Tensor:
    """Normals by one half of Box and Muller's pairs (1958), elementwise."""
    angle_bits = 64 - RADIUS_BITS
    radius = (2 * _to_exponential(words, dtype, RADIUS_BITS)).sqrt()
    angle = (words & ((1 << angle_bits) - 1)).to(dtype) * (2 * math.pi * 2.0**-angle_bits)
    return radius * torch.cos(angle)


def _to_gamma(concentration: Tensor, keys: Tensor) -> Tensor:
    """Gammas d (1 + t)³ of concentrations α (batch, element) of 1 or more: t = x/√(9d), d = α - 1/3, x normal.

    The first of some proposals that is accepted, log U < x²/2 + d (1 - v + log v) with v = (1 + t)³ (Marsaglia and
    Tsang 2000, "A simple method for generating gamma variables").
    """
    num = concentration.shape[1]
    words = numbered_words(keys, 0, num * 2 * ROUNDS).view(len(keys), num, 2, ROUNDS)
    x = _to_normal(words[:, :, 0], concentration.dtype)
    surprise = _to_exponential(words[:, :, 1], concentration.dtype)
    d = (concentration - 1 / 3)[:, :, None]
    t = x / (9 * d).sqrt()
    log_ratio = d * (3 * torch.log1p(t.clamp(min=-1)) - t * (3 + t * (3 + t)))  # -inf where v is not above 0
    is_accepted = -surprise < 0.5 * x.square() + log_ratio
    rounds = torch.arange(ROUNDS, device=keys.device)
    first = torch.where(is_accepted, rounds, ROUNDS - 1).amin(2, keepdim=True)
    return (d * (1 + torch.where(is_accepted, t, 0).gather(2, first)).pow(3))[:, :, 0]
