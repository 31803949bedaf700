"""A device without float64 for tests: called `mps`, computing on the CPU, refusing what Apple's GPUs would refuse.

Its tensors wrap tensors of the CPU. Nothing but the names of devices tells them from others, so a model goes through
the same code as on the real device, and what is on the wrong device, or in float64 on this one, raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

WITHOUT_FLOAT64 = torch.device("mps", 0)
CPU = torch.device("cpu")
TOO_WIDE = (torch.float64, torch.complex128)
CHECKS: list[Callable[[str, Any, Any], None]] = []
"""Functions of (operator, arguments, keyword arguments) that raise for what a test refuses beside float64."""
CROSSES_DEVICES = ("aten::_to_copy", "aten::copy_")


class HeldTensor(torch.Tensor):
    """A tensor of the device; `held` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> HeldTensor:
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined,no-any-return]
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",  # what autograd sees: a real device would need a driver
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return WITHOUT_FLOAT64

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Factories(TorchDispatchMode):
    """Takes in what makes tensors out of nothing: there no argument is one of the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # our own operators are looked into
            return _run(func, args, kwargs or {})


@contextmanager
def device_without_float64() -> Iterator[torch.device]:
    """A block in which the device is there."""
    with torch.autograd.set_multithreading_enabled(False), _Factories():
        yield WITHOUT_FLOAT64


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    if torch.is_inference_mode_enabled():  # a view of an ordinary tensor must not be of inference mode
        with torch.inference_mode(False), torch.no_grad():
            return _run(func, args, kwargs)
    if func.namespace == "dirvae":
        return _own_operator(func)(*args, **kwargs)
    tensors = [value for value in tree_iter((args, kwargs)) if isinstance(value, Tensor)]
    ours = [value for value in tensors if isinstance(value, HeldTensor)]
    goal = kwargs.get("device")
    goal = torch.device(goal) if goal is not None else (WITHOUT_FLOAT64 if ours else CPU)
    if goal.type == "meta" and tensors:
        goal = WITHOUT_FLOAT64
    name = func._schema.name
    for check in CHECKS:
        check(name, args, kwargs)
    if name == "aten::copy_":
        goal = args[0].device
    if name in CROSSES_DEVICES:
        dtypes = {value.dtype for value in tensors} | {kwargs.get("dtype")}
        places = {goal.type, *(value.device.type for value in tensors)}
        if len(places) > 1 and dtypes & set(TOO_WIDE):
            raise TypeError(f"{name} takes float64 to or from a device that has none; cast on the CPU.")
    elif ours and (strays := [value for value in tensors if value.device.type == "cpu" and value.dim()]):
        raise RuntimeError(f"{name} has a tensor {tuple(strays[0].shape)} of the CPU beside one of the device.")
    plain_kwargs = {**kwargs, "device": CPU} if kwargs.get("device") is not None else kwargs
    held = {id(value.held): value for value in ours}
    with torch.utils._python_dispatch._disable_current_modes():
        result = func(*tree_map(_unwrapped, args), **tree_map(_unwrapped, plain_kwargs))
    if goal.type != "mps":
        return result
    return tree_map(lambda value: _wrapped(value, held, name), result)


def _unwrapped(value: Any) -> Any:
    return value.held if isinstance(value, HeldTensor) else value


def _wrapped(value: Any, held: dict[int, HeldTensor], name: str) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.dtype in TOO_WIDE:
        raise TypeError(f"{name} makes {value.dtype} on a device without float64.")
    return held[id(value)] if id(value) in held else HeldTensor(value)


def _own_operator(func: Any) -> Any:
    """The Python function of one of our operators."""
    from torch._library.custom_ops import OPDEFS

    return OPDEFS[func._schema.name]._init_fn
