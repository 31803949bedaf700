"""The device that is measured, how long things take on it, and how much it could compute at best."""

from __future__ import annotations

import gc
import io
import platform
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, redirect_stderr
from pathlib import Path
from typing import Any, TypeVar

import torch

from dirvae.training import FitConfig

ROOT = Path(__file__).resolve().parents[2]
IS_CUDA = torch.cuda.is_available()
DEVICE = "cuda" if IS_CUDA else "cpu"
BATCH_SIZE = 128 if IS_CUDA else 8

R = TypeVar("R")

PEAKS = {
    r"H100 (80GB HBM3|SXM)": (989.4, 494.7, 66.9),
    r"H100 PCIe": (756.0, 378.0, 51.2),
    r"H200( SXM)?$": (989.4, 494.7, 66.9),
    r"A100\b": (312.0, 156.0, 19.5),
    r"L4$": (121.0, 60.0, 30.3),
    r"RTX 4090$": (165.2, 82.6, 82.6),
}
"""Dense TFLOP/s in bf16, TF32 and fp32, by what is in the card's name: from NVIDIA's data sheets, without sparsity."""


def device_name() -> str:
    return torch.cuda.get_device_name() if IS_CUDA else f"no CUDA device: {platform.processor() or 'CPU'}"


def peak_flops(name: str, arithmetic: str) -> float | None:
    """FLOP/s of a card at best in "bf16", "tf32" or "fp32"; None for a card that is not in the table."""
    found = next((peaks for pattern, peaks in PEAKS.items() if re.search(pattern, name)), None)
    return None if found is None else 1e12 * found[("bf16", "tf32", "fp32").index(arithmetic)]


def convolves_in_tf32() -> bool:
    """Whether convolutions of float32 are computed in TF32, as torch does on CUDA unless it is told not to."""
    return IS_CUDA and bool(torch.backends.cudnn.allow_tf32) and torch.cuda.get_device_capability() >= (8, 0)


def now() -> float:
    """Seconds, after what the device was given to do."""
    if IS_CUDA:
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_per_call(call: Callable[[], object], *, at_least: float) -> float:
    """Of calls that follow each other without waiting, after three of them."""
    for _ in range(3):
        call()
    num, elapsed = 1, 0.0
    while elapsed < at_least:
        num *= 2
        began = now()
        for _ in range(num):
            call()
        elapsed = now() - began
    return elapsed / num


def settings(**changes: Any) -> FitConfig:
    """Of a run that neither logs, saves nor ends by itself."""
    endless = {"steps": 10**6, "save_every": 10**6, "log_every": 10**6, "kl_warmup": 0, "device": DEVICE}
    return FitConfig(**{**endless, **changes})


def forget_memory() -> None:
    """Give back what earlier parts left, so that a peak is that of this part."""
    gc.collect()
    if IS_CUDA:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_memory_gib() -> float | None:
    """The most that tensors have taken since `forget_memory`; None without CUDA."""
    return torch.cuda.max_memory_allocated() / 2**30 if IS_CUDA else None


def in_memory(run: Callable[[int], R], batch_size: int) -> R:
    """`run(batch_size)`, with half the batch as long as memory does not suffice."""
    while True:
        forget_memory()
        try:
            return run(batch_size)
        except torch.OutOfMemoryError:
            if batch_size == 1:
                raise
        batch_size //= 2  # outside of `except`, which would keep the tensors of what failed


def quiet() -> AbstractContextManager[Any]:
    """Without the trainer's lines about its progress."""
    return redirect_stderr(io.StringIO())


def deterministic() -> ExitStack:
    """Kernels that give the same sums every time, where torch has them; it warns of others, which are then seen."""
    stack = ExitStack()
    stack.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled())
    torch.use_deterministic_algorithms(True, warn_only=True)
    return stack
