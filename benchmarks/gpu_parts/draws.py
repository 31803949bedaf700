"""What a Dirichlet latent costs beside a Gaussian one: a draw and a KL divergence, forward and backward."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from dirvae.latents import Latent, Posterior, make_latent
from gpu_parts.machine import DEVICE, IS_CUDA, now, seconds_per_call

SHAPES = ((128, 32), (128, 256), (32, 16, 8, 8)) if IS_CUDA else ((4, 3), (2, 3, 2, 2))
"""(batch, component, *grid)."""
LATENTS = ("dirichlet", "gaussian")
TIMED_SECONDS = 0.2 if IS_CUDA else 0.01


def draws(shape: tuple[int, ...]) -> dict[str, Any]:
    """Milliseconds and CUDA kernels of a draw and of a KL divergence, each forward and backward, of each latent.

    From the posterior's parameters to a weighted sum of the draw, or to the mean of the divergences.
    """
    found: dict[str, Any] = {"shape": list(shape)}
    for name in LATENTS:
        torch.manual_seed(0)
        latent = make_latent(name, shape[1]).to(DEVICE)
        given = latent.posterior(torch.randn(shape, device=DEVICE)).parameters
        leaves = {key: value.detach().requires_grad_() for key, value in given.items()}
        found[name] = _costs(latent, type(latent.posterior(torch.zeros(shape, device=DEVICE)))(**leaves), leaves)
    return found


def _costs(latent: Latent, posterior: Posterior, leaves: dict[str, Tensor]) -> dict[str, Any]:
    weights = torch.randn_like(next(iter(leaves.values())))
    return {
        "draw": cost(_step(lambda: (posterior.rsample() * weights).sum(), leaves)),
        "kl": cost(_step(lambda: latent.kl(posterior).mean(), leaves)),
    }


def cost(step: Callable[[], object]) -> dict[str, Any]:
    """Milliseconds of a step that follows others, and its kernels, None where the profiler has none."""
    return {"milliseconds": 1000 * seconds_per_call(step, at_least=TIMED_SECONDS), "kernels": count_kernels(step)}


def count_kernels(step: Callable[[], object]) -> int | None:
    """The CUDA kernels that a step starts, or None."""
    if not IS_CUDA:
        return None
    try:
        for _ in range(2):  # the first profile of a process may come out empty
            with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
                step()
                now()
            if num := kernels_among(profiler.events() or ()):
                return num
        return None
    except Exception as error:
        warnings.warn(f"kernels were not counted ({error})", stacklevel=2)
        return None


def kernels_among(events: Iterable[Any]) -> int:
    """How many of a profiler's events are kernels: on the device, and neither copies, fills nor marks."""
    names = [event.name for event in events if event.device_type == DeviceType.CUDA]
    return sum(not name.startswith(("Mem", "ProfilerStep", "Activity")) for name in names)


def _step(forward: Callable[[], Tensor], leaves: dict[str, Tensor]) -> Callable[[], None]:
    def step() -> None:
        for leaf in leaves.values():
            leaf.grad = None
        forward().backward()

    return step
