"""python -m dirvae.encode: arrays of a whole set that equal the model's own, whatever happened while they were made."""

from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from dirvae import load_model
from dirvae.encode import main
from dirvae.encoding.batch_rows import field_rows, key_rows
from dirvae.encoding.latent_group import LatentGroup
from dirvae.run.explored_run import open_explored_run
from dirvae.train import main as train
from dirvae.training.errors import ConfigError
from pipelines import ArrayIterator, ImageIterator, make_shards
from pipelines.samples import make_sample_sounds
from pipelines.samples.scenes import make_sample_data
from tests.dirvae.moving_shapes import write_videos
from tests.web_server import WebServer

SMALL = ["--size", "16", "--batch-size", "8", "--model-size", "4", "--device", "cpu", "--threads", "1"]
NUM = 52


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """52 scenes in `shards`, a run over them in `run`, one of two levels in `both`."""
    torch.set_num_threads(1)
    home = tmp_path_factory.mktemp("encode")
    make_sample_data(home / "image", num=NUM, size=24)
    make_shards(home / "image", home / "shards", workers=0, shard_examples=20)
    arguments = [*SMALL, "--shards", str(home / "shards"), "--steps", "2", "--held-out", "0"]
    assert train([*arguments, "--out", str(home / "run")]) == 0
    assert train([*arguments, "--levels", "both", "--map-size", "4", "--out", str(home / "both")]) == 0
    return home


def encode(run: Path, out: Path, *more: str, size: str = "8", shard: str = "16") -> int:
    return main([str(run), "--out", str(out), "--batch-size", size, "--shard-examples", shard, *more])


def contents(group: Path) -> dict[str, str]:
    files = {path.relative_to(group).as_posix(): path for path in group.rglob("*") if path.is_file()}
    ledger = group.with_name(group.name + ".ledger.jsonl")
    return {name: sha256(path.read_bytes()).hexdigest() for name, path in {**files, "ledger": ledger}.items()}


