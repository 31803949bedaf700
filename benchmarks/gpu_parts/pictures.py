"""Speed of training steps on pictures that lie on the device: presets, sizes, and three ways to compute."""

from __future__ import annotations

import logging
import warnings
from contextlib import ExitStack
from functools import cache
from typing import Any

import torch
import torch._dynamo
from torch.utils.flop_counter import FlopCounterMode

from dirvae import ResNetVAE
from dirvae.training import Trainer
from gpu_parts.machine import (
    BATCH_SIZE,
    DEVICE,
    IS_CUDA,
    convolves_in_tf32,
    device_name,
    in_memory,
    peak_flops,
    peak_memory_gib,
    quiet,
    settings,
)
from gpu_parts.stopwatch import Stopwatch

WAYS: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
    "bf16 compiled": {"precision": "bf16", "compile": True},
    "fp32 without TF32": {"precision": "fp32"},
}
"""Settings by name. "fp32" is what torch does by itself: convolutions in TF32 on CUDA, matrix products not."""
MODEL_SIZE = 32


def speed(preset: str, size: int, way: str) -> dict[str, Any]:
    """Examples per second of whole training steps, memory, and the share of what the card could compute."""
    with ExitStack() as stack:
        if way == "fp32 without TF32":
            stack.callback(setattr, torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)
            torch.backends.cudnn.allow_tf32 = False
        arithmetic = "bf16" if way.startswith("bf16") else "tf32" if convolves_in_tf32() else "fp32"
        found = in_memory(lambda batch_size: _measured(preset, size, way, batch_size), BATCH_SIZE)
    flops = flops_per_example(preset, size)
    peak = peak_flops(device_name(), arithmetic)
    per_second = None if flops is None else flops * found["examples_per_second"]
    return {
        "preset": preset,
        "size": size,
        "way": way,
        "arithmetic": arithmetic,
        **found,
        "flops_per_example": flops,
        "share_of_peak": None if peak is None or per_second is None else per_second / peak,
    }


def ready_batches(batch_size: int, size: int) -> list[torch.Tensor]:
    """The same pictures of random numbers on the device again and again."""
    return [torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8).to(DEVICE)] * 1000


def make_model(preset: str, size: int) -> ResNetVAE:
    """Of the same first weights each time."""
    torch.manual_seed(0)
    return ResNetVAE(size=size, preset=preset, model_size=MODEL_SIZE)


def _measured(preset: str, size: int, way: str, batch_size: int) -> dict[str, Any]:
    is_compiled = WAYS[way].get("compile", False)
    if is_compiled:
        torch._dynamo.reset()  # what was compiled before counts against a limit
        torch._dynamo.utils.counters.clear()
        torch._logging.set_logs(dynamo=logging.ERROR, inductor=logging.ERROR)
    watch = Stopwatch()
    model = make_model(preset, size)
    trainer = Trainer(model, ready_batches(batch_size, size), config=settings(**WAYS[way]))
    try:
        with quiet():
            trainer.fit(should_stop=watch)
    finally:
        watch.close()
    return {
        **watch.found(batch_size),
        "peak_memory_gib": peak_memory_gib(),
        "is_compiled": model._compiled_call_impl is not None if is_compiled else None,
        "graph_breaks": _graph_breaks() if is_compiled else [],
    }


def _graph_breaks() -> list[str]:
    """Why the compiler cut the forward pass into pieces, each reason with its number."""
    breaks = torch._dynamo.utils.counters["graph_break"]
    return [f"{' '.join(reason.split())[:200]} ({number} times)" for reason, number in breaks.items()]


@cache
def flops_per_example(preset: str, size: int) -> float | None:
    """Of one step forward and backward, by torch's own count: convolutions and matrix products. None if that fails."""
    try:
        model, pictures = make_model(preset, size).to(DEVICE), torch.rand(2, 3, size, size, device=DEVICE)
        with FlopCounterMode(display=False) as counter:
            model.loss(pictures, model(pictures))["loss"].backward()
        return counter.get_total_flops() / len(pictures)
    except Exception as error:
        warnings.warn(f"the FLOPs of {preset} {size} were not counted ({error})", stacklevel=2)
        return None


def presets_and_sizes() -> list[tuple[str, int]]:
    """The most telling ones first."""
    if not IS_CUDA:
        return [("tiny", 32)]
    sizes = (64, 128, 256)
    first = [(preset, size) for size in sizes for preset in ("base", "small")]
    return first + [(preset, size) for size in sizes for preset in ("large", "tiny")]
