"""What a person types by mistake at `python -m dirvae.train` and its sisters: one line that helps, and nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dirvae
import pipelines
from dirvae.evaluate.__main__ import main as evaluate
from dirvae.nearest import nearest_name
from dirvae.train import main
from pipelines.samples.scenes import make_sample_data

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--size", "16", "--batch-size", "8", "--model-size", "4", "--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, quick_reports: None) -> Path:
    """A folder with pictures, and a run of three steps with averaged weights."""
    home = tmp_path_factory.mktemp("mistakes")
    make_sample_data(home / "data" / "image", num=20, size=16)
    argv = [*SMALL, "--data", str(home / "data" / "image"), "--steps", "3", "--kl-warmup", "0", "--ema", "0.5"]
    assert main([*argv, "--out", str(home / "run")]) == 0
    return home


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_resuming_for_fewer_steps_is_refused_and_leaves_the_run_as_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content_of(folder / "run")
    for more in (["--steps", "2"], ["--steps", "2", "--dry-run"]):
        assert main(["--resume", "--out", str(folder / "run"), *more]) == 1
        assert "has done 3 steps, more than the 2 asked for. Ask for 3 or more" in capsys.readouterr().err
        assert content_of(folder / "run") == before


def test_resuming_a_finished_run_says_so_and_writes_a_missing_report(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = folder / "run" / "report.html"
    report.unlink()
    assert main(["--resume", "--out", str(folder / "run"), "--steps", "3"]) == 0
    out = capsys.readouterr().out
    assert "has done all its 3 steps; --resume with more --steps (or --epochs) goes on." in out
    assert "continuing" not in out
    assert report.exists()


def test_an_evaluation_says_which_weights_it_measured_and_raw_ones_have_a_file_of_their_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder / "run"
    assert evaluate([str(run), "--samples", "2"]) == 0
    assert "step 3, averaged weights, 1 image held out" in capsys.readouterr().out
    before = (run / "evaluation.json").read_bytes()
    assert json.loads(before)["weights"] == "ema"
    assert evaluate([str(run), "--samples", "2", "--weights", "raw"]) == 0
    out = capsys.readouterr().out
    assert "step 3, the weights that were trained, 1 image held out" in out
    assert f"written: {run / 'evaluation-raw.json'}" in out
    assert json.loads((run / "evaluation-raw.json").read_text())["weights"] == "raw"
    assert (run / "evaluation.json").read_bytes() == before


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (
            ["--lr", "3"],
            "error: unrecognized arguments: --lr 3; did you mean --learning-rate? --help lists the flags.",
        ),
        (["--cosine"], "error: unrecognized arguments: --cosine. --help lists the flags."),
        (["--version"], "error: unrecognized arguments: --version. --help lists the flags."),
        (["--steps", "x"], "error: argument --steps: invalid int value: 'x'. --help lists the flags."),
    ],
)
def test_a_flag_that_is_wrong_is_one_line(
    argv: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert (ended.value.code, capsys.readouterr().err) == (2, f"{sentence}\n")


def test_only_a_near_name_is_offered() -> None:
    known = ["--every", "--core", "--model-size", "--learning-rate", "--steps"]
    assert nearest_name("--model_sise", known) == "--model-size"
    assert nearest_name("lr", ["learning_rate"]) == "learning_rate"
    assert [nearest_name(name, known) for name in ("--version", "--cosine", "--side")] == [None, None, None]


def test_the_packages_say_their_version() -> None:
    assert dirvae.__version__ == pipelines.__version__
    assert dirvae.__version__[0].isdigit()


@pytest.mark.parametrize(
    "command",
    [["dirvae.train", *SMALL, "--dry-run"], ["pipelines.samples", "--num", "1", "--size", "16", "--out", "x"]],
)
def test_a_command_whose_output_nobody_reads_ends_quietly(folder: Path, command: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-m", *command]
    done = subprocess.run(
        arguments, cwd=folder, env=environment, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
