"""What a GPU gives: tests, exact resume, speed, waiting, synchronisations, the cost of latents, sound, and pythae.

    python benchmarks/gpu.py [--json] [--seconds 480]

Needs torch, NumPy, Pillow, safetensors and pytest alone, and no data: pictures are random numbers. Without a CUDA
device a short version runs on the CPU. The parts stand in the order of their worth: what there is no time left for is
dropped, and named; what fails is named too, and the rest goes on. A Markdown page ends the output. It is written to the
folder $OUT as gpu.md, with all numbers in gpu.json, after each part, where that variable is set.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from gpu_parts.draws import SHAPES, draws
from gpu_parts.machine import BATCH_SIZE, IS_CUDA, convolves_in_tf32, device_name
from gpu_parts.peer import beside_pythae
from gpu_parts.pictures import presets_and_sizes, speed
from gpu_parts.report import markdown, row
from gpu_parts.resuming import resume
from gpu_parts.sounds import PRECISIONS as SOUND_PRECISIONS
from gpu_parts.sounds import PRESETS as SOUND_PRESETS
from gpu_parts.sounds import sound
from gpu_parts.suite import tests
from gpu_parts.waiting import SOURCES, fed

PRECISIONS = ("fp32", "bf16")
NEEDED_SECONDS = {
    **{"tests": 40.0, "resume": 20.0, "speed": 8.0, "compiled": 45.0, "waiting": 12.0, "draws": 5.0},
    **{"sound": 10.0, "pythae": 20.0, "compiler": 60.0},
}
"""What a part may take; with less time left it is dropped."""
KINDS = ("resume", "speed", "waiting", "draws", "sound", "pythae")
MOST_SECONDS = 120.0
"""No part may take more, but for the last one."""
ALARM_AGAIN = 5.0


class OutOfTime(BaseException):
    """The time in all is over. Not an `Exception`, of which a compiler would make an error of its own."""


@dataclass(frozen=True)
class Part:
    """Something to run if there is time: `kind` says what of `found` it belongs to, `needed` how long it may take."""

    kind: str
    name: str
    run: Callable[[], dict[str, Any]]
    needed: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run all parts; 1 where one failed, or a resumed run ended in other weights than one that repeats."""
    parser = argparse.ArgumentParser(description="Tests, exact resume, speed and waiting on this machine's GPU.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines and a page")
    parser.add_argument("--seconds", type=float, default=480 if IS_CUDA else 60, help="of time in all")
    options = parser.parse_args(argv)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats its sums only with it
    end = time.monotonic() + options.seconds
    found = _nothing_yet()

    def say(line: str) -> None:
        if not options.json:
            print(line, flush=True)

    def left() -> float:
        return end - time.monotonic()

    _write(found)
    say(f"{found['device']}, torch {found['torch']}, batches of {BATCH_SIZE}")
    for part in parts(left):
        if left() < min(NEEDED_SECONDS[part.needed], options.seconds / 4):
            found["dropped"].append(part.name)
            continue
        say(_told(part, found, left() if part.kind == "compiler" else min(left(), MOST_SECONDS)))
        _write(found)
    print(json.dumps(found) if options.json else f"\n{_page(found).rstrip()}", flush=True)
    has_failed = bool(found["errors"]) or any(one["passed"] is False for one in found["tests"].values())
    is_wrong = any(one["repeated_exactly"] and not one["resumed_exactly"] for one in found["resume"])
    return int(has_failed or is_wrong)


