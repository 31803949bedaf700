"""The application for everyone: axe-core finds nothing, the keyboard reaches all, narrow pages do not overflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]
VIEWS = ["steer", "between", "components", "map", "upload", "explore"]
RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, as the package of its name brings it."""
    package = pytest.importorskip(
        "axe_playwright_python", reason="axe-playwright-python is absent: it brings axe-core"
    )
    (found,) = Path(package.__file__).parent.rglob("axe.min.js")
    return found.read_text(encoding="utf-8")


def violations(page: Any, axe: str) -> list[str]:
    """What axe-core finds: rule and elements."""
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(content=axe)
    found = page.evaluate("rules => axe.run(document, rules)", RULES)["violations"]
    return [
        f"{one['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for one in found
        for node in one["nodes"][:3]
    ]


heavy = pytest.mark.heavy


@pytest.mark.parametrize(
    ("kind", "theme"),
    [
        ("pictures", "light"),
        ("pictures", "dark"),
        ("sounds", "dark"),
        ("clips", "light"),
        pytest.param("sounds", "light", marks=heavy),
        pytest.param("clips", "dark", marks=heavy),
    ],
)
def test_axe_finds_nothing_on_any_view(
    axe: str, open_page: Open, kind: str, theme: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(kind)
    page = open_page(url, color_scheme=theme, bypass_csp=True, reduced_motion="reduce").page
    for view in VIEWS:
        page.click(f"#tab-{view}")
        page.wait_for_timeout(900)
        assert violations(page, axe) == [], view
    page.click("#tab-steer")
    page.click("#panel-steer .example-button")
    page.wait_for_selector("#chooser .tile")
    assert violations(page, axe) == []


@pytest.mark.parametrize("theme", [pytest.param("light", marks=heavy), "dark"])
def test_axe_finds_nothing_on_two_models_side_by_side(axe: str, twins: str, open_page: Open, theme: str) -> None:
    page = open_page(twins, tab="compare", color_scheme=theme, bypass_csp=True).page
    page.wait_for_selector(".compare-pane:nth-of-type(2) .exports button")
    assert violations(page, axe) == []


def test_a_narrow_page_does_not_scroll_sideways(pictures: str, open_page: Open) -> None:
    page = open_page(pictures, viewport={"width": 375, "height": 760}).page
    for view in VIEWS:
        page.click(f"#tab-{view}")
        page.wait_for_timeout(600)
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, view
        box = page.locator(f"#tab-{view}").bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= 375, view


def test_the_keyboard_alone_reaches_every_control(pictures: str, open_page: Open) -> None:
    page = open_page(pictures).page
    for view in VIEWS:
        page.click(f"#tab-{view}")
        page.wait_for_timeout(900)
        assert missed_by_keys(page, view) == [], view


def missed_by_keys(page: Any, view: str) -> list[str]:
    """The controls of a view to which Tab does not come."""
    wanted = page.evaluate(
        """view => {
          const all = document.querySelectorAll(`#panel-${view} :is(button, input, select, textarea, [tabindex="0"])`);
          let number = 0;
          for (const one of all) {
            const isOther = one.type === "radio" && !one.checked;
            if (one.disabled || one.tabIndex < 0 || isOther || !one.checkVisibility()) continue;
            one.dataset.reached = "no";
            number += 1;
          }
          return number;
        }""",
        view,
    )
    assert wanted > 0
    page.focus(f"#tab-{view}")
    for _ in range(wanted + 12):
        page.keyboard.press("Tab")
        page.evaluate("if (document.activeElement.dataset) document.activeElement.dataset.reached = 'yes'")
    missed = "all => all.map(one => one.outerHTML.slice(0, 120))"
    found: list[str] = page.eval_on_selector_all(f"#panel-{view} [data-reached=no]", missed)
    return found


def test_tabs_are_walked_with_arrows_and_the_theme_is_switched(pictures: str, open_page: Open) -> None:
    page = open_page(pictures).page
    page.focus("#tab-steer")
    page.keyboard.press("ArrowDown")
    assert page.get_attribute("#tab-between", "aria-selected") == "true"
    page.keyboard.press("End")
    assert page.get_attribute("#tab-explore", "aria-selected") == "true"
    grounds = set()
    for _ in range(3):
        page.click("#theme")
        grounds.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 2
