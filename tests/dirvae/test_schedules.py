"""KL weights at the steps that matter."""

from __future__ import annotations

import pytest

from dirvae.schedules import constant, cyclical, linear_warm_up


def test_a_constant_weight_is_the_same_at_every_step() -> None:
    assert [constant(step, value=0.5) for step in (0, 1, 10**9)] == [0.5] * 3


def test_a_warm_up_rises_in_a_line_and_stays() -> None:
    assert [linear_warm_up(step, steps=4) for step in range(7)] == [0, 0.25, 0.5, 0.75, 1, 1, 1]
    assert linear_warm_up(5, steps=10, start=0.2, end=0.6) == pytest.approx(0.4)


def test_a_warm_up_of_no_steps_is_at_its_end_at_once() -> None:
    assert linear_warm_up(0, steps=0, end=0.7) == 0.7


def test_a_cycle_rises_over_its_first_half_and_starts_again() -> None:
    assert [cyclical(step, period=4) for step in range(9)] == [0, 0.5, 1, 1, 0, 0.5, 1, 1, 0]
    assert [cyclical(step, period=4, rising=1.0, end=2.0) for step in range(5)] == [0, 0.5, 1, 1.5, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_warm_up(0, steps=-1), "steps is -1"),
        (lambda: cyclical(0, period=0), "period is 0"),
        (lambda: cyclical(0, period=5, rising=0.0), "rising is 0"),
        (lambda: cyclical(0, period=5, rising=1.5), "rising is 1.5"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
