"""The arithmetic of the sliders, in the JavaScript of the page itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

MOVES = """
async ([size, cells, moves]) => {
  const { moveShare, moveMeanShare, rememberedProportions, meanShare } = await import("/simplex.js");
  const { History } = await import("/history.js");
  let seed = 12345;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const values = new Float64Array(size * cells);
  for (let cell = 0; cell < cells; cell += 1) {
    let total = 0;
    for (let k = 0; k < size; k += 1) total += values[k * cells + cell] = random() ** 4;
    for (let k = 0; k < size; k += 1) values[k * cells + cell] /= total;
  }
  const first = values.slice();
  const memory = rememberedProportions(values);
  const history = new History(moves + 1);
  let [worst, least, missed] = [0, 0, 0];
  for (let move = 0; move < moves; move += 1) {
    history.record(values);
    const component = Math.floor(random() * size);
    const extreme = random();
    const share = extreme < 0.1 ? 0 : extreme < 0.2 ? 1 : random();
    moveMeanShare(values, memory, cells, component, share);
    missed = Math.max(missed, Math.abs(meanShare(values, cells, component) - share));
    for (let cell = 0; cell < cells; cell += 1) {
      let sum = 0;
      for (let k = 0; k < size; k += 1) {
        sum += values[k * cells + cell];
        least = Math.min(least, values[k * cells + cell]);
      }
      worst = Math.max(worst, Math.abs(sum - 1));
    }
  }
  let now = values.slice();
  while (history.canUndo) now = history.undo(now);
  const isBack = now.every((value, place) => value === first[place]);
  while (history.canRedo) now = history.redo(now);
  return { worst, least, missed, isBack, isForth: now.every((value, place) => value === values[place]) };
}
"""

RATIOS = """
async () => {
  const { moveShare, rememberedProportions } = await import("/simplex.js");
  const values = Float64Array.of(0.5, 0.3, 0.15, 0.05, 0);
  const memory = rememberedProportions(values);
  const seen = [];
  for (const share of [0.9, 0.2, 1, 0.5, 0, 0.5]) {
    moveShare(values, memory, 1, 0, 0, share);
    seen.push(Array.from(values));
  }
  const alone = Float64Array.of(0, 0, 1);
  const nothing = rememberedProportions(alone);
  moveShare(alone, nothing, 1, 0, 2, 0.4);
  return { seen, alone: Array.from(alone) };
}
"""


@pytest.mark.parametrize(("size", "cells"), [(32, 1), (2, 1), (8, 16)])
def test_10000_random_moves_stay_on_the_simplex_and_undo_returns_to_the_start(
    pictures: str, open_page: Callable[..., Any], size: int, cells: int
) -> None:
    found = open_page(pictures).page.evaluate(MOVES, [size, cells, 10_000])
    assert found["worst"] < 1e-6
    assert found["least"] >= 0
    assert found["missed"] < (1e-12 if cells == 1 else 1e-6)
    assert found["isBack"]
    assert found["isForth"]


def test_the_others_keep_their_ratios_and_come_back_from_zero(pictures: str, open_page: Callable[..., Any]) -> None:
    found = open_page(pictures).page.evaluate(RATIOS)
    shares = [0.9, 0.2, 1, 0.5, 0, 0.5]
    for values, share in zip(found["seen"], shares, strict=True):
        rest = 1 - share
        expected = [share, 0.6 * rest, 0.3 * rest, 0.1 * rest, 0]
        assert values == pytest.approx(expected, abs=1e-12)
    assert found["alone"] == pytest.approx([0.3, 0.3, 0.4], abs=1e-12)
