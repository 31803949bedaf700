"""What a GPU gives: its tests, training speed of every preset, synchronisations, and whether resuming is exact on it.

    python benchmarks/gpu.py [--json] [--seconds 240]

Needs torch, NumPy, Pillow, safetensors and pytest alone, and no data: pictures are random numbers. Without a CUDA
device a short version runs on the CPU. What there is no time left for is dropped, and named.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, redirect_stderr
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from dirvae import ResNetVAE
from dirvae.training import FitConfig, Trainer
from pipelines import DataIterator, Example, Source

ROOT = Path(__file__).resolve().parent.parent
IS_CUDA = torch.cuda.is_available()
DEVICE = "cuda" if IS_CUDA else "cpu"
PRESETS = ("tiny", "small", "base", "large") if IS_CUDA else ("tiny",)
SIZES = (64, 128) if IS_CUDA else (32,)
PRECISIONS = ("fp32", "bf16")
BATCH_SIZE = 128 if IS_CUDA else 8
WARM_UP_STEPS, COUNTED_STEPS = (10, 10) if IS_CUDA else (1, 0)
TIMED_STEPS, TIMED_SECONDS = (5, 1.5) if IS_CUDA else (1, 0.5)
STEPS, STOP, SIDE = (20, 8, 64) if IS_CUDA else (4, 2, 32)
NEEDED_SECONDS = {"tests": 40.0, "resume": 20.0, "speed": 10.0, "compiler": 60.0}
"""What a part may take; with less time left it is dropped."""


class Noise(Source):
    """Pictures that are drawn when they are decoded, from their place in the run."""

    name = "noise"

    def __len__(self) -> int:
        return 200

    def read(self, indices: Sequence[int]) -> list[Example]:
        return [Example(int(index), str(index), b"") for index in indices]


def draw(example: Example, rng: np.random.Generator) -> np.ndarray:
    """(3, SIDE, SIDE) uint8."""
    return rng.integers(0, 256, (3, SIDE, SIDE), np.uint8)


class Stopwatch:
    """Given to `Trainer.fit` as `should_stop`: warms up, then times steps, then counts synchronisations in some."""

    def __init__(self) -> None:
        self.calls, self.timed, self.seconds = 0, 0, 0.0
        self.synchronisations: list[str] | None = None
        self._began: float | None = None
        self._counting = ExitStack()

    def __call__(self) -> bool:
        self.calls += 1
        if self._began is None:
            if self.calls > WARM_UP_STEPS:
                self._began = now()
            return False
        if not self.seconds:
            self.timed += 1
            if self.timed % TIMED_STEPS == 0 and (elapsed := now() - self._began) > TIMED_SECONDS:
                self.seconds, self.calls = elapsed, 0
                self._count()
            return bool(self.seconds) and not COUNTED_STEPS
        if self.calls < COUNTED_STEPS:
            return False
        self._counting.close()
        return True

    def _count(self) -> None:
        if not COUNTED_STEPS:
            return
        found = self._counting.enter_context(warnings.catch_warnings(record=True))
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        self._counting.callback(torch.cuda.set_sync_debug_mode, "default")
        self._counting.callback(self._note, found)

    def _note(self, found: list[warnings.WarningMessage]) -> None:
        self.synchronisations = [str(one.message) for one in found if "called a synchronizing" in str(one.message)]


def now() -> float:
    """Seconds, after what the device was given to do."""
    if IS_CUDA:
        torch.cuda.synchronize()
    return time.perf_counter()


def settings(**changes: Any) -> FitConfig:
    return FitConfig(**{"steps": 10**6, "save_every": 10**6, "log_every": 10**6, "device": DEVICE, **changes})


def speed(preset: str, size: int, precision: str) -> dict[str, Any]:
    """Examples per second of whole training steps on a batch that lies on the device."""
    torch.manual_seed(0)
    model = ResNetVAE(size=size, preset=preset, model_size=32)
    pictures = torch.randint(0, 256, (BATCH_SIZE, 3, size, size), dtype=torch.uint8).to(DEVICE)
    watch = Stopwatch()
    Trainer(model, [pictures] * 1000, config=settings(precision=precision)).fit(should_stop=watch)
    found = watch.synchronisations
    return {
        "preset": preset,
        "size": size,
        "precision": precision,
        "examples_per_second": watch.timed * BATCH_SIZE / watch.seconds,
        "syncs_per_step": None if found is None else len(found) / COUNTED_STEPS,
    }


def resume(precision: str) -> dict[str, Any]:
    """Whether a run that is stopped, saved and resumed ends in the same weights, bit for bit; and one that is not."""

    def trainer(folder: Path) -> Trainer:
        torch.manual_seed(0)
        model = ResNetVAE(size=SIDE, preset="tiny", model_size=16)
        batches = DataIterator(Noise(), draw, batch_size=BATCH_SIZE // 4, shuffle=True, threads=2)
        return Trainer(model, batches, config=settings(steps=STEPS, precision=precision), out=folder)

    def whole(folder: Path) -> list[torch.Tensor]:
        run = trainer(folder)
        run.fit()
        return [value.detach().cpu() for value in run.model.state_dict().values()]

    with quiet(), deterministic(), tempfile.TemporaryDirectory() as scratch:
        first, repeated = whole(Path(scratch, "first")), whole(Path(scratch, "repeated"))
        calls = iter(range(STOP + 1))
        trainer(Path(scratch, "stopped")).fit(should_stop=lambda: next(calls) == STOP)
        again = trainer(Path(scratch, "stopped"))
        assert again.resume()
        assert again.step == STOP
        again.fit()
        resumed = [value.detach().cpu() for value in again.model.state_dict().values()]
    return {
        "precision": precision,
        "repeated_exactly": all(map(torch.equal, first, repeated)),
        "resumed_exactly": all(map(torch.equal, first, resumed)),
    }


def quiet() -> AbstractContextManager[Any]:
    """Without the trainer's lines about its progress."""
    return redirect_stderr(io.StringIO())


