"""Noise keyed by example: what is drawn for an example does not depend on what else is in its batch.

    with example_noise(seeds):        # (batch,) int64, one seed per example
        out = model(x)                # draw 0, draw 1, … of each example

Every draw in here is numbered, from 0 where the context begins, and is a function of (seed, number) for each example
alone. So one process with a batch of 8, two with 4 each, and two batches of 4 whose gradients are added draw the same.
Outside the context, and where a generator is given, draws are torch's own. Gammas differ between a CPU and other
devices; all other draws are the same on all, within rounding (`dirvae.example_draws`).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, Tensor

from dirvae.example_draws import draw_exponential, draw_gamma, draw_normal, draw_words
from dirvae.gamma_draws import gamma_draw
from dirvae.splitmix import mixed, shifted_right
from dirvae.transfer import send

__all__ = ["example_noise", "exponential", "normal", "repeatable", "seeds", "standard_gamma", "uniform"]

SEED_BITS = 62
UNIFORM_BITS = 23


class _Place:
    """Where in the noise the process is: keys of the examples, (batch,) int64, and the number of the next draw.

    Both are tensors, which a compiler takes as inputs: numbers would be constants of what it compiles.
    """

    keys: Tensor | None = None
    number: Tensor | None = None


_place = _Place()


@contextmanager
def example_noise(seeds: Tensor) -> Iterator[None]:
    """Within this context draws are made per example: `seeds` (batch,) int64, best on the device of the model.

    The first axis of a draw is num_examples · m, all rows of an example side by side; another length raises
    `ValueError`. Entered again with the same seeds, it repeats every draw; contexts within it have noise of their own.
    It holds for all threads of the process. What is computed again in a backward pass needs `repeatable`.
    Raises `ValueError` for seeds of another dtype or shape.
    """
    if seeds.dtype != torch.int64 or seeds.ndim != 1 or not len(seeds):
        raise ValueError(f"seeds is {seeds.dtype} of shape {tuple(seeds.shape)}; give one int64 per example.")
    keys = mixed(seeds.detach())
    if dynamo := sys.modules.get("torch._dynamo"):  # a batch of another size is not compiled again
        dynamo.maybe_mark_dynamic(keys, 0)
    with _placed(keys, torch.zeros((), dtype=torch.int64, device=keys.device)):
        yield


def repeatable(call: Callable[..., Any], run: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """`call(run, *arguments, **named)`, for a `call` that may run it again later and must draw the same then.

    Such is `torch.utils.checkpoint.checkpoint`, which computes again in the backward pass.
    """
    if _place.keys is None:
        return call(run, *arguments, **named)
    result, _place.number = call(_drawn_from, _place.keys, _place.number, run, *arguments, **named)
    return result


def _drawn_from(
    keys: Tensor, number: Tensor, run: Callable[..., Any], *arguments: Any, **named: Any
) -> tuple[Any, Tensor | None]:
    """The result of `run` from a place in the noise, and the number of the draw after it."""
    with _placed(keys, number):
        return run(*arguments, **named), _place.number


@contextmanager
def _placed(keys: Tensor | None, number: Tensor | None) -> Iterator[None]:
    before = _place.keys, _place.number
    _place.keys, _place.number = keys, number
    try:
        yield
    finally:
        _place.keys, _place.number = before


def standard_gamma(concentration: Tensor, generator: Generator | None = None) -> Tensor:
    """Draws of Gamma(concentration, 1), of its shape and dtype; differentiable, by implicit gradients.

    Within `example_noise` the concentration must be 1 or more: below, devices other than the CPU draw another law.
    """
    if generator is not None or _place.keys is None:
        return gamma_draw(concentration, generator)
    drawn: Tensor = draw_gamma(concentration, *_next_keys(concentration.shape, concentration.device))
    return drawn


def exponential(like: Tensor, generator: Generator | None = None) -> Tensor:
    """Draws of Exp(1), of the shape and dtype of `like`; never 0 within `example_noise`."""
    if generator is not None or _place.keys is None:
        return torch.empty_like(like).exponential_(generator=generator)
    drawn: Tensor = draw_exponential(*_next_keys(like.shape, like.device), like.shape, like.dtype)
    return drawn


def normal(like: Tensor, generator: Generator | None = None) -> Tensor:
    """Draws of the standard normal, of the shape and dtype of `like`."""
    if generator is not None or _place.keys is None:
        return torch.empty_like(like).normal_(generator=generator)
    drawn: Tensor = draw_normal(*_next_keys(like.shape, like.device), like.shape, like.dtype)
    return drawn


def uniform(
    shape: Sequence[int], device: torch.device, generator: Generator | None = None, *, axis: int = 0
) -> Tensor:
    """Uniform draws between 0 and 1 on a device, float32 of a shape whose `axis` is that of the examples.

    Drawn where the generator is, or on the CPU, from [0, 1); within `example_noise` on the device, from (0, 1), and the
    same on all devices.
    """
    if generator is not None or _place.keys is None:
        return send(torch.rand(*shape, generator=generator, device=_device_of(generator)), device)
    examples_first = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    words = _words(examples_first, device)
    return ((shifted_right(words, 64 - UNIFORM_BITS).float() + 0.5) * 2.0**-UNIFORM_BITS).movedim(0, axis)


def seeds(num: int, device: torch.device, generator: Generator | None = None) -> Tensor:
    """Seeds of other noise, (num,) int64 from 0 to 2^62 on a device.

    Drawn where the generator is, or on the CPU; within `example_noise` on the device, and the same on all devices.
    """
    if generator is not None or _place.keys is None:
        drawn = torch.randint(2**SEED_BITS, (num,), generator=generator, device=_device_of(generator))
        return send(drawn, device)
    return shifted_right(_words((num,), device), 64 - SEED_BITS)


def _device_of(generator: Generator | None) -> torch.device:
    return torch.device("cpu") if generator is None else generator.device


def _words(shape: Sequence[int], device: torch.device) -> Tensor:
    keys, number = _next_keys(shape, device)
    words: Tensor = draw_words(keys, number, math.prod(shape) // len(keys))
    return words.view(*shape)


def _next_keys(shape: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Keys and number of the next draw, which is of this shape."""
    keys, number = _place.keys, _place.number
    assert keys is not None
    assert number is not None
    num_examples = keys.shape[0]
    if not shape or shape[0] == 0 or shape[0] % num_examples:
        raise ValueError(
            f"a draw of shape {tuple(shape)} within example_noise of {num_examples} examples; its first axis must be "
            f"{num_examples} or a multiple, the rows of an example side by side. Give what is no draw per example a "
            "generator."
        )
    _place.number = number + 1
    return keys.to(device), number.to(device)
