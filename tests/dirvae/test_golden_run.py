"""A run folder of version 1, committed: it is read, resumed, evaluated, loaded and started from, as ever.

`golden/run-1` was written by the code before settings had parts: flat settings in config.json and in the checkpoint.
Its command, on the twelve images that `draw` makes:

    python -m dirvae.train --size 8 --batch-size 4 --model-size 4 --flip --held-out 0.25 --threads 1 --steps 2
        --cooldown 0 --kl-warmup 3 --seed 5 --device cpu --log-every 1 --precision fp32
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from dirvae import load_model
from dirvae.evaluate.__main__ import main as evaluate
from dirvae.run.config import read_config
from dirvae.tasks.image import ImageData, ImageModel
from dirvae.train import main
from dirvae.training import FitConfig, TrainConfig, Trainer
from dirvae.training.checkpoint import CheckpointFolder
from pipelines import ImageIterator, hold_out, open_source

GOLDEN = Path(__file__).parent / "golden" / "run-1"
SETTINGS = [
    *("--size", "8", "--batch-size", "4", "--model-size", "4", "--flip", "--held-out", "0.25", "--threads", "1"),
    *("--cooldown", "0", "--kl-warmup", "3", "--seed", "5", "--device", "cpu", "--log-every", "1"),
    *("--precision", "fp32"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the images of the golden run and a copy of it in runs/image."""
    draw(tmp_path / "data" / "image")
    shutil.copytree(GOLDEN, tmp_path / "runs" / "image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def draw(folder: Path) -> None:
    """The images that the golden run was trained on, byte by byte."""
    folder.mkdir(parents=True)
    for number in range(12):
        places = ((row, column, channel) for row in range(8) for column in range(8) for channel in range(3))
        pixels = bytes(
            (number * 37 + row * 11 + column * 5 + channel * 83) % 256 for row, column, channel in places
        )
        (folder / f"{number:02d}.ppm").write_bytes(b"P6\n8 8\n255\n" + pixels)


def weights(run: Path) -> dict[str, torch.Tensor]:
    newest = CheckpointFolder(run / "checkpoints").newest()
    assert newest is not None
    return newest.model_tensors()


def test_its_settings_are_read_into_parts(home: Path) -> None:
    config = read_config(Path("runs/image"))
    assert config.type == "image"
    assert config.fit == FitConfig(
        steps=2, cooldown=None, kl_warmup=3, seed=5, device="cpu", log_every=1, precision="fp32"
    )
    assert config.data == ImageData(size=8, batch_size=4, flip=True, held_out=0.25, threads=1)
    assert config.model == ImageModel(model_size=4)


def test_it_is_resumed_and_ends_where_an_undisturbed_run_ends(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--resume", "--steps", "6"]) == 0
    assert capsys.readouterr().out.startswith("runs/image: continuing after step 2.\n")
    monkeypatch.setattr(
        "dirvae.training.feed.NOISE_VERSION", 1
    )  # the resumed run keeps the noise that it began with
    assert main([*SETTINGS, "--steps", "6", "--out", "undisturbed"]) == 0
    resumed, undisturbed = weights(Path("runs/image")), weights(Path("undisturbed"))
    assert resumed.keys() == undisturbed.keys()
    for name, value in resumed.items():  # not to the bit: the first two steps may be those of another processor
        torch.testing.assert_close(value, undisturbed[name], atol=1e-4, rtol=1e-3)
    content = json.loads(Path("runs/image/config.json").read_text("utf-8"))
    assert (content["version"], content["type"], content["steps"]) == (2, "image", 6)


def test_a_setting_that_may_not_change_is_compared_with_the_old_ones(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--resume", "--steps", "6", "--batch-size", "2", "--learning-rate", "0.1"]) == 1
    assert "(learning-rate: 0.001 → 0.1; batch-size: 4 → 2)" in capsys.readouterr().err


def test_a_trainer_with_flat_settings_resumes_it_and_compares_all_of_them(home: Path) -> None:
    settings = {
        **{"steps": 4, "cooldown": None, "kl_warmup": 3, "seed": 5, "device": "cpu", "precision": "fp32"},
        **{"size": 8, "batch_size": 4, "model_size": 4, "flip": True, "held_out": 0.25},
    }

    def make(**changes: object) -> Trainer:
        training, _ = hold_out(open_source("data/image"), 0.25, seed=5)
        images = ImageIterator(training, size=8, batch_size=4, shuffle=True, seed=5, flip=True, threads=1)
        config = TrainConfig(**{**settings, **changes})
        return Trainer(load_model("runs/image"), images, config=config, out="runs/image")

    with pytest.raises(ValueError, match="preset: tiny → small"):
        make(preset="small").resume()
    resumed = make()
    assert resumed.resume()
    assert (resumed.step, resumed.fit()) == (2, 4)


def test_it_is_evaluated_and_loaded_and_started_from(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(["runs/image", "--samples", "3"]) == 0
    content = json.loads(Path("runs/image/evaluation.json").read_text("utf-8"))
    assert (content["step"], content["examples"], content["is_held_out"]) == (2, 3, True)
    assert load_model("runs/image").sample(2).shape == (2, 3, 8, 8)
    assert main([*SETTINGS, "--steps", "1", "--init-from", "runs/image", "--out", "second"]) == 0
    assert json.loads(Path("second/warm_start.json").read_text("utf-8"))["is_held_out_new"] is True
