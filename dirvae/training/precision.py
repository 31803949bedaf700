"""The arithmetic of a step: float32, or mixed with bfloat16 or float16."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from dirvae.training.errors import ConfigError

__all__ = ["Precision", "choose_device"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """An arithmetic on a device. Weights stay float32; `fp16` needs the gradient scaler, the others do not."""

    name: str
    device: torch.device

    @classmethod
    def choose(cls, name: str, device: torch.device) -> Precision:
        """`auto` is bf16 on a GPU that computes in it, fp32 elsewhere. Raises `ConfigError` for an unknown name."""
        if name == "auto":
            has_bf16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
            name = "bf16" if has_bf16 else "fp32"
        if name not in _DTYPES:
            raise ConfigError(f"precision is {name!r}; it must be one of auto, {', '.join(_DTYPES)}.")
        return cls(name, device)

    def autocast(self) -> AbstractContextManager[object]:
        """The context that a forward pass runs in."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.name])

    def scaler(self) -> torch.amp.GradScaler:
        """A fresh gradient scaler; it does nothing unless the precision is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` is the current CUDA GPU, else the CPU.

    Raises `ConfigError` for a device that does not exist. One without float64 is taken: see `dirvae.float64`.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used ({reason}). Give the device cpu or auto.") from error
    return device
