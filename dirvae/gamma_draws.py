"""Draws of gammas by torch's own sampler, whose gradient a compiler can trace as well."""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from dirvae.example_draws import gamma_gradient

__all__ = ["gamma_draw"]


def gamma_draw(shape: Tensor, generator: Generator | None) -> Tensor:
    """Draws of Gamma(shape, 1) with implicit gradients: torch's own, but for a compiler, which cannot trace these.

    It does not know what torch's gradient gives for batches of any size.
    """
    if not torch.compiler.is_compiling():
        return torch._standard_gamma(shape, generator=generator)
    with torch.no_grad():
        drawn = torch._standard_gamma(shape.detach(), generator=generator)
    found: Tensor = _implicit_gamma(shape, drawn)
    return found


@torch.library.custom_op("dirvae::implicit_gamma", mutates_args=())
def _implicit_gamma(shape: Tensor, drawn: Tensor) -> Tensor:
    return drawn.clone(memory_format=torch.contiguous_format)


@_implicit_gamma.register_fake
def _(shape: Tensor, drawn: Tensor) -> Tensor:
    return shape.new_empty(shape.shape)


def _set_up(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    return gradient * gamma_gradient(*ctx.saved_tensors), None


_implicit_gamma.register_autograd(_backward, setup_context=_set_up)
