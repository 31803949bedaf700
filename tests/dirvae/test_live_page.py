"""The page while a run trains: written at every checkpoint, within its share of the time, and never at a cost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dirvae.run import live_page
from dirvae.run.config import RunConfig
from dirvae.run.session import Shown, train_run
from dirvae.training import TrainingWarning
from tests.dirvae.trained_runs import weights

SETTINGS = {
    "source": "data",
    "size": 8,
    "batch_size": 8,
    "threads": 1,
    "held_out": 0.25,
    "preset": "tiny",
    "model_size": 4,
    "latent": "dirichlet",
    "steps": 9,
    "save_every": 3,
    "log_every": 1,
    "kl_warmup": 0,
    "device": "cpu",
    "tensorboard": True,
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with pictures in `data`, and one torch thread."""
    (tmp_path / "data").mkdir()
    for number in range(24):
        colour = (number * 10, 255 - number * 10, 99)
        Image.new("RGB", (8, 8), colour).save(tmp_path / "data" / f"{number:02d}.png")
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(before)


def train(run: str, *, command: str | None = None, **changes: Any) -> Any:
    config = RunConfig.of("image", {**SETTINGS, **changes})
    Path(run).mkdir()
    return train_run(config, Path(run), shown=Shown(command))


def watch(monkeypatch: pytest.MonkeyPatch, share: float) -> list[tuple[bool, str]]:
    """What stood in the page after each checkpoint: whether it was of a run that goes on, and its text."""
    seen: list[tuple[bool, str]] = []
    follow = live_page.LivePage.follow

    def followed(self: Any, trainer: Any, summary: Any) -> None:
        follow(self, trainer, summary)
        text = (self.run / "report.html").read_text("utf-8")
        seen.append(("training, now after" in text, text))

    monkeypatch.setattr(live_page.LivePage, "follow", followed)
    monkeypatch.setattr(live_page, "SHARE", share)
    return seen


def test_the_page_follows_the_training_with_pictures_where_they_cost_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pages = watch(monkeypatch, share=1e9)
    outcome = train("run", command="python -m dirvae.train --name 'a b'")
    assert [is_training for is_training, _ in pages] == [True, True], "at steps 3 and 6"
    for step, (_, text) in zip((3, 6), pages, strict=True):
        assert f"now after {step} of 9" in " ".join(text.split())
        assert "Held-out images and their reconstructions" in text
        assert "The simplex" in text
    text = outcome.report.read_text("utf-8")
    assert "trained for 9" in text
    assert "python -m dirvae.train --name &#39;a b&#39;" in text
    assert f"torch {torch.__version__.split('+')[0]}" in text
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", text)
    for title in ("Learning rate", "Gradient norm before clipping", "bits per dimension", "which scores"):
        assert title in text, title


def test_curves_and_numbers_are_written_where_pictures_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = watch(monkeypatch, share=0.0)
    outcome = train("run")
    assert len(pages) == 2
    for _, text in pages:
        assert "Pictures follow" in text
        assert "<img" not in text
        assert "Loss, nats per example" in text
    assert "<img" in outcome.report.read_text("utf-8")


def test_following_a_training_leaves_its_weights_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    watch(monkeypatch, share=1e9)
    train("followed")
    monkeypatch.setattr(live_page.LivePage, "follow", lambda *arguments: None)
    train("alone", tensorboard=False)
    assert weights(Path("followed")) == weights(Path("alone"))


def test_a_page_that_fails_costs_one_warning_and_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    train("whole")

    def fail(*arguments: Any, **more: Any) -> None:
        raise RuntimeError("no colour is left")

    monkeypatch.setattr("dirvae.report.page.write_durably", fail)
    with pytest.warns(TrainingWarning) as caught:
        outcome = train("failed")
    assert [str(one.message) for one in caught] == [
        "failed: the report could not be written (RuntimeError: no colour is left). Training continues."
    ]
    assert (outcome.step, outcome.report) == (9, None)
    assert weights(Path("failed")) == weights(Path("whole"))


def test_tensorboard_shows_pictures_and_concentrations_of_the_last_step() -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train("run")
    found = accumulators.EventAccumulator("run/tensorboard").Reload()
    [picture] = found.Images("originals, reconstructions")
    assert (picture.step, picture.width, picture.height) == (9, 6 * 8 + 5 * 2, 2 * 8 + 2)
    [histogram] = found.Histograms("posterior/log10 concentration")
    assert histogram.step == 9
    assert histogram.histogram_value.num == 6 * 4
    train_run(RunConfig.of("image", SETTINGS), Path("run"), resume=True)
    again = accumulators.EventAccumulator("run/tensorboard").Reload()
    assert [event.step for event in again.Images("originals, reconstructions")] == [9]
    assert again.Tags() == found.Tags()
