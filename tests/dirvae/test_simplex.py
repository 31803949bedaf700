"""Shares as bars and as points in a polygon, and line charts that are written by hand."""

from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree

import pytest
import torch

from dirvae.drawing.charts import COMPONENT_COLOURS, OTHERS
from dirvae.drawing.line_charts import draw_lines_over_steps, round_ticks
from dirvae.drawing.simplex import coloured_components, draw_simplex, polygon_corners, share_bars
from dirvae.report.visual_page import bits_per_value

SVG = "{http://www.w3.org/2000/svg}"


def points(svg: str) -> list[tuple[float, float, str]]:
    """Where the points of a simplex are, without the marks of its corners, and their colours."""
    circles = [one for one in ElementTree.fromstring(svg).iter(f"{SVG}circle") if one.get("fill-opacity")]
    return [(float(one.get("cx", "")), float(one.get("cy", "")), one.get("fill", "")) for one in circles]


def test_a_point_is_the_mean_of_the_corners_weighted_by_its_shares() -> None:
    shares = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0], [0.6, 0.2, 0.2]])
    order = coloured_components(shares)
    corners = polygon_corners(3)
    found = points(draw_simplex(shares) or "")
    for (x, y, colour), row in zip(found, shares.double(), strict=True):
        place = sum(float(row[number]) * corners[at] for at, number in enumerate(order))
        assert isinstance(place, torch.Tensor)
        assert (x, y) == pytest.approx(tuple((120 * place).tolist()), abs=0.06)
        assert colour == COMPONENT_COLOURS[int(row[order].argmax())]


def test_components_that_are_no_corner_make_a_point_paler_and_do_not_move_it() -> None:
    shares = torch.zeros(2, 9)
    shares[0, :2] = 0.5
    shares[1, :2] = 0.1
    shares[1, 8] = 0.8
    shares = torch.cat([shares, torch.eye(9)[:6].repeat(20, 1)])
    svg = draw_simplex(shares) or ""
    first, second = points(svg)[:2]
    assert first[:2] == pytest.approx(second[:2])
    opacity = [float(value) for value in re.findall(r'r="3.4"[^>]*fill-opacity="([\d.]+)"', svg)]
    assert opacity[0] > opacity[1]


def test_two_components_have_no_polygon() -> None:
    assert draw_simplex(torch.tensor([[0.5, 0.5]])) is None


def test_corners_lie_on_a_circle_and_begin_at_the_top() -> None:
    corners = polygon_corners(5)
    assert corners[0].tolist() == pytest.approx([0, -1], abs=1e-12)
    assert corners.norm(dim=1).tolist() == pytest.approx([1] * 5)
    assert corners[1, 0] > 0


def test_bars_add_up_and_name_their_components() -> None:
    shares = torch.distributions.Dirichlet(torch.ones(20)).sample((3,))
    order = coloured_components(shares)
    assert len(order) == len(COMPONENT_COLOURS)
    for bar, row in zip(share_bars(shares, order), shares, strict=True):
        assert sum(segment["percent"] for segment in bar) == pytest.approx(100, abs=1e-3)
        assert bar[-1]["colour"] == OTHERS
        for segment in bar[:-1]:
            assert segment["percent"] == pytest.approx(100 * float(row[segment["number"]]))


def test_bits_are_those_of_a_code_for_steps_of_one_255th() -> None:
    evenly = 0.0  # the log density of numbers spread evenly over [0, 1]
    assert bits_per_value(evenly, 12, is_binary=False) == pytest.approx(math.log2(255))
    assert bits_per_value(-12 * math.log(2), 12, is_binary=True) == pytest.approx(1)
    assert bits_per_value(12 * math.log(255), 12, is_binary=False) == pytest.approx(0, abs=1e-12)
    assert bits_per_value(None, 12, is_binary=False) is None


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17.5), (1e-6, 3e-5), (0, 1_500_000), (99.99, 100.01)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert all(low - 1e-9 * abs(low) <= tick <= high * (1 + 1e-9) for tick in ticks)
    steps = {round((b - a) / (ticks[1] - ticks[0]), 6) for a, b in itertools.pairwise(ticks)}
    assert steps == {1}


def test_a_line_goes_through_its_values() -> None:
    svg = draw_lines_over_steps("Loss", [("a & b", [0, 50, 100], [0.0, 1.0, 0.5], False)], ["#123456"])
    [line] = ElementTree.fromstring(svg).iter(f"{SVG}polyline")
    found = [tuple(map(float, pair.split(","))) for pair in (line.get("points") or "").split()]
    assert found[1][0] == pytest.approx((found[0][0] + found[2][0]) / 2)
    assert found[2][1] == pytest.approx((found[0][1] + found[1][1]) / 2, abs=0.11)
    assert found[1][1] < found[0][1], "larger values are higher up"
    two = [("a & b", [0], [1.0], False), ("<b>", [0], [2.0], True)]
    tree = ElementTree.fromstring(draw_lines_over_steps("T", two, ["#1", "#2"]))
    names = [one.text for one in tree.iter(f"{SVG}text")]
    assert {"a & b", "<b>"} <= set(names)
