"""Pictures of the application, the report and the command line for the documentation, from real runs.

    python benchmarks/explore_pictures.py --images RUN --other RUN --sounds RUN [--only NAME ...] [--out docs/pictures]

--images  a run of pictures with two levels, as `make demo` trains it
--other   a second run on the same pictures, with one level: for the comparison and the command line
--sounds  a run of sounds
Writes WebP files of at most 150 kB each. Pages are photographed in headless Chromium. The live view shows a real
training, which is resumed for some steps in a copy of the run.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

from explore import CHROMIUM_FLAGS, application, browser_of, environment  # noqa: E402

MOST_BYTES = 150_000
QUALITIES = (90, 84, 78, 70, 60, 50)
EXAMPLE = "scene-000169"
"""A ball at sunset; the keys are those of tools/make_sample_data.py."""
ENDS = ("scene-000169", "scene-000582")
SUM = ("scene-000169", "scene-000582", "scene-000270")
WIDE = {"width": 1440, "height": 900}


class Studio:
    """Photographs pages and keeps the files small."""

    def __init__(self, browser: Any, options: argparse.Namespace) -> None:
        self.browser, self.options = browser, options

    def wants(self, name: str) -> bool:
        """Whether a picture is asked for."""
        return not self.options.only or name in self.options.only

    @contextmanager
    def page(self, url: str, *, theme: str = "light", **options: Any) -> Iterator[Any]:
        """A page in a theme, once it is loaded."""
        context = self.browser.new_context(**{"viewport": WIDE, "color_scheme": theme, **options})
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(url)
        yield page
        context.close()

    def keep(self, name: str, png: bytes, *, widest: int = 1440) -> None:
        """Write a picture as WebP, with the best quality that fits into `MOST_BYTES`."""
        picture = Image.open(io.BytesIO(png)).convert("RGB")
        if picture.width > widest:
            picture = picture.resize(
                (widest, round(picture.height * widest / picture.width)), Image.Resampling.LANCZOS
            )
        for quality in QUALITIES:
            buffer = io.BytesIO()
            picture.save(buffer, "WEBP", quality=quality, method=6)
            if buffer.tell() <= MOST_BYTES:
                break
        path = self.options.out / f"{name}.webp"
        path.write_bytes(buffer.getvalue())
        print(f"{path}: {picture.width} x {picture.height}, {buffer.tell() / 1000:.0f} kB")


def main(argv: Sequence[str] | None = None) -> int:
    """Make the pictures."""
    options = _parser().parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    with browser_of(options.chromium, [*CHROMIUM_FLAGS, "--font-render-hinting=none"]) as browser:
        studio = Studio(browser, options)
        for take in (of_pictures, of_sounds, of_reports, of_comparison, of_live_view, of_command_line):
            take(studio)
    return 0


def of_pictures(studio: Studio) -> None:
    """Views of the application over a run of pictures."""
    shots: dict[str, tuple[str, str, Callable[[Any], None]]] = {
        "explore-steer": ("light", "steer", _steered),
        "explore-map": ("dark", "map", _mapped),
        "explore-between": ("light", "between", lambda page: page.wait_for_timeout(2500)),
        "explore-components": ("dark", "components", lambda page: page.wait_for_timeout(2000)),
    }
    if not any(map(studio.wants, shots)):
        return
    with application(studio.options.images) as (_, url):
        for name, (theme, tab, act) in shots.items():
            if studio.wants(name):
                _application_shot(studio, url, name, theme, tab, act)


def _application_shot(
    studio: Studio, url: str, name: str, theme: str, tab: str, act: Callable[[Any], None]
) -> None:
    with studio.page(url, theme=theme) as page:
        page.wait_for_selector("html[data-whole]")
        page.click(f"#tab-{tab}")
        act(page)
        page.mouse.move(5, 890)
        studio.keep(name, page.screenshot())


def _steered(page: Any) -> None:
    """An example with two components moved."""
    page.wait_for_selector("#panel-steer .exports button")
    if page.locator("#panel-steer .is-main .play").count() == 0:
        page.click("#panel-steer .example-button")
        page.fill("#chooser input[type=search]", EXAMPLE)
        page.click("#chooser .tile")
        page.wait_for_timeout(800)
    for place, share in ((0, 0.55), (2, 0.4)):
        page.locator("#panel-steer .slider input[type=range]").nth(place).evaluate(
            """(slider, share) => {
              slider.value = Number(slider.max) * share;
              for (const name of ["input", "change"]) slider.dispatchEvent(new Event(name, { bubbles: true }));
            }""",
            share,
        )
        page.wait_for_timeout(400)


def _mapped(page: Any) -> None:
    page.wait_for_timeout(2500)
    page.locator("#panel-map .map-tile").nth(12).click(force=True)
    page.wait_for_timeout(1200)


def of_sounds(studio: Studio) -> None:
    """The application over a run of sounds."""
    if studio.wants("explore-sounds"):
        with application(studio.options.sounds) as (_, url):
            _application_shot(studio, url, "explore-sounds", "dark", "steer", _steered)


def of_reports(studio: Studio) -> None:
    """The report, and its part that can be steered."""
    address = (studio.options.images / "report.html").resolve().as_uri()
    if studio.wants("report-light"):
        with studio.page(address) as page:
            page.wait_for_timeout(500)
            studio.keep("report-light", page.screenshot())
    if studio.wants("report-edges"):
        with studio.page(address, theme="dark", viewport={"width": 1280, "height": 1000}) as page:
            page.locator(".along input").fill("4")
            page.locator(".along input").blur()
            studio.keep("report-edges", _section(page, ".steer"))


def _section(page: Any, inside: str) -> bytes:
    """A section of a report, with a margin around it."""
    section = page.locator(f"section:has({inside})").first
    section.scroll_into_view_if_needed()
    box = section.bounding_box()
    scrolled = page.evaluate("window.scrollY")
    clip = {
        "x": box["x"] - 28,
        "y": box["y"] + scrolled - 28,
        "width": box["width"] + 56,
        "height": box["height"] + 56,
    }
    png: bytes = page.screenshot(clip=clip, full_page=True)
    return png


def of_comparison(studio: Studio) -> None:
    """A page that compares two runs."""
    if not studio.wants("report-comparison"):
        return
    with tempfile.TemporaryDirectory() as home:
        out = Path(home) / "comparison.html"
        runs = [str(studio.options.images), str(studio.options.other)]
        _run("dirvae.report", *runs, "--out", str(out))
        with studio.page(out.as_uri(), viewport={"width": 1100, "height": 900}) as page:
            studio.keep("report-comparison", _section(page, "h2:text('The same')"))


def of_live_view(studio: Studio) -> None:
    """The live page of a training."""
    if not studio.wants("live-view"):
        return
    with tempfile.TemporaryDirectory() as home:
        run = Path(home) / studio.options.images.name
        shutil.copytree(studio.options.images, run)
        command = [sys.executable, "-m", "dirvae.train", "--out", str(run), "--resume", "--steps", "5000", "--live"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as training:
            assert training.stdout is not None
            try:
                url = next(word for line in training.stdout for word in line.split() if word.startswith("http://"))
                with studio.page(url, theme="dark") as page:
                    page.wait_for_selector("text=/step [0-9,]+ of/")
                    page.wait_for_selector(".stage", state="attached")
                    page.wait_for_timeout(6000)
                    studio.keep("live-view", page.screenshot())
            finally:
                training.terminate()
                training.stdout.read()


def of_command_line(studio: Studio) -> None:
    """Files of `python -m dirvae.explore RUN --… --out`, from the run with one level."""
    shots = {
        "explore-traverse": ["--traverse", EXAMPLE, "--num", "9"],
        "explore-interpolate": ["--interpolate", *ENDS, "--num", "9"],
        "explore-masks": ["--mask-components", EXAMPLE],
        "explore-arithmetic": ["--arithmetic", *SUM, "--weights", "1", "1", "-1"],
    }
    with tempfile.TemporaryDirectory() as home:
        for name, flags in shots.items():
            if studio.wants(name):
                out = Path(home) / f"{name}.png"
                _run("dirvae.explore", str(studio.options.other), *flags, "--out", str(out))
                studio.keep(name, out.read_bytes())


def _run(module: str, *arguments: str) -> None:
    command = [sys.executable, "-m", module, *arguments]
    subprocess.run(command, env=environment(), check=True, stdout=subprocess.DEVNULL)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a run of pictures with two levels")
    parser.add_argument(
        "--other", type=Path, required=True, help="another run on the same pictures, with one level"
    )
    parser.add_argument("--sounds", type=Path, required=True, help="a run of sounds")
    parser.add_argument("--only", nargs="+", help="names of the pictures that are made; left out, all")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures", help="folder")
    parser.add_argument("--chromium", default=shutil.which("chromium") or "/usr/bin/chromium", help="the browser")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
