"""The application in a browser: it shows, it is steered, it exports, and keys are text."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.dirvae.explored_fakes import HOSTILE_KEYS, fake_run, media_of

Open = Callable[..., Any]
PIXELS = """canvas => Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data)"""
STEERED = "#panel-steer .is-main canvas"
VIEWS = ["steer", "between", "components", "map", "upload", "explore"]


def pixels(page: Any, canvas: str = STEERED) -> Any:
    """The colours of a canvas: (height, width, 3)."""
    size = page.eval_on_selector(canvas, "canvas => [canvas.height, canvas.width]")
    return np.array(page.eval_on_selector(canvas, PIXELS), np.uint8).reshape(*size, 4)[..., :3]


def slide(page: Any, component: int, value: float) -> None:
    """Move a slider of the steering view as a pointer does, and wait for what it paints."""
    page.evaluate(
        """([component, value]) => new Promise((resolve) => {
          const range = document.querySelector(`#panel-steer .slider[data-component="${component}"] input[type=range]`);
          document.addEventListener("painted", resolve, { once: true });
          range.value = value;
          range.dispatchEvent(new Event("input", { bubbles: true }));
          range.dispatchEvent(new Event("change", { bubbles: true }));
        })""",
        [component, value],
    )


def settled(page: Any) -> None:
    """Wait until the steering view has painted its example."""
    page.wait_for_selector("#panel-steer .exports button")
    until(page, "document.querySelector('#panel-steer .stage figure canvas').width === 32")


def until(page: Any, expression: str, seconds: float = 30) -> None:
    """Wait until an expression is true. Playwright's own waiting evaluates text, which the page's policy forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


def test_a_slider_changes_the_picture_to_what_the_model_makes_of_it(pictures: str, open_page: Open) -> None:
    page = open_page(pictures).page
    settled(page)
    latent = fake_run(300, 20).latents[0].double().numpy()
    np.testing.assert_array_equal(pixels(page), media_of("image", latent[None]).values[0])
    component = int(latent.argmax())
    slide(page, component, 0.1)
    expected = latent * 0.9 / (1 - latent[component])
    expected[component] = 0.1
    assert np.abs(pixels(page).astype(int) - media_of("image", expected[None]).values[0]).max() <= 1
    page.click("text=Undo")
    page.wait_for_selector("#panel-steer button:text('Undo'):disabled")
    page.wait_for_timeout(300)
    np.testing.assert_array_equal(pixels(page), media_of("image", latent[None]).values[0])


def test_the_newest_of_a_burst_of_moves_is_shown_and_only_one_is_in_flight(pictures: str, open_page: Open) -> None:
    page = open_page(pictures).page
    settled(page)
    component = int(fake_run(300, 20).latents[0].argmax())
    found = page.evaluate(
        """async (component) => {
          const range = document.querySelector(`#panel-steer .slider[data-component="${component}"] input[type=range]`);
          let [flying, most, asked] = [0, 0, 0];
          const real = window.fetch;
          window.fetch = async (...given) => {
            if (String(given[0]).endsWith("/api/decode")) { asked += 1; flying += 1; most = Math.max(most, flying); }
            try { return await real(...given); } finally { if (String(given[0]).endsWith("/api/decode")) flying -= 1; }
          };
          for (let move = 0; move <= 100; move += 1) {
            range.value = 0.1 + move / 500;
            range.dispatchEvent(new Event("input", { bubbles: true }));
            await new Promise((resolve) => setTimeout(resolve, 2));
          }
          range.dispatchEvent(new Event("change", { bubbles: true }));
          const value = Number(range.value);
          while (flying) await new Promise((resolve) => setTimeout(resolve, 20));
          await new Promise((resolve) => setTimeout(resolve, 300));
          window.fetch = real;
          return { most, asked, value };
        }""",
        component,
    )
    assert found["most"] == 1
    assert 1 <= found["asked"] <= 102
    latent = fake_run(300, 20).latents[0].double().numpy()
    expected = latent * (1 - found["value"]) / (1 - latent[component])
    expected[component] = found["value"]
    assert np.abs(pixels(page).astype(int) - media_of("image", expected[None]).values[0]).max() <= 1


def test_a_number_can_be_typed_and_keys_undo_it(pictures: str, open_page: Open) -> None:
    page = open_page(pictures).page
    settled(page)
    number = page.locator("#panel-steer .slider input[type=number]").first
    before = number.input_value()
    number.fill("2")
    number.press("Enter")
    assert number.input_value() == "1.000"
    page.focus("#panel-steer .slider input[type=range]")
    page.keyboard.press("Control+z")
    page.wait_for_timeout(200)
    assert page.locator("#panel-steer .slider input[type=number]").first.input_value() == before


