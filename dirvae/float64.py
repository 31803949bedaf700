"""float64 on every device: on those that have none, such as Apple's GPUs, it is computed on the CPU.

Densities and divergences are differences of large numbers, for which float32 is not enough (docs/latents.md has its
errors). The tensors are small, (batch, model_size, *grid), so a device without float64 sends them to the CPU and takes
the result back. Gradients go the same way. Each way waits for the device, once per function that is called.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Self

import torch
from torch import Generator, Tensor, nn

from dirvae import noise

__all__ = ["KeepsFloat64", "has_float64", "narrow", "wide", "wide_device", "wide_exponential", "wide_here"]

_HAVE_FLOAT64 = ("cpu", "cuda", "meta")


def has_float64(device: torch.device) -> bool:
    """Whether a device, which must be there, computes in float64; CPUs and CUDA's GPUs do, others are tried once."""
    return device.type in _HAVE_FLOAT64 or _computes_float64(device)


def wide_device(device: torch.device) -> torch.device:
    """Where what lies on `device` is computed in float64: there, or on the CPU."""
    return device if has_float64(device) else torch.device("cpu")


def wide(x: Tensor) -> Tensor:
    """Any tensor in float64, on its `wide_device`; differentiable."""
    return x.double() if has_float64(x.device) else x.cpu().double()


def wide_here(x: Tensor) -> Tensor:
    """Any tensor in the widest type of its own device, float64 or float32: where float32 has been measured."""
    return x.double() if has_float64(x.device) else x.float()


def narrow(x: Tensor, like: Tensor) -> Tensor:
    """A result of `wide` tensors, of any shape, in the dtype and on the device of `like`; differentiable."""
    return x.to(like.dtype).to(like.device)  # in this order, both ways: the device never sees float64


def wide_exponential(like: Tensor, generator: Generator | None = None) -> Tensor:
    """Draws of Exp(1) as `wide` makes `like`; of float32 where the device has no more, and then never 0.

    `generator` is one of the device of `like`.
    """
    if has_float64(like.device):
        return noise.exponential(like.double(), generator)
    drawn = noise.exponential(like.float(), generator)
    return wide(drawn.clamp(min=torch.finfo(torch.float32).tiny))


class KeepsFloat64(nn.Module):
    """A module whose own buffers of float64 stay on the CPU where it goes to a device without float64."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What moves or casts a module."""
        exact = {
            name: value
            for name, value in self._buffers.items()
            if value is not None and value.dtype == torch.float64
        }
        if exact and not has_float64(fn(torch.empty(0)).device):
            self._buffers.update(dict.fromkeys(exact))
            try:
                super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            finally:
                self._buffers.update({name: value.cpu() for name, value in exact.items()})
        else:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self


@functools.cache
def _computes_float64(device: torch.device) -> bool:
    try:
        bool((torch.ones(1, dtype=torch.float64, device=device) + 1).sum() == 2)
    except (RuntimeError, TypeError):
        return False
    return True