@pytest.fixture(scope="module")
def whole(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "latents.zarr"
    assert encode(home / "run", out, "--samples", "3", "--fields", "json") == 0
    return out


def test_the_arrays_are_those_of_the_model_in_the_order_of_the_set(home: Path, whole: Path) -> None:
    import zarr

    group = zarr.open_group(str(whole), mode="r")
    model, found = load_model(home / "run"), []
    images = ImageIterator(home / "shards", size=16, batch_size=8, shuffle=False, threads=1, fields=["json"])
    with torch.inference_mode():
        for batch in images:
            posterior = model.encode(torch.from_numpy(batch.data).float() / 255)
            found.append((batch.keys, posterior.concentration.numpy(), batch.fields["json"]))
    keys = [key for keys, _, _ in found for key in keys]
    concentration = np.concatenate([one for _, one, _ in found])
    assert group["key"][:].tolist() == keys
    np.testing.assert_allclose(group["concentration"][:], concentration, rtol=1e-5)
    np.testing.assert_allclose(group["mean"][:], concentration / concentration.sum(1, keepdims=True), rtol=1e-5)
    assert [json.loads(text) for text in group["field_json"][:]] == [one for *_, batch in found for one in batch]
    sample = group["sample"][:]
    assert sample.shape == (NUM, 3, 4)
    np.testing.assert_allclose(sample.sum(2), 1, rtol=1e-5)
    assert group["sample"].metadata.dimension_names == ("example", "draw", "component")
    assert group["mean"].shards == (16, 4)
    assert group.attrs["complete"] is True


def test_draws_follow_the_posteriors(home: Path, tmp_path: Path) -> None:
    """The mean of many draws of each example is within five standard errors of the posterior's."""
    import zarr

    assert encode(home / "run", tmp_path / "a.zarr", "--samples", "400") == 0
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    concentration = group["concentration"][:].astype(float)
    total = concentration.sum(1, keepdims=True)
    mean = concentration / total
    spread = np.sqrt(mean * (1 - mean) / (total + 1) / 400)
    assert (np.abs(group["sample"][:].mean(1) - mean) < 5 * spread).all()


def test_fields_are_columns_of_numbers_and_texts() -> None:
    class OneBatch:
        fields: ClassVar[dict[str, Any]] = {
            "cls": [3, None],
            "json": [{"a": "ü"}, None],
            "f0.npy": np.ones((2, 4), np.float32),
            "notes.npy": [np.ones(2), np.ones(3)],
        }

    rows = field_rows(OneBatch(), ["cls", "json", "f0.npy"])
    assert rows["field_cls"].values.tolist() == [3, -1]
    assert rows["field_json"].values.tolist() == ['{"a":"ü"}', ""]
    assert rows["field_f0_npy"].values.shape == (2, 4)
    with pytest.raises(ConfigError, match=r"'notes.npy' .* Leave it out"):
        field_rows(OneBatch(), ["notes.npy"])


def test_others_read_them(whole: Path) -> None:
    import xarray

    rows = ArrayIterator(str(whole), arrays="mean", batch_size=10, fields=["concentration"])
    means = np.concatenate([batch.data for batch in rows])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = xarray.open_zarr(str(whole))
        assert opened["mean"].dims == ("example", "component")
        np.testing.assert_array_equal(opened["mean"].to_numpy(), means)
        assert str(opened["key"].to_numpy()[0])


def test_both_levels_are_kept(home: Path, tmp_path: Path) -> None:
    import zarr

    assert encode(home / "both", tmp_path / "both.zarr") == 0
    group = zarr.open_group(str(tmp_path / "both.zarr"), mode="r")
    assert group["map_mean"].metadata.dimension_names == ("example", "map_component", "map_row", "map_column")
    np.testing.assert_allclose(group["map_sample"][:].sum(2), 1, rtol=1e-5)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_an_encoding_that_ended_early_continues_with_the_same_bytes(
    home: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """The disk is full at shard 0, 1, 2 or 3, in the middle of the arrays; what is finished is not made again."""
    out, written = tmp_path / "latents.zarr", list[int]()
    real = LatentGroup.write

    def write(self: LatentGroup, shard: int, rows: Any) -> dict[str, str]:
        if shard == after and after not in written:
            written.append(shard)
            (self.path / "mean" / "c").mkdir(exist_ok=True)
            (self.path / "mean" / "c" / "0.abc.partial").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(self.path))
        written.append(shard)
        return real(self, shard, rows)

    monkeypatch.setattr(LatentGroup, "write", write)
    arguments = ["--samples", "3", "--fields", "json"]
    assert encode(home / "run", out, *arguments) == 1
    assert encode(home / "run", out, *arguments) == 0
    assert contents(out) == contents(whole)
    assert written == [*range(after + 1), *range(after, 4)]
    assert encode(home / "run", out, *arguments) == 0
    assert len(written) == 5


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.heavy)])
def test_a_killed_encoding_continues_with_the_same_bytes(home: Path, tmp_path: Path, kills: int) -> None:
    arguments = ["--samples", "40", "--batch-size", "2", "--shard-examples", "2"]
    assert main([str(home / "run"), "--out", str(tmp_path / "whole.zarr"), *arguments]) == 0
    out = tmp_path / "killed.zarr"
    command = [sys.executable, "-m", "dirvae.encode", str(home / "run"), "--out", str(out), *arguments]
    ledger, seen = out.with_name("killed.zarr.ledger.jsonl"), 0
    for _ in range(kills):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and _lines(ledger) <= seen:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        seen = _lines(ledger)
    assert main([str(home / "run"), "--out", str(out), *arguments]) == 0
    assert contents(out) == contents(tmp_path / "whole.zarr")


