"""Reports, comparisons and the live view in headless Chromium: steered, printed, and fed with markup."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dirvae.evaluate.labels import Label
from dirvae.report import write_report, write_sound_report
from dirvae.report.comparison_page import ComparedRun, write_comparison_page
from dirvae.report.image_report import ImageReport
from tests.dirvae import test_report as images
from tests.dirvae import test_sound_report as sounds
from tests.dirvae import test_video_report as videos

HOSTILE = '"><img src=x onerror=alert(1)>'
CLOSING = "</script></style></main><script>alert(2)</script>"
NAME = HOSTILE  # of a run folder, where / cannot be


class Watched:
    """A page, and everything that must not happen on it: dialogs, errors in the console, requests elsewhere."""

    def __init__(self, browser: Any, root: str, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.found: list[str] = []
        self.page.on("dialog", lambda dialog: (self.found.append(dialog.message), dialog.dismiss()))
        self.page.on("pageerror", lambda error: self.found.append(str(error)))
        self.page.on("console", lambda message: self.found.append(message.text))
        self.page.on("request", lambda request: self._note(request.url, root))

    def _note(self, url: str, root: str) -> None:
        if not url.startswith(("data:", root)):
            self.found.append(url)

    def close(self) -> None:
        self.context.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A page of each kind whose keys, labels, sources and run are markup."""
    home = tmp_path_factory.mktemp("pages") / NAME
    found: dict[str, Path] = {}
    (home / "image").mkdir(parents=True)
    images.write_metrics(home / "image")
    label = Label(HOSTILE, [CLOSING, HOSTILE, None] * 5, is_category=False)
    config = {"latent": "dirichlet", "model_size": 6, "grid": None, "size": 8, "source": HOSTILE + CLOSING}
    content = images.make_content(keys=[HOSTILE + CLOSING] * 15, label=label, config=config)
    found["image"] = write_report(home / "image", images.make_model(), content, seed=0)
    (home / "audio").mkdir()
    clips = sounds.content_of(sounds.make_clips(), keys=tuple(f"{HOSTILE}{CLOSING}@{n}" for n in range(5)))
    found["audio"] = write_sound_report(home / "audio", sounds.make_model(), clips, seed=0)
    (home / "video").mkdir()
    videos.write(home / "video")
    found["video"] = home / "video" / "report.html"
    report = ImageReport(images.make_images(5), images.make_images(), 0, [HOSTILE + CLOSING] * 15)
    comparison = report.compare(images.make_model(), [0, 1])
    metrics = [{"kind": "train", "step": n, "loss": 9.0 / n, "examples_per_second": 5.0} for n in range(1, 9)]
    runs = [
        ComparedRun(name, 3, {"source": name}, {"psnr_db": psnr, "kl": 2.0}, metrics, comparison, CLOSING)
        for name, psnr in ((HOSTILE, 20.0), (CLOSING, 21.0))
    ]
    found["comparison"] = write_comparison_page(
        home / "comparison.html", runs, [HOSTILE, CLOSING], noun="image", notes=[HOSTILE]
    )
    return found


