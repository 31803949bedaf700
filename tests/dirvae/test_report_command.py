"""`python -m dirvae.report`: one run's page again, and several runs compared on one page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from dirvae.report.__main__ import main
from dirvae.report.comparison_page import ComparedRun, run_curves, seconds_of_steps, write_comparison_page
from dirvae.run.config import RunConfig
from dirvae.run.session import train_run
from tests.dirvae.sealed_pages import check_sealed

HOSTILE = '"><img src=x onerror=alert(1)><'
SETTINGS = {
    "size": 8,
    "batch_size": 8,
    "threads": 1,
    "held_out": 0.25,
    "preset": "tiny",
    "model_size": 4,
    "latent": "dirichlet",
    "steps": 2,
    "save_every": 1,
    "log_every": 1,
    "kl_warmup": 0,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Runs of a few steps on the same pictures: `a` and `gaussian`, and `seed` that held others out."""
    home = tmp_path_factory.mktemp("runs")
    (home / "data").mkdir()
    for number in range(24):
        Image.new("RGB", (8, 8), (number * 10, 255 - number * 10, 99)).save(home / "data" / f"{number:02d} <i>.png")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for name, changes in {
        "a": {},
        "gaussian": {"latent": "gaussian"},
        "seed": {"seed": 5, "held_out": 0.05},
    }.items():
        (home / name).mkdir()
        train_run(RunConfig.of("image", {**SETTINGS, "source": str(home / "data"), **changes}), home / name)
    yield home
    torch.set_num_threads(before)


def printed(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    found = capsys.readouterr()
    return found.out.strip(), found.err.strip()


def made(name: str = "a", **changes: Any) -> ComparedRun:
    values = {"name": name, "step": 3, "settings": {}, "numbers": {}, "metrics": [], "comparison": None}
    return ComparedRun(**{**values, **changes})


def rows_of(page: str, heading: str) -> dict[str, list[str]]:
    """The rows of the table below a heading: what stands in each cell, with its class."""
    import re

    part = page[page.index(f"<h2>{heading}</h2>") :].partition("</table>")[0]
    found = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', part)
    return {name: re.findall(r"<td(.*?)</td>", cells) for name, cells in found}


def test_one_run_writes_its_own_page_again(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = runs / "a" / "report.html"
    page.unlink()
    assert main([str(runs / "a")]) == 0
    assert printed(capsys) == (f"report: {page}", "")
    check_sealed(page.read_text("utf-8"))


def test_runs_are_compared_on_one_page(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "both.html"
    hostile = tmp_path / f"{HOSTILE}b>"
    shutil.copytree(runs / "gaussian", tmp_path / "g")
    (tmp_path / "g").rename(hostile) if "/" not in HOSTILE else None
    assert main([str(runs / "a"), str(hostile), "--out", str(out)]) == 0
    assert printed(capsys) == (f"comparison: {out}", "")
    page = out.read_text("utf-8")
    check_sealed(page)
    assert "onerror=alert(1)><" not in page
    assert "&#34;&gt;&lt;img src=x onerror=alert(1)&gt;&lt;b&gt;" in page
    assert rows_of(page, "Settings that differ") == {"latent": [">dirichlet", ">gaussian"]}
    assert page.count('<article class="compared">') == 6
    assert "&lt;i&gt;</h3>" in page, "the keys of the examples"
    assert page.count("<img ") == 6 * 3
    assert "Held-out PSNR, dB, by seconds of training" in page
    numbers = rows_of(page, "Numbers")
    psnr = [
        json.loads((run / "summary.json").read_text())["evaluation"]["psnr_db"] for run in (runs / "a", hostile)
    ]
    assert ['class="best"' in cell for cell in numbers["psnr db"]] == [psnr[0] > psnr[1], psnr[1] > psnr[0]]


def test_examples_are_left_out_where_the_runs_held_out_none_in_common(runs: Path, tmp_path: Path) -> None:
    from dirvae.run.comparison import write_comparison

    page = write_comparison([runs / "a", runs / "seed"], tmp_path / "c.html").read_text("utf-8")
    shared = page.count('<article class="compared">')
    assert shared == 1 or "none of them was held out by all runs" in page
    shutil.copytree(runs / "a", tmp_path / "moved")
    config = json.loads((tmp_path / "moved" / "config.json").read_text())
    (tmp_path / "moved" / "config.json").write_text(json.dumps({**config, "source": str(tmp_path / "nowhere")}))
    page = write_comparison([runs / "a", tmp_path / "moved"], tmp_path / "c.html").read_text("utf-8")
    assert "moved: without examples, because its data could not be opened." in page
    assert 'compared">' not in page.replace('<article class="compared">', "")
    assert '<article class="compared">' not in page


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{home}/data"], "{home}/data: is not a run. Name folders that dirvae.train wrote, such as runs/image."),
        (["{home}/a", "{home}/none"], "{home}/none: is not a run. Name folders that dirvae.train wrote"),
        (["{home}/a", "--out", "x.html"], "--out x.html: the report of one run is written into its folder."),
        (["{home}/a", "{home}/a", "--label", "x"], "--label x: colours the report of one run. Leave --label out."),
        (["{home}/a", "{home}/audio"], "{home}/audio: is a run of --type audio, and {home}/a one of --type image."),
        (["{home}/a", "{home}/fresh"], "{home}/fresh: holds no checkpoint."),
    ],
)
def test_mistakes_are_one_sentence(
    runs: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    for name, content in {"audio": {"version": 2, "type": "audio"}, "fresh": None}.items():
        (runs / name).mkdir(exist_ok=True)
        text = (runs / "a" / "config.json").read_text() if content is None else json.dumps(content)
        (runs / name / "config.json").write_text(text)
    assert main([argument.format(home=runs) for argument in arguments]) == 1
    out, error = printed(capsys)
    assert out == ""
    assert error.startswith(f"error: {sentence.format(home=runs)}")
    assert "\n" not in error


def test_seconds_follow_from_the_speeds_in_the_metrics() -> None:
    metrics = [
        {"kind": "train", "step": 10, "examples_per_second": 40.0, "loss": 3.0},
        {"kind": "held_out", "step": 15, "psnr_db": 20.0},
        {"kind": "train", "step": 20, "examples_per_second": 80.0, "loss": None},
    ]
    assert seconds_of_steps(metrics, batch_size=8) == {0: 0.0, 10: 2.0, 20: 3.0}
    curves = run_curves(made(metrics=metrics, settings={"batch_size": 8}))
    assert curves == {"Training loss": ([10.0], [2.0], [3.0]), "Held-out PSNR, dB": ([15.0], [2.5], [20.0])}


def test_the_best_is_marked_where_numbers_can_be_compared(tmp_path: Path) -> None:
    first = made("a", numbers={"bound": -5.0, "psnr_db": 21.0, "kl": 3.0}, settings={"size": 8})
    second = made("b", numbers={"bound": -4.0, "psnr_db": None, "kl": 3.0}, settings={"size": 8})
    third = made("c", numbers={"bound": -4.5, "psnr_db": 20.0, "kl": 2.0}, settings={"size": 16})

    def best(*runs: ComparedRun) -> dict[str, list[bool]]:
        page = write_comparison_page(tmp_path / "c.html", runs, [], noun="image").read_text("utf-8")
        return {name: ["best" in cell for cell in cells] for name, cells in rows_of(page, "Numbers").items()}

    assert best(first, second) == {"bound": [False, True], "psnr db": [False, False], "kl": [False, False]}
    assert best(first, third) == {"bound": [False, False], "psnr db": [True, False], "kl": [False, False]}
