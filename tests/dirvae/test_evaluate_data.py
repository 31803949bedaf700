"""python -m dirvae.evaluate over data that is other than it was, has grown, or lacks what the options ask for."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dirvae import AutoEncoder
from dirvae.train import main as train
from pipelines import make_shards
from tests.dirvae.evaluated_runs import evaluate, refused

SMALL = ["--size", "16", "--batch-size", "8", "--model-size", "4", "--device", "cpu", "--threads", "1"]


@pytest.fixture(scope="module", autouse=True)
def _one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(folder: Path, begin: int, end: int, *, levels: int = 256, extra: dict[str, Any] | None = None) -> Path:
    """Images of noise, named by number, each with a JSON object beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(begin, end):
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, levels, (16, 16, 3)) * (255 // (levels - 1))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:03d}.png")
        fields = {"hue": float(rng.random()), "shape": "ab"[number % 2], "same": 1 if number % 2 else 1.0}
        (folder / f"{number:03d}.json").write_text(json.dumps({**fields, **(extra or {})}))
    return folder


def train_on(data: Path, run: Path, *options: str) -> Path:
    flag = "--shards" if (data / "manifest.json").exists() else "--data"
    assert train([*SMALL, flag, str(data), "--steps", "2", "--held-out", "0.25", *options, "--out", str(run)]) == 0
    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images in `images`, 10 of them held out by the run in `run`."""
    home = tmp_path_factory.mktemp("evaluate-data")
    train_on(draw(home / "images", 0, 40), home / "run")
    return home


def test_other_data_than_the_run_saw_is_refused_for_its_split_is_another(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, images = trained / "run", trained / "images"
    fewer, more, other = (shutil.copytree(images, tmp_path / name) for name in ("fewer", "more", "other"))
    (fewer / "000.png").unlink()
    draw(more, 40, 41)
    (other / "000.png").write_bytes((other / "000.png").read_bytes() + b"\0")
    for folder in (fewer, more, other):
        told = (
            f"{folder.name} .*: holds other data than the 30 examples that .*{run.name}.* would pass for held out"
        )
        refused(capsys, [str(run), "--source", str(folder)], told)
    same = shutil.copytree(images, tmp_path / "same")
    assert evaluate(run, "--source", str(same)) == evaluate(run)


def test_a_split_that_was_changed_in_the_settings_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("held_out", 0.3), ("held_out", None), ("seed", 1)):
        run = shutil.copytree(trained / "run", tmp_path / f"{name}-{value}")
        settings = json.loads((run / "config.json").read_text("utf-8"))
        (run / "config.json").write_text(json.dumps({**settings, name: value}))
        refused(capsys, [str(run)], "holds other data than the 30 examples")


def test_a_checkpoint_that_does_not_know_its_data_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(trained / "run", tmp_path / "run")
    path = run / "checkpoints" / "00000002" / "state.json"
    state = json.loads(path.read_text("utf-8"))
    state["feed"]["iterator"] = None
    path.write_text(json.dumps(state))
    refused(capsys, [str(run)], "does not say what data it saw")


@pytest.mark.parametrize("held_out", ["0.25", "0"])
def test_shards_that_grew_are_measured_as_they_were_and_that_is_said(
    tmp_path: Path, held_out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images, shards = draw(tmp_path / "images", 0, 40), tmp_path / "shards"
    make_shards(images, shards, workers=0, shard_examples=20)
    run = train_on(shards, tmp_path / "run", "--held-out", held_out)
    before = evaluate(run)
    draw(images, 40, 57)
    make_shards(images, shards, workers=0, shard_examples=20, append=True)
    capsys.readouterr()
    after = evaluate(run)
    assert after.pop("notes")[0] == "17 examples were appended since the checkpoint was written; they are left out"
    assert "note: 17 examples were appended" in capsys.readouterr().out
    before.pop("notes")
    assert after == before
    assert after["examples"] == (10 if held_out == "0.25" else 40)


def test_a_circular_factor_that_some_image_lacks_is_an_error_and_otherwise_a_note(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, images = str(trained / "run"), trained / "images"
    first, some, none = (shutil.copytree(images, tmp_path / name) for name in ("first", "some", "none"))
    (first / "000.json").unlink()
    (some / "005.json").write_text("[1]")
    (some / "006.json").unlink()
    for path in none.glob("*.json"):
        path.unlink()
    for folder, missing in ((first, "1 of 40 images has"), (some, "2 of 40 images have"), (none, "40 of 40")):
        arguments = [run, "--source", str(folder), "--circular", "hue"]
        refused(capsys, arguments, f"^error: circular names a factor, but {missing}.* no JSON object")
    arguments = [run, "--source", str(none), "--label", "hue"]
    refused(capsys, arguments, "^error: label is 'hue', but 40 of 40 images have no JSON object. Leave label out.")
    content = evaluate(trained / "run", "--source", str(first))
    assert content["factors"] is None
    assert "note: no factors: 1 of 40 images has no JSON object\n" in capsys.readouterr().out
    assert evaluate(trained / "run", "--source", str(none))["notes"] == []


def test_a_label_is_measured_without_the_images_that_lack_it(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Images without an object, and one with an object that lacks the name, are left out as if they were not there."""
    images = shutil.copytree(trained / "images", tmp_path / "images")
    for number in (0, 5, 6):
        (images / f"{number:03d}.json").unlink()
    (images / "007.json").write_text('{"hue": 0.5}')
    capsys.readouterr()
    content = evaluate(trained / "run", "--source", str(images), "--label", "shape")
    told = "label 'shape' is looked at without the 4 of 40 images that are without a value"
    assert content["notes"][:2] == ["no factors: 3 of 40 images have no JSON object", told]
    assert told in capsys.readouterr().out
    whole = evaluate(trained / "run", "--label", "shape")
    assert (content["factors"], content["disentanglement"]) == (None, None)
    assert [row["factor"] for row in content["categories"]] == ["shape"]
    assert content["neighbours"]["classes"] == 2
    assert 6 <= content["neighbours"]["examples"] <= whole["neighbours"]["examples"] == 10
    for path in images.glob("0[0-3]*.json"):
        if path.stem not in ("001", "002"):
            path.unlink()
    told = (
        r"label is the factor 'shape', but \d training and \d held-out images have a value; neighbours need 3 and 1"
    )
    refused(capsys, [str(trained / "run"), "--source", str(images), "--label", "shape"], told)


def test_neighbours_need_held_out_images_and_enough_to_compare_with(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, images = trained / "run", trained / "images"
    refused(capsys, [str(run), "--limit", "2", "--label", "shape"], "2 training images are fewer than 3 neighbours")
    whole = train_on(images, tmp_path / "whole", "--held-out", "0")
    refused(capsys, [str(whole), "--label", "shape"], "'shape', but the run held no images out")
    assert set(evaluate(run, "--limit", "3", "--label", "shape")["neighbours"]["errors"]) == {"3"}


def test_one_image_or_two_give_a_table_without_anything_that_json_does_not_know(trained: Path) -> None:
    for limit in ("1", "2", "3"):
        content = evaluate(trained / "run", "--limit", limit)
        assert content["examples"] == int(limit)


def test_factors_that_are_none_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    huge = 10**400
    run = train_on(draw(tmp_path / "images", 0, 12, extra={"huge": huge, "box": [1]}), tmp_path / "run")
    capsys.readouterr()
    content = evaluate(run)
    assert [row["factor"] for row in content["factors"]] == ["hue", "shape"]
    out = capsys.readouterr().out
    assert "note: not used as factors, because they are the same in all examples: same\n" in out
    assert "note: not used as factors, because they are not finite or too large for float64: huge\n" in out
    refused(capsys, [str(run), "--circular", "same"], "'same' is the same in all examples")


def test_a_step_is_written_in_plain_digits(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("²", "٢", "9" * 5000):
        refused(capsys, [str(trained / "run"), "--which", text], f"which is '{text}'")


def test_coins_over_greys_are_called_a_cross_entropy_and_over_black_and_white_a_likelihood(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = train_on(trained / "images", tmp_path / "grey", "--likelihood", "bernoulli")
    capsys.readouterr()
    measured = evaluate(grey)["likelihood"]
    assert set(measured) == {"cross_entropy_of_greys", "kl", "samples", "values"}
    assert math.isfinite(measured["cross_entropy_of_greys"])
    out = capsys.readouterr().out
    assert "bernoulli gives a cross entropy of greys, which is not a likelihood" in out
    assert "NLL" not in out
    assert "ELBO" not in out
    coins = train_on(
        draw(tmp_path / "coins", 0, 12, levels=2), tmp_path / "binary", "--likelihood", "bernoulli", "--size", "16"
    )
    assert "nll" in evaluate(coins)["likelihood"]


class Diverged:
    """What a model with weights of NaN makes of images."""

    mean = torch.full((1, 4), math.nan)


def test_a_model_that_has_diverged_is_refused_in_one_sentence(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(AutoEncoder, "encode", lambda model, x: Diverged())
    refused(capsys, [str(trained / "run")], "00000002: its model encodes images as numbers that are not finite")


def test_a_reader_that_goes_before_the_end_ends_it_quietly(trained: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "dirvae.evaluate", str(trained / "run"), "--samples", "1"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")