@pytest.fixture(params=["image", "audio", "video", "comparison"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_runs_no_markup_asks_for_nothing_and_breaks_no_rule(
    chromium: Any, pages: dict[str, Path], kind: str, scheme: str
) -> None:
    watched = Watched(chromium, pages[kind].as_uri(), color_scheme=scheme, viewport={"width": 375, "height": 800})
    watched.page.goto(pages[kind].as_uri())
    watched.page.wait_for_timeout(200)
    assert watched.found == []
    assert watched.page.evaluate("document.documentElement.scrollWidth") <= 375
    assert "alert(" in watched.page.inner_text("body")
    assert watched.page.locator("img[onerror], #page script").count() == 0
    dark = "rgb(22, 24, 27)"
    assert (watched.page.evaluate("getComputedStyle(document.body).backgroundColor") == dark) == (scheme == "dark")
    watched.close()


def test_the_policy_refuses_what_a_page_would_have_to_ask_for(chromium: Any, pages: dict[str, Path]) -> None:
    """A control: the same watching finds calls where something makes them."""
    watched = Watched(chromium, pages["image"].as_uri())
    watched.page.goto(pages["image"].as_uri())
    refused = watched.page.evaluate(
        """async () => {
          const found = [];
          document.addEventListener("securitypolicyviolation", (event) => found.push(event.effectiveDirective));
          const image = new Image(); image.src = "http://127.0.0.1:9/x.png"; document.body.append(image);
          const script = document.createElement("script");
          script.textContent = "window.ran = 1";
          document.body.append(script);
          const text = document.createElement("p");
          text.setAttribute("style", "color: red");
          document.body.append(text);
          await fetch("http://127.0.0.1:9/").catch(() => {});
          await new Promise((done) => setTimeout(done, 200));
          return [...found, typeof window.ran];
        }"""
    )
    assert set(refused) == {"img-src", "script-src-elem", "style-src-attr", "connect-src", "undefined"}
    assert watched.found, "violations are told in the console"
    watched.close()


@pytest.mark.parametrize("steered", ["image", "audio", "video"])
def test_the_slider_and_both_choosers_change_the_picture_by_keys_alone(
    chromium: Any, pages: dict[str, Path], steered: str
) -> None:
    watched = Watched(chromium, pages[steered].as_uri(), reduced_motion="reduce")
    page = watched.page
    page.goto(pages[steered].as_uri())
    stage, slider = page.locator(".stage"), page.locator(".along input")
    assert page.locator(".edges").is_hidden()
    views = set()
    slider.focus()
    for _ in range(9):
        page.keyboard.press("ArrowLeft")
    steps = int(page.locator(".steer").get_attribute("data-steps"))
    for _ in range(steps):
        views.add(stage.get_attribute("viewBox"))
        page.keyboard.press("ArrowRight")
    assert len(views) == steps
    before = stage.get_attribute("viewBox")
    last = page.locator("fieldset.to input").count() - 1
    page.locator("fieldset.to input").nth(1).focus()
    page.keyboard.press("ArrowRight")
    assert stage.get_attribute("viewBox") != before
    first, second = (
        page.locator(f"fieldset.{name} input").nth(place) for name, place in (("from", last), ("to", 0))
    )
    first.check()
    second.check()
    numbers = first.get_attribute("data-number"), second.get_attribute("data-number")
    slider.fill("0")
    assert page.inner_text("output") == f"100 % of {numbers[0]}, 0 % of {numbers[1]}"
    there = stage.get_attribute("viewBox")
    page.locator("fieldset.from input").nth(0).check()
    page.locator("fieldset.to input").nth(last).check()
    slider.fill(str(steps - 1))
    assert stage.get_attribute("viewBox") == there, "the end of an edge is the beginning of the way back"
    assert watched.found == []
    watched.close()


def test_the_player_has_the_sound_of_the_place_and_goes_on(chromium: Any, pages: dict[str, Path]) -> None:
    watched = Watched(chromium, pages["audio"].as_uri())
    page = watched.page
    page.goto(pages["audio"].as_uri())
    player, slider = page.locator(".controls audio"), page.locator(".along input")
    sounds_heard = []
    for step in range(5):
        slider.fill(str(step))
        sounds_heard.append(player.get_attribute("src"))
    assert len({base64.b64decode(uri.partition(",")[2]) for uri in sounds_heard}) == 5
    first = page.locator("fieldset.from input:checked").get_attribute("data-number")
    assert sounds_heard[0] == page.locator(f'audio[data-component="{first}"]').get_attribute("src")
    page.evaluate("document.querySelector('.controls audio').loop = true")
    page.evaluate("document.querySelector('.controls audio').play()")
    slider.fill("1")
    page.wait_for_timeout(300)
    assert page.evaluate("!document.querySelector('.controls audio').paused")
    assert watched.found == []
    watched.close()


@pytest.mark.parametrize("shown", ["image", "audio", "video"])
def test_without_scripts_and_in_print_the_edges_are_there_as_pictures(
    chromium: Any, pages: dict[str, Path], shown: str
) -> None:
    for options, media in (({"java_script_enabled": False}, "screen"), ({}, "print")):
        watched = Watched(chromium, pages[shown].as_uri(), **options)
        watched.page.goto(pages[shown].as_uri())
        watched.page.emulate_media(media=media)
        assert watched.page.locator(".edges").is_visible()
        assert watched.page.locator(".controls").is_hidden()
        box = watched.page.locator(".edge svg").first.bounding_box()
        assert box["width"] > 20
        assert box["height"] > 5
        assert watched.found == []
        watched.close()


def test_the_live_view_keeps_what_was_set_and_tells_the_end(chromium: Any, pages: dict[str, Path]) -> None:
    pytest.importorskip("uvicorn", reason="serves: pip install 'dirvae[explore]'")
    from dirvae.run.live_view import LiveView

    run = pages["audio"].parent
    training = SimpleNamespace(step=3, total_steps=9, stopped_early=False)
    view = LiveView(run, is_stopped=lambda: True)
    root = view.url.partition("?")[0]
    watched = Watched(chromium, root, viewport={"width": 1000, "height": 700})
    page = watched.page
    try:
        page.goto(view.url)
        view.watch(training)
        page.wait_for_selector("text=step 3 of 9", timeout=20_000)
        assert page.url == root, "the token is not in the address any more"
        page.wait_for_selector(".stage")
        page.locator("fieldset.to input").nth(3).check()
        page.locator(".along input").fill("3")
        page.evaluate("document.querySelector('.timbre audio').loop = true")
        page.evaluate("document.querySelector('.timbre audio').play()")
        page.evaluate("window.scrollTo(0, 900)")
        page.evaluate("window.kept = document.querySelector('.stage')")
        top = "document.querySelector('.stage').getBoundingClientRect().top"
        before = page.inner_text("output"), page.evaluate(top)
        report = run / "report.html"
        text = report.read_text("utf-8")
        report.write_text(text.replace("trained for 4", "trained for 444"), "utf-8")
        training.step = 5
        page.wait_for_selector("text=trained for 444", timeout=20_000)
        assert page.inner_text("output") == before[0]
        assert abs(page.evaluate(top) - before[1]) < 2, "what is looked at stays where it is"
        assert page.evaluate("window.kept === document.querySelector('.stage')"), "left as it is, not made anew"
        assert page.evaluate("!document.querySelector('.timbre audio').paused")
        assert "step 5 of 9" in page.inner_text(".live-bar")
        assert "onerror=alert(1)" in page.inner_text("#page")
        assert watched.found == []
        view.__exit__(None, None, None)
        page.wait_for_selector("text=Connection lost", timeout=20_000)
        assert [
            text for text in watched.found if "ERR_CONNECTION" not in text and "Failed to load" not in text
        ] == []
    finally:
        view.__exit__(None, None, None)
        watched.close()


def test_the_live_view_says_that_a_training_has_ended(chromium: Any, pages: dict[str, Path]) -> None:
    pytest.importorskip("uvicorn", reason="serves: pip install 'dirvae[explore]'")
    from dirvae.run.live_view import LiveView

    watched = Watched(chromium, "http://127.0.0.1")
    with LiveView(pages["image"].parent) as view:
        view.watch(SimpleNamespace(step=9, total_steps=9, stopped_early=False))
        watched.page.goto(view.url)
        watched.page.wait_for_selector(".stage", timeout=20_000)
        began = time.perf_counter()
    assert time.perf_counter() - began < 12
    watched.page.wait_for_selector("text=The training has ended", timeout=10_000)
    assert watched.found == []
    watched.close()
