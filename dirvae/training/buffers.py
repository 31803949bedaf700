"""Buffers that a forward pass changes, such as running means: kept before it, and put back if its update is skipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["KeptBuffers"]


class KeptBuffers:
    """A copy of a model's buffers on the device, renewed by `keep` and given back by `put_back`.

    The copies cost memory once, and a few kernels per step. The host does not wait for a GPU.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._places: list[tuple[nn.Module, str]] = []
        self._copies: list[Tensor] = []

    @torch.no_grad()
    def keep(self) -> None:
        """Copy the buffers as they are now."""
        self._places = [
            (module, name)
            for module in self._model.modules()
            for name, value in module._buffers.items()
            if value is not None
        ]
        current = self._buffers()
        if not _are_alike(current, self._copies):
            self._copies = [torch.empty_like(value) for value in current]
        for device in {value.device for value in current}:  # some stay on the CPU where others have no float64
            pairs = [pair for pair in zip(self._copies, current, strict=True) if pair[1].device == device]
            torch._foreach_copy_([copy for copy, _ in pairs], [value for _, value in pairs])

    @torch.no_grad()
    def put_back(self, is_finite: Tensor) -> None:
        """Give the buffers their values of the last `keep` back unless `is_finite`, a scalar bool.

        All of them: torch does not count what batch normalisation does to its buffers as a change.
        """
        if is_finite.device.type == "cpu" and bool(is_finite):
            return
        for (module, name), value, copy in zip(self._places, self._buffers(), self._copies, strict=True):
            if value.shape == copy.shape and value.dtype == copy.dtype:
                value.copy_(torch.where(is_finite.to(value.device), value, copy))
            elif not bool(is_finite):  # another tensor in its place: rare enough to wait for the flag
                module._buffers[name] = copy.clone()

    def _buffers(self) -> list[Tensor]:
        found = [module._buffers[name] for module, name in self._places]
        return [value for value in found if value is not None]


def _are_alike(current: list[Tensor], copies: list[Tensor]) -> bool:
    return len(current) == len(copies) and all(
        (one.shape, one.dtype, one.device) == (other.shape, other.dtype, other.device)
        for one, other in zip(current, copies, strict=True)
    )
