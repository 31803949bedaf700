"""python -m dirvae.evaluate: the table, the file in the run, and one sentence where there is nothing to evaluate."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch

from dirvae import load_model
from dirvae.evaluate.__main__ import main
from dirvae.metrics import effective_components
from dirvae.train import main as train
from pipelines import ImageIterator, hold_out, open_source
from pipelines.samples.scenes import make_sample_data

SMALL = ["--size", "16", "--batch-size", "8", "--model-size", "4", "--device", "cpu", "--threads", "1"]
FACTORS = ["shape", "hue", "x", "y", "size", "turn", "background", "horizon"]
MOODS = ["background=dawn", "background=day", "background=dusk", "background=night"]


@pytest.fixture(scope="module", autouse=True)
def _one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 80 scenes in data/image and a short run over them in `run`."""
    home = tmp_path_factory.mktemp("evaluate")
    make_sample_data(home / "data" / "image", num=80, size=24)
    arguments = [*SMALL, "--data", str(home / "data" / "image"), "--steps", "4", "--held-out", "0.3"]
    assert train([*arguments, "--out", str(home / "run")]) == 0
    return home


def test_a_run_is_measured_on_its_held_out_images_and_the_table_says_what_the_file_does(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained / "run"
    assert main([str(run), "--samples", "7", "--label", "shape", "--circular", "hue", "turn"]) == 0
    out = capsys.readouterr().out
    content = json.loads((run / "evaluation.json").read_text("utf-8"))
    assert (content["step"], content["examples"], content["is_held_out"]) == (4, 24, True)
    assert [row["factor"] for row in content["factors"]] == FACTORS
    assert all(len(row["shares"]) == 4 for row in content["factors"])
    assert set(content["neighbours"]["errors"]) == {"3", "5", "10"}
    measured = content["likelihood"]
    is_loose = measured["effective_samples"] < 1.75
    assert is_loose == any("7 draws hardly more than one counts" in note for note in content["notes"])
    assert measured["nll"] < measured["negative_bound"]
    assert re.search(rf"width of the proposal +{measured['proposal_width']:g}, 1 is the posterior", out)
    assert f"{measured['nll']:,.2f} ± {measured['nll_standard_error']:.2f} nats" in out
    assert re.search(rf"components in use +{content['usage']['components_in_use']} of 4", out)
    for row in content["factors"]:
        assert re.search(rf"{row['factor']} .* {row['linear_r2']:.2f}", out)
        assert set(row["chance"]) == {"share", "gap", "linear_r2"}
    summed = content["disentanglement"]
    assert summed["gap"] == pytest.approx(sum(row["gap"] for row in content["factors"]) / len(FACTORS))
    assert re.search(rf"mean gap \(MIG\) +{summed['gap']:.2f} +{summed['chance']['gap']:.2f}\n", out)
    assert [row["factor"] for row in content["categories"] if row["factor"][0] == "b"] == MOODS
    for row in content["categories"]:
        assert re.search(rf"{row['factor']} .* {row['linear_r2']:.2f}", out)
    most = max(row["chance"]["share"] for row in (*content["factors"], *content["categories"]))
    assert re.search(rf"at most, shuffled +{most:.2f} ", out)
    assert out.splitlines()[-1] == f"written: {run / 'evaluation.json'}"


def test_the_images_are_those_held_out_and_no_others(trained: Path) -> None:
    """The mean latent of the images that `hold_out` keeps, and their closed KL, which the sampled one comes near."""
    run = trained / "run"
    assert main([str(run), "--samples", "300"]) == 0
    content = json.loads((run / "evaluation.json").read_text("utf-8"))
    model = load_model(run)
    _, held_out = hold_out(open_source(trained / "data" / "image"), 0.3, seed=0)
    images = ImageIterator(held_out, size=16, batch_size=24, threads=1)
    x = torch.from_numpy(next(iter(images)).data) / 255
    images.close()
    with torch.no_grad():
        posterior = model.encode(x)
        expected = model.latent.kl(posterior).mean().item()
    effective = effective_components(posterior.mean).item()
    assert content["usage"]["effective_components"] == pytest.approx(effective, rel=1e-6)
    assert content["likelihood"]["kl"] == pytest.approx(expected, rel=0.05)
    assert content["likelihood"]["values"] == 3 * 16 * 16


def test_the_same_seed_gives_the_same_file_and_another_another(trained: Path) -> None:
    run, files = trained / "run", []
    for seed in ("3", "3", "4"):
        assert main([str(run), "--samples", "2", "--seed", seed]) == 0
        files.append((run / "evaluation.json").read_text("utf-8"))
    assert files[0] == files[1] != files[2]


def test_data_that_moved_is_found_where_it_is_said_to_be_and_may_have_no_factors(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (trained / "data" / "image").glob("*.jpg"):
        shutil.copy(path, tmp_path / path.name)
    assert main([str(trained / "run"), "--samples", "2", "--limit", "10", "--source", str(tmp_path)]) == 0
    content = json.loads((trained / "run" / "evaluation.json").read_text("utf-8"))
    assert (content["factors"], content["neighbours"], content["examples"]) == (None, None, 10)
    assert (content["disentanglement"], content["categories"]) == (None, None)
    assert "factor" not in capsys.readouterr().out


def test_a_run_of_squared_errors_says_that_it_has_no_likelihood_and_measures_the_rest(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(trained / "data" / "image"), "--steps", "1", "--held-out", "0", "--likelihood", "mse"]
    assert train([*SMALL, *options, "--latent", "gaussian", "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert main([str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    content = json.loads((tmp_path / "run" / "evaluation.json").read_text("utf-8"))
    assert content["likelihood"] is None
    assert "squared errors, which are not a likelihood" in out
    assert "80 images of the training, because none were held out" in out
    assert len(content["factors"]) == len(FACTORS)
    assert content["usage"]["effective_components"] is None
    assert not math.isnan(content["usage"]["active_units"])


def fails_with(capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert re.search(sentence, captured.err), captured.err


def test_a_bad_run_or_setting_ends_in_one_sentence(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, broken, empty = str(trained / "run"), tmp_path / "broken", tmp_path / "empty"
    capsys.readouterr()
    fails_with(capsys, [str(tmp_path / "nowhere")], r"^error: .*nowhere: is not a run\. Name a folder")
    fails_with(capsys, [str(trained / "data" / "image" / "scene-000000.jpg")], "is not a run")
    empty.mkdir()
    shutil.copy(trained / "run" / "config.json", empty)
    fails_with(capsys, [str(empty)], "holds no checkpoint")
    shutil.copytree(trained / "run", broken)
    (broken / "config.json").write_text("{")
    fails_with(capsys, [str(broken)], "no readable settings")
    fails_with(capsys, [run, "--which", "17"], "no checkpoint of step 17; there are: 4")
    fails_with(capsys, [run, "--which", "worst"], "which is 'worst'")
    fails_with(capsys, [run, "--samples", "0"], "samples is 0; it must be 1 or more")
    fails_with(capsys, [run, "--width", "-1"], "width is -1.0; it must be a number from 0.001 to 1000")
    fails_with(capsys, [run, "--seed", str(2**63)], "seed is 9223372036854775808; it must be 0 or more and below")
    fails_with(
        capsys,
        [run, "--label", "mood"],
        "no factor or category is called 'mood'; the factors of the examples are shape",
    )
    fails_with(capsys, [run, "--circular", "mood"], "no factor is called 'mood'")
    fails_with(capsys, [run, "--circular", "shape"], "'shape' holds text")
    fails_with(capsys, [run, "--source", str(tmp_path / "gone")], "gone")
    fails_with(capsys, [run, "--device", "cuda:77"], "device 'cuda:77' cannot be used")
