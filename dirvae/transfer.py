"""From the host's memory to a device, without waiting for what the device was given to do before."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["send"]

COPY_FROM_PINNED = ("cuda",)
"""Devices to which a copy from pageable memory waits for all earlier work."""


def send(x: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device; itself if it is there. One of the CPU goes to CUDA through pinned memory, unwaited for."""
    device = torch.device(device)
    is_pinned_first = device.type in COPY_FROM_PINNED and x.device.type == "cpu"
    if not is_pinned_first or x.requires_grad or torch.compiler.is_compiling():
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
