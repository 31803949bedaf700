"""`--shards` without a path: the only set in shards/, that of --type among several, and one sentence otherwise."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from dirvae.run.config import read_config
from dirvae.train import main
from pipelines import make_shards
from pipelines.samples.scenes import make_sample_data

SHORT = [
    *("--shards", "--size", "8", "--batch-size", "4", "--model-size", "4", "--device", "cpu", "--threads", "1"),
    *("--steps", "1"),
]


@pytest.fixture(autouse=True)
def _one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with eight images."""
    make_sample_data(tmp_path / "images", num=8, size=16)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pack(name: str) -> None:
    make_shards(Path("images"), Path("shards", name), workers=0)


def pretend(name: str, modality: str) -> None:
    """Shards of images that say they are of another modality."""
    pack(name)
    path = Path("shards", name, "manifest.json")
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "modality": modality}), "utf-8")


def source(run: str = "runs/image") -> str:
    return read_config(Path(run)).data.source


def fails_with(capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    capsys.readouterr()
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1, err
    assert re.search(sentence, err), err
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", ["", "image", "holiday"])
def test_the_only_set_is_trained_on_whatever_its_name(
    home: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(name)
    assert main(SHORT) == 0
    assert source() == str(Path("shards", name))
    assert "also there" not in capsys.readouterr().out


def test_of_several_sets_that_of_images_is_taken_and_the_others_are_named(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend("birds", "audio")
    pack("holiday")
    assert main(SHORT) == 0
    said = "shards: training on shards/holiday (8 images); also there: shards/birds (8 recordings).\n"
    assert capsys.readouterr().out.startswith(said)
    assert source() == "shards/holiday"
    assert main([*SHORT, "--type", "image", "--out", "second"]) == 0
    assert source("second") == "shards/holiday"


def test_of_several_sets_of_images_that_with_the_name_of_the_type_is_taken(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack("a")
    pack("b")
    fails_with(capsys, SHORT, r"several sets of images are there: shards/a \(8 images\), shards/b .*--shards PATH")
    assert main([*SHORT[1:], "--shards", "shards/b"]) == 0
    assert source() == "shards/b"
    pack("image")
    assert main([*SHORT, "--out", "second"]) == 0
    assert source("second") == "shards/image"


def test_no_set_is_one_sentence(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails_with(capsys, SHORT, r"^error: shards: no set of shards is there\. Make one with python tools/make_shards")
    (home / "shards" / "empty").mkdir(parents=True)
    fails_with(capsys, SHORT, r"^error: shards: no set of shards is there")


def test_a_set_of_a_modality_without_a_task_is_one_sentence(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretend("speech", "smell")
    expected = "shards/speech: holds examples of smell, and dirvae.train has no --type smell.*: audio, image"
    fails_with(capsys, SHORT, expected)
    fails_with(capsys, [*SHORT[1:], "--shards", "shards/speech"], expected)
    fails_with(capsys, [*SHORT, "--type", "image"], r"no set of images is there, only shards/speech \(8 ")
    fails_with(capsys, [*SHORT[1:], "--shards", "shards/speech", "--type", "image"], "is not of --type image")


def test_shards_of_other_tools_have_no_manifest_and_are_trained_on(home: Path) -> None:
    pack("")
    for path in [*Path("shards").glob("*.json*"), *Path("shards").glob("*.npy")]:
        path.unlink()
    assert main(SHORT) == 0
    assert source() == "shards"


def test_the_type_is_remembered_with_the_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack("holiday")
    assert main([*SHORT, "--type", "image", "--out", "mine"]) == 0
    assert json.loads(Path("mine/config.json").read_text("utf-8"))["type"] == "image"
    assert main(["--resume", "--steps", "2", "--out", "mine"]) == 0
    content = json.loads(Path("mine/config.json").read_text("utf-8"))
    Path("mine/config.json").write_text(json.dumps({**content, "type": "smell"}))
    capsys.readouterr()
    assert main(["--resume", "--steps", "3", "--out", "mine"]) == 1
    assert "type is 'smell'; it must be one of audio, image" in capsys.readouterr().err


def test_a_named_folder_of_sets_is_chosen_from_as_shards_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack("image")
    pretend("speech", "audio")
    Path("shards").rename("elsewhere")
    arguments = [SHORT[0], "elsewhere", *SHORT[1:]]
    assert main([*arguments, "--out", "runs/image"]) == 0
    assert (
        "elsewhere: training on elsewhere/image (8 images); also there: elsewhere/speech" in capsys.readouterr().out
    )
    assert source() == "elsewhere/image"


def test_a_named_folder_of_several_sets_of_one_type_asks_for_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack("alpha")
    pack("beta")
    fails_with(
        capsys, [SHORT[0], "shards", *SHORT[1:]], "several sets of images are there: .*alpha.*beta.* Name one"
    )
