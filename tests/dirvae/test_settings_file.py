"""`--config` and `--dry-run`: what a file may say, what wins, and that a run can be repeated from its own settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dirvae.evaluate.__main__ import main as evaluate
from dirvae.train import main
from tests.dirvae.trained_runs import weights

FILE = """
type = "image"
batch-size = 8
size = 16
model_size = 4
device = "cpu"
threads = 1
held-out = 0            # off, as on the command line
steps = 3
flip = true
prior = "learned"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_reports: None) -> Path:
    """A working directory with images and a file of settings."""
    folder = tmp_path / "data" / "image"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(20):
        pixels = rng.integers(0, 256, (3, 3, 3)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    (tmp_path / "train.toml").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(run: str) -> dict[str, object]:
    content: dict[str, object] = json.loads(Path(run, "config.json").read_text())
    return content


def fails_with(capsys: pytest.CaptureFixture[str], argv: list[str], sentence: str) -> None:
    assert main(argv) == 1
    err = capsys.readouterr().err
    assert sentence in err
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


def test_flags_win_over_the_file_and_the_file_over_defaults(home: Path) -> None:
    argv = ["--config", "train.toml", "--batch_size", "4", "--no-flip", "--learning-rate=1e-4"]
    assert main(argv) == 0
    content = saved("runs/image")
    assert (content["batch_size"], content["flip"], content["learning_rate"]) == (4, False, 1e-4)
    assert (content["size"], content["held_out"], content["prior"]) == (16, None, "learned")
    assert (content["steps"], content["kl_warmup"]) == (3, 300)


@pytest.mark.parametrize("name", ["runs/image/config.json", "runs/image"])
def test_a_run_trained_again_from_its_own_settings_has_the_same_weights_to_the_bit(home: Path, name: str) -> None:
    assert main(["--config", "train.toml", "--steps", "20", "--seed", "5", "--kl-warmup", "7"]) == 0
    assert main(["--config", name, "--out", "runs/again"]) == 0
    assert saved("runs/again") == saved("runs/image")
    assert weights(Path("runs/again")) == weights(Path("runs/image"))
    assert main(["--config", name, "--out", "runs/other", "--seed", "6"]) == 0
    assert weights(Path("runs/other")) != weights(Path("runs/image"))


def test_epochs_replace_steps_and_steps_replace_epochs(home: Path) -> None:
    Path("epochs.toml").write_text(FILE.replace("steps = 3", "epochs = 1"))
    assert main(["--config", "epochs.toml"]) == 0
    assert (saved("runs/image")["steps"], saved("runs/image")["epochs"]) == (None, 1)
    assert main(["--config", "runs/image", "--steps", "1", "--out", "a"]) == 0
    assert (saved("a")["steps"], saved("a")["epochs"]) == (1, None)
    assert main(["--config", "a", "--epochs", "1", "--out", "b"]) == 0
    assert (saved("b")["steps"], saved("b")["epochs"]) == (None, 1)


def test_the_file_names_data_and_folder_and_flags_name_others(home: Path) -> None:
    shutil.copytree("data/image", "elsewhere")
    Path("places.toml").write_text(FILE + 'data = "elsewhere"\nout = "mine"\n')
    assert main(["--config", "places.toml"]) == 0
    assert saved("mine")["source"] == "elsewhere"
    assert main(["--config", "places.toml", "--out", "yours", "--data", "data/image"]) == 0
    assert saved("yours")["source"] == "data/image"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "model_sise = 4",
            "train.toml: unknown setting 'model_sise' (did you mean 'model_size'?); the settings are",
        ),
        ('steps = "many"', "train.toml: steps is 'many'; it must be a whole number ≥ 1."),
        ("steps = 60.5", "train.toml: steps is 60.5; it must be a whole number ≥ 1."),
        ("free_nats = false", "train.toml: free-nats is false; it must be 0 for none, or a finite number > 0."),
        ("batch-size = 2.5", "train.toml: batch-size is 2.5; it must be a whole number ≥ 1."),
        ("flip = 1", "train.toml: flip is 1; it must be true or false."),
        ("latent = [1]", "train.toml: latent is [1]; it must be one of dirichlet"),
        ("device = 3", "train.toml: device is 3; it must be a torch device"),
        ('type = "smell"', "train.toml: type is 'smell'; it must be one of audio, image, video."),
        ("[model]\nsize = 16", "train.toml: model is a table; write all settings at the top"),
        ("model-size = 3\nmodel_size = 3", "train.toml: model_size is there twice"),
        ('data = "a"\nshards = "b"', "train.toml: shards and data both name the data. Keep one of them."),
        ("out = 3", "train.toml: out is 3; it must be a text."),
        ("steps 3", "train.toml: is not TOML ("),
        ("resume = true", "train.toml: unknown setting 'resume'"),
    ],
)
def test_what_a_file_may_not_say_is_refused_with_its_name(
    home: Path, capsys: pytest.CaptureFixture[str], text: str, sentence: str
) -> None:
    Path("train.toml").write_text(text + "\n")
    fails_with(capsys, ["--config", "train.toml"], sentence)
    assert not Path("runs").exists()


