"""The best that the synthesiser can do for one sound: harmonics and filtered noise without a network between.

    OMP_NUM_THREADS=1 python benchmarks/sound/oracle.py RECORDING… [--rates 16000 44100] [--steps 60] [--seconds 4]

Every row of the controls is free. They begin at a fit by least squares and are refined by the gradient of the
multi-scale spectral loss. The table compares the loss of silence, of the fit, and of the refined controls, and says how
much of the loss harmonics and noise explain. f0 is that of `track_f0`.

The noise of a sound is one of many that sound the same. Refined with the same noise at every step, the controls learn
this noise by heart, which no network can do ("same noise"; the column after it is their loss with another noise). With
new noise at every step they learn what holds for any ("new noise").

"ratio" is the rise of the loss without harmonics over the rise without noise. It depends on the fit more than on the
sound: harmonics that change from row to row can imitate noise, and do so the more, the shorter the frames and the
longer the refining. The fit with frames of 40 ms leaves more of the noise to the noise.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from least_squares import fit_harmonics, fit_noise, heard_harmonics
from torch import Tensor

from dirvae.ddsp import Block, Curve, FilteredNoise, Framing, MultiScaleSpectralLoss, harmonic_bank, track_f0

__all__ = ["Ablation", "OracleFit", "ablation", "fit_oracle", "main"]

PERIODS, NOISE_SECONDS, LONG_SECONDS = 4, 0.016, 0.04
"""Length of frames: for the harmonics, in periods of the lowest f0; for the noise; of the longer ones in the table."""
LEARNING_RATE, BETAS, WARM_UP_STEPS = 0.15, (0.8, 0.95), 6
SMALLEST = 1e-7
"""Amplitude at which refining begins where the fit found less: its logarithm is what changes."""
OTHER_SEED = 1 << 32
LOWEST_HZ, NUM_BANDS = 80, 65


@dataclass(frozen=True)
class OracleFit:
    """The controls of a sound (batch, time), and how near they come.

    amplitudes        (batch, row, harmonic), linear
    magnitudes        (batch, row, band), linear
    harmonics, noise  (batch, time): what these controls sound like
    loss_fitted       (batch,) the loss after least squares
    loss_refined      (batch,) the loss of `sound`, whose controls are those of the best step
    loss_other_noise  (batch,) the loss of the refined controls with noise that they were not refined with
    """

    amplitudes: Curve
    magnitudes: Curve
    harmonics: Tensor
    noise: Tensor
    loss_fitted: Tensor
    loss_refined: Tensor
    loss_other_noise: Tensor

    @property
    def sound(self) -> Tensor:
        """(batch, time)."""
        return self.harmonics + self.noise


@dataclass(frozen=True)
class Ablation:
    """Losses (batch,) of a fit and of its two halves alone."""

    whole: Tensor
    without_harmonics: Tensor
    without_noise: Tensor

    @property
    def ratio(self) -> Tensor:
        """(batch,): by how much the loss rises without harmonics, over by how much it rises without noise."""
        return (self.without_harmonics - self.whole) / (self.without_noise - self.whole)


def fit_oracle(
    samples: Tensor,
    f0: Curve,
    *,
    sample_rate: Fraction | float,
    num_harmonics: int,
    noise: FilteredNoise,
    steps: int = 60,
    rate: Fraction | float = 250,
    frame_seconds: float = 0.0,
    has_new_noise: bool = False,
) -> OracleFit:
    """The controls, `rate` rows per second, whose sound has the smallest loss: samples (batch, time), f0 in Hz.

    `steps`: of Adam, after least squares. `frame_seconds`: frames of the fit are at least so long; by default as four
    periods of the lowest f0, or two hops. `has_new_noise`: at every step, see above.
    """
    framing = Framing(_frame_length(f0, sample_rate, rate, frame_seconds), rate, sample_rate)
    of_noise = Framing(round(NOISE_SECONDS * float(sample_rate)), rate, sample_rate)
    heard = heard_harmonics(f0, framing, framing.num_frames(samples.shape[1]), num_harmonics)
    most = int(heard.flatten(0, 1).any(0).sum())
    found = fit_harmonics(samples, f0, framing=framing, num_harmonics=most)
    synthesiser = _Synthesiser(f0, noise, Block(samples.shape[1], sample_rate), framing.frame_rate)
    controls = (found.amplitudes.values, fit_noise(found.residual, noise.bands, of_noise).values)
    loss = MultiScaleSpectralLoss(sample_rate)
    with torch.no_grad():
        loss_fitted = loss(sum(synthesiser(*controls)), samples)
    refined = _refine(controls, samples, synthesiser, loss, steps, has_new_noise)
    with torch.no_grad():
        harmonics, hiss = synthesiser(*refined)
        other = loss(sum(synthesiser(*refined, seed=OTHER_SEED)), samples)
    amplitudes, magnitudes = refined
    return OracleFit(
        Curve(F.pad(amplitudes, (0, num_harmonics - most)), framing.frame_rate),
        Curve(magnitudes, framing.frame_rate),
        *(harmonics, hiss, loss_fitted, loss(harmonics + hiss, samples), other),
    )


def ablation(fit: OracleFit, samples: Tensor, *, sample_rate: Fraction | float) -> Ablation:
    """The loss of a fit to `samples` (batch, time) as it is, without its harmonics, and without its noise."""
    loss = MultiScaleSpectralLoss(sample_rate)
    return Ablation(*(loss(sound, samples) for sound in (fit.sound, fit.noise, fit.harmonics)))


@dataclass(frozen=True)
class _Synthesiser:
    """(batch, row, harmonic) and (batch, row, band) → harmonics and noise, (batch, time) each."""

    f0: Curve
    noise: FilteredNoise
    block: Block
    rate: Fraction

    def __call__(self, amplitudes: Tensor, magnitudes: Tensor, *, seed: int = 0) -> tuple[Tensor, Tensor]:
        seeds = torch.arange(len(amplitudes)) + seed
        harmonics, _ = harmonic_bank(self.f0, Curve(amplitudes, self.rate), self.block)
        return harmonics, self.noise(Curve(magnitudes, self.rate), seeds, self.block.num_samples)


def _refine(
    controls: tuple[Tensor, Tensor],
    samples: Tensor,
    synthesiser: _Synthesiser,
    loss: MultiScaleSpectralLoss,
    steps: int,
    has_new_noise: bool,
) -> tuple[Tensor, Tensor]:
    """The controls of the step with the smallest loss, each sound its own; the first step's are those given."""
    is_heard = controls[0] > 0
    logarithms = [values.clamp(min=SMALLEST).log().requires_grad_() for values in controls]
    optimiser = torch.optim.Adam(logarithms, lr=LEARNING_RATE, betas=BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _share_of_rate(step, steps))
    best, smallest = controls, torch.full((len(samples),), torch.inf)
    for step in range(steps + 1):
        amplitudes, magnitudes = (values.exp() for values in logarithms)
        now = controls if step == 0 else (amplitudes * is_heard, magnitudes)
        seed = step * len(samples) if has_new_noise else 0
        losses = loss(sum(synthesiser(amplitudes * is_heard, magnitudes, seed=seed)), samples)
        is_better = losses.detach() < smallest
        smallest = torch.where(is_better, losses.detach(), smallest)
        best = tuple(
            torch.where(is_better[:, None, None], new.detach(), old) for new, old in zip(now, best, strict=True)
        )
        if step < steps:
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
            schedule.step()
    return best


