"""The learning rate as a pure function of the step: nothing to save, nothing to resume."""

from __future__ import annotations

import math

__all__ = ["SCHEDULES", "learning_rate_factor"]

SCHEDULES = ("constant", "linear", "cosine")


def learning_rate_factor(
    step: int, *, total: int, warmup: int, cooldown: float | None, schedule: str = "constant"
) -> float:
    """The factor of the learning rate at a step (from 0) of `total`: in (0, 1].

    It rises linearly over the first `warmup` steps. "constant" falls linearly over the last `cooldown` share of all
    steps; "linear", and "cosine" along half a wave, fall from the warm-up to the end, whatever `cooldown` is. It is
    above 0 at the last step.
    """
    rising = (step + 1) / (warmup + 1)
    falling = 1.0
    if schedule != "constant":
        share = min(max(step - warmup, 0) / max(total - warmup, 1), 1.0)
        falling = 1.0 - share if schedule == "linear" else (1.0 + math.cos(math.pi * share)) / 2
    elif cooldown is not None:
        length = max(1.0, cooldown * total)
        falling = max(total - step, 1) / (length + 1)
    return min(1.0, rising, falling)
