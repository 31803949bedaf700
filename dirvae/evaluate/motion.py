"""How much of the motion in held-out clips a model reproduces, beside what is measured of any examples.

A clip is its mean frame and what differs from that over time. A model that decodes a good still has a high PSNR where
little moves, so the second part is measured by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor

from dirvae.autoencoder import AutoEncoder
from dirvae.evaluate.held_out import HeldOut

__all__ = ["evaluate_clips", "motion", "motion_error"]


def motion(decoded: Tensor, clips: Tensor) -> Tensor:
    """Mean square of what differs from each clip's own mean frame: (batch, channel, time, *dims) → (batch,)."""
    return _moving(clips).square().flatten(1).mean(1)


def motion_error(decoded: Tensor, clips: Tensor) -> Tensor:
    """Mean squared error of that difference: two (batch, channel, time, *dims) → (batch,)."""
    return (_moving(decoded) - _moving(clips)).square().flatten(1).mean(1)


def evaluate_clips(
    batches: Iterable[Any], *, mean: Tensor, seed: int, limit: int
) -> Callable[[AutoEncoder], dict[str, Any]]:
    """An evaluation as `HeldOut` makes it, of clips (batch, channel, time, height, width).

    It also gives `motion_explained`, 1 - error / motion over all clips: 1 is perfect, 0 is what any still reaches,
    and it is absent where nothing moves.
    """
    measures = {"motion": motion, "motion_error": motion_error}
    held_out = HeldOut(batches, mean=mean, seed=seed, limit=limit, noun="clip", measures=measures)

    def evaluate(model: AutoEncoder) -> dict[str, Any]:
        numbers = held_out(model)
        total, error = numbers.pop("motion"), numbers.pop("motion_error")
        return {**numbers, "motion_explained": 1 - error / total} if total > 0 else numbers

    return evaluate


def _moving(clips: Tensor) -> Tensor:
    return clips - clips.mean(2, keepdim=True)