def _share_of_rate(step: int, steps: int) -> float:
    """Of the learning rate: it rises over a few steps, and falls as a cosine to 0 at the last."""
    return min(1.0, (step + 1) / (WARM_UP_STEPS + 1)) * (0.5 + 0.5 * math.cos(math.pi * step / max(steps, 1)))


def _frame_length(f0: Curve, sample_rate: Fraction | float, rate: Fraction | float, seconds: float) -> int:
    longest = max(PERIODS / float(f0.values.min()), 2 / float(rate), seconds)
    return math.ceil(longest * float(sample_rate))


def _read(path: Path, sample_rate: int, seconds: float) -> Tensor:
    """(1, time) float32: the beginning of a recording."""
    import soundfile
    import soxr

    samples, rate = soundfile.read(path, dtype="float32", stop=round(seconds * soundfile.info(path).samplerate))
    return torch.from_numpy(samples if rate == sample_rate else soxr.resample(samples, rate, sample_rate))[None]


def _settings(steps: int) -> list[dict[str, Any]]:
    """Arguments of `fit_oracle` for each group of columns."""
    fitted, refined = {"steps": 0}, {"steps": steps}
    return [fitted, {**fitted, "frame_seconds": LONG_SECONDS}, refined, {**refined, "has_new_noise": True}]


def _line(path: Path, sample_rate: int, options: argparse.Namespace) -> str:
    samples = _read(path, sample_rate, options.seconds)
    f0 = track_f0(samples, sample_rate, lowest=LOWEST_HZ).f0
    noise = FilteredNoise(NUM_BANDS, sample_rate)
    settings = {"sample_rate": sample_rate, "num_harmonics": math.ceil(sample_rate / 2 / LOWEST_HZ)}
    silence = MultiScaleSpectralLoss(sample_rate)(torch.zeros_like(samples), samples)
    cells = [f"{path.stem:16} {sample_rate:6} {float(f0.values.median()):6.1f} {float(silence):8.2f} |"]
    for setting in _settings(options.steps):
        fit = fit_oracle(samples, f0, noise=noise, **settings, **setting)
        ratio = ablation(fit, samples, sample_rate=sample_rate).ratio
        cells.append(f"{float(fit.loss_refined):7.3f} {float(fit.loss_other_noise):7.3f} {float(ratio):7.2f} |")
    return " ".join(cells)


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each recording and rate."""
    parser = argparse.ArgumentParser(description="How near the synthesiser can come to recordings.")
    parser.add_argument("recordings", nargs="+", type=Path, metavar="RECORDING", help="with one channel")
    parser.add_argument("--rates", nargs="+", type=int, default=[16_000, 44_100], metavar="HZ")
    parser.add_argument("--steps", type=int, default=60, help="of refining (%(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="from the beginning of each (%(default)s)")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    groups = ("least squares", "frames of 40 ms", "refined, same noise", "refined, new noise")
    print(f"{'':40} | " + " | ".join(f"{group:23}" for group in groups))
    columns = f"{'loss':>7} {'other':>7} {'ratio':>7} |"
    print(f"{'recording':16} {'Hz':>6} {'f0':>6} {'silence':>8} | {' '.join([columns] * 4)}")
    for sample_rate in options.rates:
        for path in options.recordings:
            print(_line(path, sample_rate, options), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
