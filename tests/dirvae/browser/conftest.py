"""Chromium, a trained run and running applications for the tests of pages; all is skipped where Chromium is absent.

`chromium` is the browser, `pictures`, `sounds`, `clips` and `twins` are applications over runs without a model,
`trained` is one over a run that was trained here, and `open_page` opens any of them in a fresh context.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from dirvae.explorer import start_application
from dirvae.explorer.desk import OpenRun
from tests.dirvae.explored_fakes import FakeRun, fake_run, picture_folder

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"),
)
SECONDS = 60


@dataclass
class OpenedPage:
    """A page, what its console and its policy complained of, and the requests that left this machine."""

    page: Any
    problems: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is absent: it drives the browser")
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is absent: Debian's package chromium brings it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., OpenedPage]]:
    """Opens an address once the application is usable; `tab` is a view, other options are those of a context."""
    contexts: list[Any] = []

    def opened(url: str, *, tab: str = "steer", **options: Any) -> OpenedPage:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(1000 * SECONDS)
        found = OpenedPage(context.new_page())
        origin = url.partition("?")[0]
        found.page.on("console", lambda message: message.type == "error" and found.problems.append(message.text))
        found.page.on("pageerror", lambda error: found.problems.append(str(error)))
        found.page.on(
            "request",
            lambda one: (
                one.url.startswith(("http", "ws"))
                and not one.url.startswith(origin)
                and found.foreign.append(one.url)
            ),
        )
        found.page.goto(url)
        found.page.wait_for_selector("html[data-ready]")
        found.page.click(f"#tab-{tab}")
        return found

    yield opened
    for context in contexts:
        context.close()


def serve(*runs: FakeRun) -> Iterator[str]:
    """The address of an application over runs without a model."""
    opens = [OpenRun(run.name, lambda run=run: run) for run in runs]  # type: ignore[misc]
    server, desk = start_application(opens)
    yield server.url
    server.stop()
    desk.close()


@pytest.fixture(scope="session")
def pictures() -> Iterator[str]:
    """Pictures on the simplex; 300 examples, 20 components, two keys that are HTML."""
    yield from serve(fake_run(300, 20))


@pytest.fixture(scope="session")
def sounds() -> Iterator[str]:
    """Sounds, whose latents are decoded with a pitch and a loudness."""
    yield from serve(fake_run(kind="audio", context_name="pitch and loudness"))


@pytest.fixture(scope="session")
def clips() -> Iterator[str]:
    """Clips, whose latents are not on the simplex and lie on a grid."""
    yield from serve(fake_run(kind="video", on_simplex=False, grid=(2, 2)))


@pytest.fixture(scope="session")
def twins() -> Iterator[str]:
    """Two models of the same examples."""
    yield from serve(fake_run(name="first"), fake_run(name="second", step=900))


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run of pictures of 64 pixels, trained here for eight steps."""
    from dirvae.train import main

    home = tmp_path_factory.mktemp("trained")
    folder, run = picture_folder(home / "pictures"), home / "discs"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    settings = ["--size", "64", "--preset", "tiny", "--model-size", "16", "--batch-size", "16", "--steps", "8"]
    assert (
        main(["--shards", str(folder), "--out", str(run), "--threads", "1", *settings, "--held-out", "0.25"]) == 0
    )
    torch.set_num_threads(before)
    return run


@pytest.fixture(scope="session")
def trained(trained_run: Path) -> Iterator[str]:
    """The address of an application over the trained run."""
    from dirvae.run.explored_run import open_explored_run

    server, desk = start_application([OpenRun("discs", lambda: open_explored_run(trained_run))])
    yield server.url
    server.stop()
    desk.close()
