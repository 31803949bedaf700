"""Images that are grey, labelled and not square; and runs of another type beside the one that is continued."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from dirvae import ResNetVAE
from dirvae.evaluate.__main__ import main as evaluate
from dirvae.run.config import read_config
from dirvae.tasks.image import ImageData
from dirvae.tasks.video import VideoData
from dirvae.train import main
from dirvae.training import ConfigError
from tools.make_shards import main as make_shards


def draw(folder: Path, num: int) -> None:
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(num).integers(0, 255, (num, 16, 8), np.uint8)
    for number, picture in enumerate(pixels):
        (folder / f"{number}.pgm").write_bytes(b"P5\n8 16\n255\n" + picture.tobytes())


def test_grey_images_of_two_classes_that_are_not_square_are_trained_evaluated_and_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "data" / "cat", 6)
    draw(tmp_path / "data" / "dog", 7)
    assert make_shards(["data", "--out", "shards", "--classes", "--workers", "1"]) == 0
    flags = ["--shards", "shards", "--channels", "1", "--size", "16x8", "--held-out", "0.3", "--device", "cpu"]
    short = ["--steps", "1", "--batch-size", "4", "--threads", "1", "--model-size", "4", "--kl-warmup", "0"]
    assert main([*flags, *short]) == 0
    config = read_config(Path("runs/image"))
    assert (config.data.channels, config.data.size) == (1, (16, 8))  # type: ignore[attr-defined]
    assert "16 × 8 pixels" in Path("runs/image/report.html").read_text("utf-8")
    assert evaluate(["runs/image", "--samples", "2", "--label", "class"]) == 0
    content = json.loads(Path("runs/image/evaluation.json").read_text("utf-8"))
    assert (content["neighbours"]["label"], content["neighbours"]["classes"]) == ("class", 2)
    assert main(["--resume", "--steps", "2"]) == 0
    assert "continuing after step 1" in capsys.readouterr().out
    assert main(["--resume", "--steps", "2", "--size", "8x16"]) == 1
    assert "size: (16, 8) → (8, 16)" in capsys.readouterr().err


def test_resume_without_a_type_finds_the_runs_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("audio", "video"):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        (run / "config.json").write_text(json.dumps({"version": 2, "type": name, "source": "nowhere"}))
    assert main(["--resume"]) == 1
    assert (
        "runs: holds runs of the types audio, video. Say which to continue with --type." in capsys.readouterr().err
    )
    shutil.rmtree(tmp_path / "runs" / "video")
    assert main(["--resume"]) == 1
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(("size", "grid"), [((64, 48), None), ((64, 48), (4, 3)), ((24, 32), None)])
def test_a_network_reads_and_makes_what_is_not_square(size: tuple[int, int], grid: tuple[int, int] | None) -> None:
    model = ResNetVAE(size, grid=grid, model_size=4, channels=1)
    x = torch.rand(2, 1, *size)
    assert model(x).reconstruction.shape == model.sample(2).shape == x.shape
    again = ResNetVAE(**json.loads(json.dumps(model.config)))
    assert again.config == model.config


def test_sizes_that_do_not_come_out_even_are_refused() -> None:
    with pytest.raises(ValueError, match="images of 64×50 pixels cannot be halved"):
        ResNetVAE((64, 50))
    with pytest.raises(ValueError, match="a map of 4×4 latents does not fit images of 64×48 pixels"):
        ResNetVAE((64, 48), grid=4)
    with pytest.raises(ConfigError, match=r"size is \(8, 0\); it must be a whole number"):
        ImageData(size=(8, 0))
    with pytest.raises(ConfigError, match=r"size is \(8, 16\); it must be one whole number"):
        VideoData(size=(8, 16))