def _lines(ledger: Path) -> int:
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def test_what_is_there_is_not_mixed_with_anything_else(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "latents.zarr"
    assert encode(home / "run", out) == 0
    assert encode(home / "run", out, "--seed", "1") == 1
    assert "seed was 0 and is 1" in capsys.readouterr().err
    assert encode(home / "both", out) == 1
    assert "was begun with other settings" in capsys.readouterr().err
    assert encode(home / "run", out, "--samples", "2") == 1
    assert "(samples was 1 and is 2)" in capsys.readouterr().err
    assert encode(home / "run", out, "--seed", "1", "--overwrite") == 0
    shutil.rmtree(out)  # its ledger stays, as after a kill between the two
    assert encode(home / "run", out, "--seed", "2") == 1
    assert encode(home / "run", out, "--seed", "2", "--overwrite") == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    assert encode(home / "run", tmp_path / "mine", "--overwrite") == 1
    assert "is there" in capsys.readouterr().err
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_mistakes_end_in_one_sentence(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        [str(tmp_path)],
        [str(home / "run"), "--shards", str(tmp_path / "none")],
        [str(home / "run"), "--out", str(tmp_path / "x.zarr"), "--batch-size", "8", "--shard-examples", "12"],
        [str(home / "run"), "--out", str(tmp_path / "x.zarr"), "--samples", "-1"],
        [str(home / "run"), "--out", str(tmp_path / "x.zarr"), "--which", "7"],
        [str(home / "run"), "--out", str(tmp_path / "x.zarr"), "--checkpoint", "7"],
        [str(home / "run"), "--out", str(tmp_path / "x.zarr"), "--samples", "1000000000"],
        [str(home / "run"), "--out", "/proc/none/x.zarr"],
    ):
        assert main(arguments) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert said.count("\n") == 1


def test_a_misspelt_field_and_a_huge_shard_are_no_harm(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import zarr

    assert encode(home / "run", tmp_path / "x.zarr", "--fields", "jsn", shard=str(8 * 10**11)) == 0
    warned = [line for line in capsys.readouterr().err.splitlines() if "warning" in line.lower()]
    assert len(warned) == 1
    assert warned[0].startswith("warning: ")
    assert "Did you mean 'json'?" in warned[0]
    group = zarr.open_group(str(tmp_path / "x.zarr"), mode="r")
    assert group["mean"].shards[0] < 2 * NUM
    assert set(group["field_jsn"][:]) == {""}


def test_texts_without_utf_8_are_written_as_json_writes_them() -> None:
    class OneBatch:
        keys: ClassVar[list[str]] = ["a\udcff", "ü"]
        lengths = substituted = None
        fields: ClassVar[dict[str, Any]] = {"json": [{"a": "\ud800"}, {}], "txt": ["x\udc80", None]}

    assert key_rows(OneBatch(), are_clips=False)["key"].values.tolist() == ["a\\udcff", "ü"]
    rows = field_rows(OneBatch(), ["json", "txt"])
    assert json.loads(rows["field_json"].values[0]) == {"a": "\ud800"}
    assert rows["field_txt"].values.tolist() == ["x\\udc80", ""]


def test_an_array_of_another_shape_is_refused_in_whichever_shard_it_is(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A column of 3 numbers takes one number as three equal ones, if nobody looks."""
    shutil.copytree(home / "image", tmp_path / "few")
    for place, image in enumerate(sorted((tmp_path / "few").glob("*.jpg"))):
        np.save(image.with_suffix(".turn.npy"), np.ones(3 if place < 32 else 1, np.float32))
    arguments = ["--shards", str(tmp_path / "few"), "--fields", "turn.npy"]
    assert encode(home / "run", tmp_path / "x.zarr", *arguments) == 1
    assert "'turn_npy' has another shape or type in some examples" in capsys.readouterr().err


def test_a_damaged_example_is_replaced_and_said_or_refused(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import zarr

    shutil.copytree(home / "shards", tmp_path / "shards")
    shard = sorted((tmp_path / "shards").glob("*.tar"))[0]
    with tarfile.open(shard) as tar:
        member = [one for one in tar.getmembers() if one.name.endswith(".jpg")][5]
    with shard.open("r+b") as file:
        file.seek(member.offset_data)
        file.write(bytes(member.size))
    arguments = ["--shards", str(tmp_path / "shards")]
    assert encode(home / "run", tmp_path / "x.zarr", *arguments) == 1
    assert Path(member.name).stem in capsys.readouterr().err
    assert encode(home / "run", tmp_path / "y.zarr", *arguments, "--on-error", "substitute") == 0
    group = zarr.open_group(str(tmp_path / "y.zarr"), mode="r")
    substituted = group["substituted"][:]
    assert substituted.tolist() == [place == 5 for place in range(NUM)]
    assert np.isfinite(group["mean"][:]).all()
    assert encode(home / "run", tmp_path / "y.zarr", *arguments, "--on-error", "substitute") == 0


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_sounds_and_clips_are_encoded_as_their_models_do(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The posterior of each clip by itself, and the same bytes after an end in the middle."""
    import zarr

    shards = tmp_path / "shards"
    arguments = ["--type", kind, "--shards", str(shards), "--preset", "tiny", "--model-size", "3", "--steps", "1"]
    arguments += ["--batch-size", "4", "--threads", "1", "--out", str(tmp_path / "run"), "--held-out", "0"]
    if kind == "audio":
        make_sample_sounds(tmp_path / "data", num=6)
        make_shards(tmp_path / "data", shards, workers=0, features=("f0", "loudness"), overwrite_features=True)
        arguments += ["--clip-seconds", "0.7", "--num-harmonics", "6", "--num-bands", "5"]
    else:
        write_videos(tmp_path / "data", 5, frames=20, size=24)
        make_shards(tmp_path / "data", shards, workers=0)
        arguments += ["--size", "16", "--clip-frames", "8"]
    assert train(arguments) == 0
    assert encode(tmp_path / "run", tmp_path / "x.zarr", size="4", shard="4") == 0
    group = zarr.open_group(str(tmp_path / "x.zarr"), mode="r")
    mean, concentration = group["mean"][:], group["concentration"][:]
    np.testing.assert_allclose(mean, concentration / concentration.sum(1, keepdims=True), rtol=1e-5)

    run = open_explored_run(tmp_path / "run")
    assert len(run.keys) == len(mean) > 4
    places = [group["key"][:].tolist().index(key) for key in run.keys]
    expected = mean[places] if kind == "video" else mean[places].mean(2)
    if kind == "video":
        np.testing.assert_allclose(run.latents.numpy(), expected, rtol=1e-4, atol=1e-6)
    else:
        length = group["length"][:][places]  # one batch has padded clips, another one has none
        whole = length == length.max()
        assert 0 < whole.sum() < len(whole)
        np.testing.assert_allclose(run.latents.numpy()[whole], expected[whole], rtol=1e-4, atol=1e-6)

    shutil.copytree(tmp_path / "x.zarr", tmp_path / "y.zarr")
    ledger = (tmp_path / "x.zarr.ledger.jsonl").read_text("utf-8").splitlines(keepends=True)
    (tmp_path / "y.zarr.ledger.jsonl").write_text("".join(ledger[:2]), "utf-8")
    capsys.readouterr()
    assert encode(tmp_path / "run", tmp_path / "y.zarr", size="4", shard="4") == 0
    assert f"{len(mean) - 4} of {len(mean)} examples encoded" in capsys.readouterr().out
    assert contents(tmp_path / "y.zarr") == contents(tmp_path / "x.zarr")
    assert encode(tmp_path / "run", tmp_path / "z.zarr", "--shards", str(tmp_path / "none")) == 1


def test_shards_of_another_kind_are_one_sentence(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sample_sounds(tmp_path / "sounds", num=2)
    assert encode(home / "run", tmp_path / "x.zarr", "--shards", str(tmp_path / "sounds")) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "x.zarr").exists()


def test_shards_behind_a_url_give_the_same_arrays(home: Path, whole: Path, tmp_path: Path) -> None:
    web = WebServer({f"/set/{path.name}": path.read_bytes() for path in (home / "shards").iterdir()})
    try:
        arguments = ["--shards", f"{web.url}/set", "--samples", "3", "--fields", "json"]
        assert encode(home / "run", tmp_path / "latents.zarr", *arguments) == 0
    finally:
        web.close()
    there, here = contents(tmp_path / "latents.zarr"), contents(whole)
    differing = {name for name in here if there[name] != here[name]}
    assert differing <= {"zarr.json", "ledger"}  # which name the source


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        "[" * 100_000,
        '{"version": 2, "type": "image", "size": 1000000000}',
        '{"version": 2, "steps": "9"}',
    ],
    ids=["a list", "cut off", "deep", "huge pictures", "a text for a number"],
)
def test_settings_that_cannot_be_read_are_one_sentence(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    shutil.copytree(home / "run", tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text(text, "utf-8")
    assert encode(tmp_path / "run", tmp_path / "x.zarr") == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