def test_a_file_that_is_not_there_or_not_json_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails_with(capsys, ["--config", "other.toml"], "other.toml: no such file of settings.")
    Path("config.json").write_text("{")
    fails_with(capsys, ["--config", "config.json"], "config.json: is not JSON (")
    Path("config.json").write_text('{"version": 9}')
    fails_with(capsys, ["--config", "config.json"], "config.json: version 9 of settings")


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(home.rglob("*"))
    assert main(["--config", "train.toml", "--held-out", "0.25", "--steps", "4", "--dry-run"]) == 0
    out = capsys.readouterr().out
    for said in (
        "data/image: 15 images to train on, 5 held out",
        "4 of 8 images; 2 per epoch, 2.0 epochs",
        "ResNetVAE, ",
        "cpu in fp32",
        "first batch  loss ",
        "runs/image, a new run",
        "warning: the run ends after 4 steps, before the KL weight reaches its full value at step 300",
        "dry run: nothing was written.",
    ):
        assert said in out
    assert sorted(home.rglob("*")) == before


def test_a_dry_run_of_a_run_to_resume_changes_no_byte_of_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", "train.toml"]) == 0
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["--resume", "--steps", "5", "--dry-run"]) == 0
    assert "runs/image, continues after step 3" in capsys.readouterr().out
    assert main(["--resume", "--dry-run"]) == 0
    assert "warning: the run has done all its 3 steps. Raise --steps" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    fails_with(capsys, ["--resume", "--batch-size", "4", "--dry-run"], "started with other settings")


def test_a_dry_run_fails_where_training_would(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dry = ["--config", "train.toml", "--dry-run"]
    fails_with(capsys, [*dry, "--size", "17"], "17")
    fails_with(capsys, [*dry, "--data", "missing"], "missing")
    fails_with(capsys, [*dry, "--init-from", "nowhere"], "nowhere: holds no checkpoint")
    next(Path("data/image").iterdir()).write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    fails_with(capsys, [*dry, "--batch-size", "20"], "data/image")


def test_averaged_weights_early_stopping_and_a_schedule_from_the_command_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = ["--learning-rate", "1e-30", "--held-out", "0.25", "--save-every", "1", "--no-flip"]
    argv = ["--config", "train.toml", *still, "--ema", "0.9", "--patience", "1", "--schedule", "cosine"]
    assert main([*argv, "--steps", "6"]) == 0
    out = capsys.readouterr().out
    assert "runs/image: stopped early and saved after step 2: the last evaluation was not better than that" in out
    content = saved("runs/image")
    assert (content["ema"], content["patience"], content["schedule"]) == (0.9, 1, "cosine")
    assert main(["--resume", "--patience", "3"]) == 0
    assert "stopped early and saved after step 4" in capsys.readouterr().out
    fails_with(capsys, ["--resume", "--ema", "0"], "ema: 0.9 → none")
    fails_with(capsys, [*argv, "--held-out", "0", "--out", "other"], "patience is 1, but nothing is evaluated.")
    assert evaluate(["runs/image", "--samples", "2", "--weights", "ema"]) == 0