def test_what_is_exported_equals_what_is_shown(pictures: str, open_page: Open) -> None:
    page = open_page(pictures).page
    settled(page)
    with page.expect_download() as waiting:
        page.click("#panel-steer [data-format=png]")
    with open(waiting.value.path(), "rb") as file:
        saved = np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB"))
    assert waiting.value.suggested_filename == "fake-steered.png"
    np.testing.assert_array_equal(saved, pixels(page))


def test_the_map_shows_thumbnails_that_do_not_touch_and_takes_one_by_keyboard(
    pictures: str, open_page: Open
) -> None:
    page = open_page(pictures, tab="map").page
    page.wait_for_selector(".map-tile")
    page.wait_for_timeout(500)
    boxes = page.eval_on_selector_all(
        ".map-tile",
        "tiles => tiles.map(t => { const b = t.getBoundingClientRect(); return [b.left, b.top, b.width]; })",
    )
    assert len(boxes) > 15
    for place, (left, top, side) in enumerate(boxes):
        for x, y, _ in boxes[:place]:
            assert abs(left - x) >= side - 0.5 or abs(top - y) >= side - 0.5
    colours = page.eval_on_selector_all(
        ".map-tile canvas",
        "all => all.map(c => Array.from(c.getContext('2d').getImageData(32, 32, 1, 1).data).join())",
    )
    assert len(set(colours)) > 10
    page.focus(".map-tile[tabindex='0']")
    visited = [page.evaluate("document.activeElement.dataset.example")]
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "+"):
        page.keyboard.press(key)
        page.wait_for_timeout(60)
        visited.append(page.evaluate("document.activeElement.dataset.example"))
    assert len(set(visited)) > 2
    assert page.evaluate("document.activeElement.classList.contains('map-tile')")
    page.keyboard.press("ArrowRight")
    second = page.evaluate("document.activeElement.dataset.example")
    assert second is not None
    page.keyboard.press("Enter")
    page.click("text=Steer it")
    key = fake_run(300, 20).keys[int(second)]
    until(page, f"document.querySelector('#panel-steer .example-key').textContent === {json.dumps(key)}")


def test_the_map_keeps_the_last_choice_when_answers_are_late_and_thumbnails_leave(
    pictures: str, open_page: Open
) -> None:
    page = open_page(pictures, tab="map").page
    page.wait_for_selector(".map-tile")
    page.wait_for_timeout(500)
    first, last = page.evaluate(
        """() => {
          const real = window.fetch;
          let asked = 0;
          window.fetch = async (...given) => {
            const isFirst = String(given[0]).endsWith("/api/original") && (asked += 1) === 1;
            const answer = await real(...given);
            if (isFirst) await new Promise((resolve) => setTimeout(resolve, 600));
            return answer;
          };
          const far = (tile) => {
            const [world, box] = [tile.parentElement.getBoundingClientRect(), tile.getBoundingClientRect()];
            return Math.abs(box.x - world.x - world.width / 2) / world.width;
          };
          const tiles = [...document.querySelectorAll(".map-tile")].sort((a, b) => far(a) - far(b));
          const chosen = [tiles[0], tiles.at(-1)];
          for (const tile of chosen) tile.click();
          return chosen.map((tile) => tile.dataset.example);
        }"""
    )
    page.wait_for_timeout(1200)
    keys = fake_run(300, 20).keys
    assert keys[int(first)] != keys[int(last)] == page.text_content(".map-preview h3")
    tile = f"document.querySelector('.map-tile[data-example=\"{last}\"]')"
    for _ in range(6):
        page.click("button[aria-label='Zoom in']")
    until(page, f"{tile} === null")
    page.click("button[aria-label='Show all']")
    until(page, f"{tile} !== null")
    assert page.evaluate(f"{tile}.classList.contains('is-chosen')")


