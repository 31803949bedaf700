"""KL weights as pure functions of the step: nothing to save, nothing to resume."""

from __future__ import annotations

__all__ = ["constant", "cyclical", "linear_warm_up"]


def constant(step: int, *, value: float = 1.0) -> float:
    """`value` at every step."""
    return value


def linear_warm_up(step: int, *, steps: int, start: float = 0.0, end: float = 1.0) -> float:
    """`start` at step 0, rising in a line to `end` at step `steps`, `end` from then on.

    `steps=0` is `end` at once. ValueError for `steps` below 0.
    """
    if steps < 0:
        raise ValueError(f"steps is {steps}; a warm-up takes 0 steps or more.")
    if step >= steps:
        return end
    return start + (end - start) * step / steps


def cyclical(step: int, *, period: int, rising: float = 0.5, end: float = 1.0) -> float:
    """Rises from 0 to `end` over the share `rising` of each `period`, then stays there until the next begins.

    Fu et al. 2019, arXiv 1903.10145, equation 6. ValueError for a period below 1 or a share outside (0, 1].
    """
    if period < 1:
        raise ValueError(f"period is {period}; a cycle takes 1 step or more.")
    if not 0 < rising <= 1:
        raise ValueError(f"rising is {rising}; it is a share of the period, above 0 and up to 1.")
    return end * min(1.0, (step % period) / (period * rising))