def deterministic() -> ExitStack:
    """Kernels that give the same sums every time, where torch has them; it warns of others, which are then seen."""
    stack = ExitStack()
    stack.callback(torch.use_deterministic_algorithms, torch.are_deterministic_algorithms_enabled())
    torch.use_deterministic_algorithms(True, warn_only=True)
    return stack


def tests(marks: str, seconds: float) -> dict[str, Any]:
    """What pytest says of the tests with these marks; `passed` is None where they took too long."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marks, "tests"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"passed": None, "said": f"not finished after {seconds:.0f} s"}
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"passed": done.returncode == 0, "said": "; ".join([lines[-1], *failed])}


def main(argv: Sequence[str] | None = None) -> int:
    """Run all parts; 1 where a test failed or a resumed run ended in other weights than one that repeats."""
    parser = argparse.ArgumentParser(description="Tests, speed and exact resume on this machine's GPU.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--seconds", type=float, default=240 if IS_CUDA else 60, help="of time in all")
    options = parser.parse_args(argv)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats its sums only with it
    end = time.monotonic() + options.seconds
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if IS_CUDA else f"no CUDA device: {platform.processor() or 'CPU'}",
        "torch": torch.__version__,
        "batch_size": BATCH_SIZE,
        "tests": {},
        "resume": [],
        "speed": [],
        "dropped": [],
    }

    def part(kind: str, name: str, run: Callable[[], Any]) -> None:
        """Run it if there is time, and say what came out."""
        if end - time.monotonic() < min(NEEDED_SECONDS[kind], options.seconds / 4):
            found["dropped"].append(name)
            return
        result = run()
        if kind in ("tests", "compiler"):
            found["tests"][name] = result
        else:
            found[kind].append(result)
        if not options.json:
            print(row(name, result), flush=True)

    if not options.json:
        print(f"{found['device']}, torch {found['torch']}, batches of {BATCH_SIZE}", flush=True)
    part("tests", "tests", lambda: tests("gpu and not slow", min(100, end - time.monotonic())))
    for precision in PRECISIONS:
        part("resume", f"resume {precision}", lambda precision=precision: resume(precision))
    for preset in PRESETS:
        for size in SIZES:
            for precision in PRECISIONS:
                given = (preset, size, precision)
                part("speed", " ".join(map(str, given)), lambda given=given: speed(*given))
    if IS_CUDA:
        part("compiler", "compiled", lambda: tests("gpu and slow", end - time.monotonic()))
    if options.json:
        print(json.dumps(found))
    elif found["dropped"]:
        print(f"no time was left for: {', '.join(found['dropped'])}")
    has_failed = any(one["passed"] is False for one in found["tests"].values())
    is_wrong = any(one["repeated_exactly"] and not one["resumed_exactly"] for one in found["resume"])
    return int(has_failed or is_wrong)


def row(name: str, result: dict[str, Any]) -> str:
    """A line of the table."""
    if "said" in result:
        told = result["said"]
    elif "repeated_exactly" in result:
        repeated, resumed = (result[key] for key in ("repeated_exactly", "resumed_exactly"))
        told = f"the same weights after a resume: {yes(resumed)}; in a second run: {yes(repeated)}"
    else:
        syncs = result["syncs_per_step"]
        told = f"{result['examples_per_second']:10,.0f} examples/s"
        told += "" if syncs is None else f"{syncs:8.1f} synchronisations per step"
    return f"{name:16} {told}"


def yes(is_so: bool) -> str:
    return "yes" if is_so else "no"


if __name__ == "__main__":
    sys.exit(main())
