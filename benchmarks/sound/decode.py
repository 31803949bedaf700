"""How many seconds of sound a decoder makes per second of CPU, on one core: each preset, whole and in parts.

    python benchmarks/sound/decode.py [--seconds 10] [--rounds 5] [--rates 16000 44100] [--presets tiny small full]

A model is untrained: the time does not depend on its weights. It plays one sound at a time from a latent, f0 and
loudness at 250 rows per second. Printed are medians over the rounds, in which all take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

PARTS = ("whole", "controls", "harmonics", "noise", "reverb")


def parts_of(sample_rate: int, preset: str, seconds: int) -> dict[str, Callable[[], Any]]:
    """What is measured, by name; None where a preset has no reverb."""
    import torch

    from dirvae import AudioVAE
    from dirvae.ddsp import Block

    torch.manual_seed(0)
    model = AudioVAE(sample_rate, preset=preset).eval()
    rows, num_samples = 250 * seconds, sample_rate * seconds
    latent = torch.softmax(torch.randn(1, model.model_size, rows), 1)
    f0 = 220 * torch.exp2(torch.randn(1, rows) / 100)
    loudness = torch.full((1, rows), -20.0)
    seeds = torch.tensor([1])
    player = model.synthesiser
    controls = model.decode(latent, f0, loudness)
    dry = player(controls, seeds, num_samples).dry
    found: dict[str, Callable[[], Any]] = {
        "whole": lambda: player(model.decode(latent, f0, loudness), seeds, num_samples),
        "controls": lambda: model.decode(latent, f0, loudness),
        "harmonics": lambda: player.play_harmonics(controls, Block(num_samples, sample_rate)),
        "noise": lambda: player.noise(controls.magnitudes, seeds, num_samples),
    }
    reverb = player.reverb
    if reverb is not None:
        found["reverb"] = lambda: reverb(dry)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rates", type=int, nargs="+", default=[16_000, 44_100])
    parser.add_argument("--presets", nargs="+", default=["tiny", "small", "full"])
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    print(f"| times real time, CPU | {' | '.join(PARTS)} |\n|{'---|' * (len(PARTS) + 1)}")
    with torch.inference_mode():
        for sample_rate in options.rates:
            measured = {preset: parts_of(sample_rate, preset, options.seconds) for preset in options.presets}
            times: dict[tuple[str, str], list[float]] = {}
            for _ in range(options.rounds + 1):  # the first one is not counted
                for preset, parts in measured.items():
                    for name, run in parts.items():
                        began = time.process_time()
                        run()
                        times.setdefault((preset, name), []).append(time.process_time() - began)
            for preset, parts in measured.items():
                cells = [
                    f"{options.seconds / statistics.median(times[preset, name][1:]):,.0f}" if name in parts else "–"
                    for name in PARTS
                ]
                print(f"| {sample_rate:,} Hz, {preset} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
