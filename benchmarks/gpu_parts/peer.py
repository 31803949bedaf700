"""A training step beside that of pythae's VAE on the same network, by `benchmarks/latents/step.py`."""

from __future__ import annotations

import importlib
import statistics
import sys
import warnings
from types import ModuleType
from typing import Any

from gpu_parts.machine import DEVICE, IS_CUDA, ROOT

ROUNDS, STEPS, BATCH_SIZE = (7, 50, 100) if IS_CUDA else (1, 1, 4)


def beside_pythae() -> dict[str, Any]:
    """Milliseconds of a step by name, and how many times as long pythae takes; "absent" where it is not installed."""
    try:
        importlib.import_module("pythae.models")
    except Exception as error:  # one of a package that is half there, too
        return {"absent": f"pythae cannot be imported here ({type(error).__name__}: {error})"}
    folder = str(ROOT / "benchmarks" / "latents")
    sys.path.insert(0, folder)
    try:
        step = importlib.import_module("step")
    finally:
        sys.path.remove(folder)
    times = _times(step, is_compiled_too=IS_CUDA)
    theirs = times["pythae"]
    return {
        "batch_size": BATCH_SIZE,
        "milliseconds": {name: 1000 * statistics.median(seconds) for name, seconds in times.items()},
        "pythae_takes": {
            name: statistics.median(other / own for other, own in zip(theirs, seconds, strict=True))
            for name, seconds in times.items()
            if name != "pythae"
        },
    }


def _times(step: ModuleType, *, is_compiled_too: bool) -> dict[str, list[float]]:
    try:
        contestants = step.step_rounds(BATCH_SIZE, STEPS, device=DEVICE, is_compiled_too=is_compiled_too)
        times: dict[str, list[float]] = step.interleaved(contestants, ROUNDS)
    except Exception as error:
        if not is_compiled_too:
            raise
        warnings.warn(f"ours was not compiled ({type(error).__name__}: {error})", stacklevel=2)
        return _times(step, is_compiled_too=False)
    return times
