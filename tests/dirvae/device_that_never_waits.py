"""A device for tests that computes in float64, as CUDA does, and refuses what would make the host wait for it.

It is the device of `device_without_float64` with another rule: values that are read, sizes that depend on values, and
copies from one memory to another raise, but for those from pinned memory that are not waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_iter

from dirvae import float64, transfer
from tests.dirvae import device_without_float64 as stand_in

READS_VALUES = tuple(
    f"aten::{name}" for name in ("_local_scalar_dense", "equal", "item", "masked_select", "nonzero", "_unique2")
)
INDEXES = ("aten::index", "aten::index_put", "aten::index_put_")


class WaitedForDevice(AssertionError):
    """The host would have waited."""


@contextmanager
def device_that_never_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[torch.device, Callable[[], AbstractContextManager[None]]]]:
    """A block in which the device is there, and what refuses waiting within a block of its own."""
    monkeypatch.setattr(stand_in, "TOO_WIDE", ())
    monkeypatch.setattr(float64, "_HAVE_FLOAT64", ("cpu", "cuda", "mps"))
    monkeypatch.setattr(transfer, "COPY_FROM_PINNED", ("mps",))
    monkeypatch.setattr(Tensor, "pin_memory", _pinned)
    with stand_in.device_without_float64() as device:
        yield device, _refusing


@contextmanager
def _refusing() -> Iterator[None]:
    stand_in.CHECKS.append(_refuse_waiting)
    try:
        yield
    finally:
        stand_in.CHECKS.remove(_refuse_waiting)


def _pinned(tensor: Tensor) -> Tensor:
    copy = tensor.clone()
    copy.is_in_pinned_memory = True  # type: ignore[attr-defined]
    return copy


def _refuse_waiting(name: str, args: Any, kwargs: Any) -> None:
    tensors = [value for value in tree_iter((args, kwargs)) if isinstance(value, Tensor)]
    places = {_place(value) for value in tensors}
    if "mps" in places and name in READS_VALUES:
        raise WaitedForDevice(f"{name} reads values of the device.")
    if (
        "mps" in places
        and name in INDEXES
        and any(index is not None and index.dtype == torch.bool for index in args[1])
    ):
        raise WaitedForDevice(f"{name} by a mask has a size that depends on values.")
    if name not in stand_in.CROSSES_DEVICES:
        return
    source = args[1] if name == "aten::copy_" else args[0]
    goal = _place(args[0]) if name == "aten::copy_" else torch.device(kwargs.get("device") or source.device).type
    is_waited_for = not (getattr(source, "is_in_pinned_memory", False) and kwargs.get("non_blocking"))
    if {_place(source), goal.replace("meta", "mps")} == {"cpu", "mps"} and is_waited_for:
        raise WaitedForDevice(f"{name} of {tuple(source.shape)} from {_place(source)} to {goal}.")


def _place(tensor: Tensor) -> str:
    return tensor.device.type