def parts(left: Callable[[], float]) -> list[Part]:
    """What is run, the most important first; `left` says how many seconds there are."""

    def pictures(preset: str, size: int, way: str) -> Part:
        needed = "compiled" if way == "bf16 compiled" else "speed"
        return Part("speed", f"{preset} {size} {way}", lambda: speed(preset, size, way), needed)

    def eager(places: Sequence[tuple[str, int]]) -> list[Part]:
        return [pictures(*place, way) for place in places for way in PRECISIONS]

    def compiled(places: Sequence[tuple[str, int]]) -> list[Part]:
        return [pictures(*place, "bf16 compiled") for place in places]

    places = presets_and_sizes()
    first, others = (places[:6], places[6:]) if IS_CUDA else (places, [])
    soon = [("base", 128), ("small", 64)] if IS_CUDA else []
    found = [Part("tests", "tests", lambda: tests("gpu and not slow", min(MOST_SECONDS, left()) - 5), "tests")]
    found += [Part("resume", f"resume {one}", lambda one=one: resume(one), "resume") for one in PRECISIONS]
    found += eager(first) + compiled(soon[:1])
    found += [Part("waiting", f"fed by {one}", lambda one=one: fed(one), "waiting") for one in SOURCES]
    found += [
        Part("draws", f"latents {'×'.join(map(str, one))}", lambda one=one: draws(one), "draws") for one in SHAPES
    ]
    found.append(Part("pythae", "pythae", lambda: beside_pythae(), "pythae"))
    found += compiled(soon[1:])
    for preset, precision in itertools.product(SOUND_PRESETS, SOUND_PRECISIONS):
        name, given = f"sound {preset} {precision}", (preset, precision)
        found.append(Part("sound", name, lambda given=given: sound(*given), "sound"))
    found += eager(others) + [pictures(*place, "fp32 without TF32") for place in soon or first]
    if IS_CUDA:
        found += compiled([place for place in (*first, *others) if place not in soon])
        found.append(
            Part("compiler", "tests of the compiler", lambda: tests("gpu and slow", left() - 5), "compiler")
        )
    return found


def _nothing_yet() -> dict[str, Any]:
    return {
        "device": device_name(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if IS_CUDA else None,
        "convolutions_of_fp32": "tf32" if convolves_in_tf32() else "fp32",
        "cpu_cores": os.cpu_count(),
        "batch_size": BATCH_SIZE,
        "tests": {},
        **{kind: [] for kind in KINDS},
        "errors": {},
        "warnings": {},
        "dropped": [],
    }


def _told(part: Part, found: dict[str, Any], seconds: float) -> str:
    """Run a part, keep what came out, and tell it in a line."""
    began = time.monotonic()
    try:
        told = _done(part, found, seconds)
    except OutOfTime:
        _silence()
        found["dropped"].append(part.name)
        told = f"{part.name:28} not finished"
    except Exception as error:
        found["errors"][part.name] = f"{type(error).__name__}: {error}"
        told = f"{part.name:28} failed\n{traceback.format_exc()}"
    return f"{told}  [{time.monotonic() - began:.0f} s]"


def _done(part: Part, found: dict[str, Any], seconds: float) -> str:
    with warnings.catch_warnings(record=True) as caught, _alarm(seconds):
        warnings.simplefilter("default")
        result = part.run()
    if told := list(dict.fromkeys(str(one.message).splitlines()[0][:300] for one in caught if str(one.message))):
        found["warnings"][part.name] = told[:5]
    if part.kind in KINDS:
        found[part.kind].append(result)
    else:
        found["tests"][part.name] = result
    return row(part.kind, part.name, result)


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in a block that takes longer; again and again, as some of torch's code swallows errors."""

    def ring(*given: object) -> None:
        raise OutOfTime

    try:
        before = signal.signal(signal.SIGALRM, ring)
    except (AttributeError, ValueError):  # not on this system, or not in this thread
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01), ALARM_AGAIN)
    try:
        yield
    finally:
        _silence()
        signal.signal(signal.SIGALRM, before)


def _silence() -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, 0)


def _page(found: dict[str, Any]) -> str:
    """The page, or the numbers as they are where making it fails."""
    try:
        return markdown(found)
    except Exception:
        return f"{traceback.format_exc()}\n{json.dumps(found)}"


def _write(found: dict[str, Any]) -> None:
    """Into the folder $OUT, if there is one; what cannot be written is not worth an error."""
    if folder := os.environ.get("OUT"):
        with suppress(OSError):
            Path(folder).mkdir(parents=True, exist_ok=True)
            Path(folder, "gpu.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
            Path(folder, "gpu.md").write_text(_page(found), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
