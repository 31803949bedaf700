"""Activation checkpointing: what lies between parts of a model is kept, what is inside them is computed again.

    forward    x ─▶ part ─▶ x ─▶ part ─▶ x ─▶ part ─▶ loss      kept: each x
    backward                          part again ◀── gradient      with the same noise

Chen et al. 2016, "Training deep nets with sublinear memory cost" (arXiv 1604.06174); by `torch.utils.checkpoint`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dirvae import noise
from dirvae.training.errors import ConfigError

__all__ = ["CheckpointedActivations"]

Forward = Callable[..., Any]
FEWEST_LAYERS = 3
"""Of two, nothing would be forgotten that is worth the time."""
COMPILED = {"skip_fwd_side_effects_in_bwd_under_checkpoint": True}
"""What compiled parts compute again, they draw again by themselves: the place in the noise need not move twice."""


class CheckpointedActivations:
    """Computes the activations of a model's parts again in the backward pass, within `applied()`.

    The parts are those that the model's `activation_parts()` names, each as a whole; where there are none, the layers
    of each `nn.Sequential` that is not inside another one, in about as many groups as a group has layers. Gradients are
    what they were, to the bit on a CPU: parts draw the same noise again, from torch's global generators or that of
    examples (`dirvae.noise`), and their buffers change once. Raises `ConfigError` for a model that has no such part.
    """

    def __init__(self, model: nn.Module) -> None:
        named: Callable[[], Sequence[nn.Module]] | None = getattr(model, "activation_parts", None)
        parts = [] if named is None else named()
        if parts:
            self._forwards = [(part, _again(part.forward, [part])) for part in parts]
        else:
            self._forwards = [(part, _in_groups(part)) for part in _outermost(model)]
        if not self._forwards:
            raise ConfigError(
                f"activations cannot be checkpointed: {type(model).__name__} has no nn.Sequential of three layers "
                "or more. Give it a method activation_parts() that returns the modules to compute twice, or leave "
                "it out."
            )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this context a forward pass of the model in training keeps less."""
        with ExitStack() as stack:
            if compiler := sys.modules.get("torch._dynamo"):
                stack.enter_context(compiler.config.patch(**COMPILED))
            for part, forward in self._forwards:
                part.forward = forward
                stack.callback(vars(part).pop, "forward", None)
            yield


def _outermost(module: nn.Module) -> Iterator[nn.Sequential]:
    """The Sequentials of some layers that are not inside another one."""
    for child in [module] if isinstance(module, nn.Sequential) else module.children():
        if isinstance(child, nn.Sequential) and _is_plain(child):
            yield child
        elif child is not module:
            yield from _outermost(child)


def _is_plain(layers: nn.Sequential) -> bool:
    return len(layers) >= FEWEST_LAYERS and type(layers).forward is nn.Sequential.forward


def _in_groups(layers: nn.Sequential) -> Forward:
    """The forward pass of layers one after the other, about √n groups of about √n of them."""
    size = math.ceil(math.sqrt(len(layers)))
    modules = list(layers)
    groups = [modules[first : first + size] for first in range(0, len(modules), size)]
    steps = [_again(partial(_one_by_one, group), group) for group in groups]

    def forward(x: Any) -> Any:
        for step in steps:
            x = step(x)
        return x

    return forward


def _one_by_one(layers: Sequence[nn.Module], x: Any) -> Any:
    for layer in layers:
        x = layer(x)
    return x


def _again(run: Forward, modules: Sequence[nn.Module]) -> Forward:
    """`run`, with what it computes forgotten and computed again where a gradient is wanted."""
    holders = [holder for module in modules for holder in module.modules() if holder._buffers]
    options: dict[str, Any] = {"context_fn": partial(_twice_from_the_same_buffers, holders)} if holders else {}
    twice = partial(checkpoint, use_reentrant=False, **options)

    def forward(*arguments: Any, **named: Any) -> Any:
        if not (torch.is_grad_enabled() and modules[0].training):
            return run(*arguments, **named)
        return noise.repeatable(twice, run, *arguments, **named)

    return forward


def _twice_from_the_same_buffers(
    holders: Sequence[nn.Module],
) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of the first pass and of the second, which has the buffers of before the first, and leaves no trace."""
    before = [
        (holder, {name: value.clone() for name, value in holder._buffers.items() if value is not None})
        for holder in holders
    ]
    return nullcontext(), _lent(before)


@contextmanager
def _lent(lent: Sequence[tuple[nn.Module, dict[str, Tensor]]]) -> Iterator[None]:
    """Modules have these buffers within this context, and their own again after it."""
    own = [(holder, dict(holder._buffers)) for holder, _ in lent]
    try:
        for holder, copies in lent:
            holder._buffers.update(copies)
        yield
    finally:
        for holder, kept in own:
            holder._buffers.update(kept)