def test_a_file_is_encoded_beside_its_reconstruction_and_a_bad_one_gets_a_sentence(
    pictures: str, open_page: Open
) -> None:
    page = open_page(pictures, tab="upload").page
    bad = {"name": "<img src=x>.png", "mimeType": "image/png", "buffer": b"\x89PNG nothing"}
    page.set_input_files("#panel-upload input[type=file]", bad)
    page.wait_for_selector("#panel-upload .problem:not(:empty)")
    said = page.text_content("#panel-upload .problem")
    assert said == "<img src=x>.png: is not a picture. Give another file."
    page.set_input_files("#panel-upload input[type=file]", {**bad, "name": "mine.png", "buffer": b"FAKE\x09"})
    page.wait_for_selector("#panel-upload .upload-result h3:text('mine.png')")
    assert page.text_content("#panel-upload .problem") == ""
    expected = fake_run(300, 20).original(9).values[0]
    np.testing.assert_array_equal(pixels(page, "#panel-upload figure:nth-of-type(1) canvas"), expected)
    page.click("#panel-upload >> text=Steer it")
    page.wait_for_selector("#panel-steer:not([hidden])")


@pytest.mark.parametrize("kind", ["pictures", "sounds", "clips"])
def test_every_view_of_every_kind_opens_without_a_complaint(
    kind: str, open_page: Open, request: pytest.FixtureRequest
) -> None:
    opened = open_page(request.getfixturevalue(kind))
    for view in VIEWS:
        opened.page.click(f"#tab-{view}")
        opened.page.wait_for_selector(f"#panel-{view}:not([hidden]) h2")
        opened.page.wait_for_timeout(400)
    opened.page.wait_for_selector("#panel-explore .explore-result .sheet canvas")
    assert opened.problems == []
    assert opened.foreign == []


def test_every_exploration_can_be_asked_for_in_the_page(pictures: str, open_page: Open) -> None:
    opened = open_page(pictures, tab="explore")
    for button in opened.page.locator(".explore-choice").all():
        button.click()
        opened.page.wait_for_selector("#panel-explore form h3:text('" + button.text_content() + "')")
        opened.page.wait_for_selector("#panel-explore .explore-result:not(.is-busy) .card :is(.sheet, .chart svg)")
    assert opened.problems == []


def test_keys_that_are_html_are_shown_as_text(pictures: str, open_page: Open) -> None:
    opened = open_page(pictures)
    page = opened.page
    settled(page)
    page.click("#panel-steer .example-button")
    page.wait_for_selector("#chooser .tile")
    shown = page.eval_on_selector_all("#chooser .tile-key", "keys => keys.slice(0, 2).map(k => k.textContent)")
    assert tuple(shown) == HOSTILE_KEYS
    assert page.locator("#chooser img").count() == 0
    page.keyboard.press("Escape")
    page.wait_for_timeout(200)
    assert "owned" not in page.title()
    assert opened.problems == []


def test_a_sound_plays_and_a_clip_moves(sounds: str, clips: str, open_page: Open) -> None:
    page = open_page(sounds).page
    page.wait_for_selector("#panel-steer .is-main .play")
    page.click("#panel-steer .is-main .play")
    page.wait_for_selector("#panel-steer .is-main .play:text('Stop')")
    page.wait_for_selector("#panel-steer .is-main .play:text('Play')")
    page = open_page(clips).page
    page.wait_for_selector("#panel-steer .is-main .media-controls button")
    frames = {
        page.input_value("#panel-steer .is-main .media-controls input")
        for _ in range(12)
        if not page.wait_for_timeout(70)
    }
    assert len(frames) > 2


def test_two_models_move_together_unless_told_otherwise(twins: str, open_page: Open) -> None:
    opened = open_page(twins, tab="compare")
    page = opened.page
    page.wait_for_selector(".compare-pane:nth-of-type(2) .exports button")
    number = "#panel-compare .compare-pane:nth-of-type({}) .slider[data-component='2'] input[type=number]"
    page.fill(number.format(1), "0.5")
    page.press(number.format(1), "Enter")
    assert page.input_value(number.format(2)) == "0.500"
    page.uncheck("#compare-link")
    page.fill(number.format(1), "0.25")
    page.press(number.format(1), "Enter")
    assert page.input_value(number.format(2)) == "0.500"
    assert opened.problems == []


def test_a_trained_run_is_steered(trained: str, open_page: Open) -> None:
    opened = open_page(trained)
    page = opened.page
    page.wait_for_selector("#panel-steer .exports button")
    before = pixels(page)
    assert before.shape == (64, 64, 3)
    component = page.get_attribute("#panel-steer .slider", "data-component")
    page.check("#panel-steer .sliders input[type=checkbox]")
    slide(page, int(component), 0.95)
    assert np.abs(pixels(page).astype(int) - before).max() > 2
    assert opened.problems == []
