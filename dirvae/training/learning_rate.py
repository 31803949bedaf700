"""The learning rate as a pure function of the step: nothing to save, nothing to resume."""

from __future__ import annotations

__all__ = ["learning_rate_factor"]


def learning_rate_factor(step: int, *, total: int, warmup: int, cooldown: float | None) -> float:
    """The factor of the learning rate at a step (from 0) of `total`: in (0, 1].

    It rises linearly over the first `warmup` steps and falls linearly over the last `cooldown` share of all steps; it
    is above 0 at the last step.
    """
    rising = (step + 1) / (warmup + 1)
    falling = 1.0
    if cooldown is not None:
        length = max(1.0, cooldown * total)
        falling = max(total - step, 1) / (length + 1)
    return min(1.0, rising, falling)
