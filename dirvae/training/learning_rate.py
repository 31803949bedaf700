"""The learning rate as a pure function of the step: nothing to save, nothing to resume."""

from __future__ import annotations

__all__ = ["learning_rate_factor"]


def learning_rate_factor(step: int, *, total: int, warmup: int, cooldown: float | None) -> float:
    """What to multiply the learning rate by at a step (from 0) of `total`: in (0, 1].

    Rises in a line over the first `warmup` steps, falls in a line over the last `cooldown` share of all; the last
    step still moves.
    """
    rising = (step + 1) / (warmup + 1)
    falling = 1.0
    if cooldown is not None:
        length = max(1.0, cooldown * total)
        falling = max(total - step, 1) / (length + 1)
    return min(1.0, rising, falling)
