"""python -m dirvae.evaluate on runs of sound: numbers that are no likelihood, and latents of whole clips."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from dirvae.evaluate import collapsed_weights, input_weight_norms
from dirvae.evaluate.__main__ import main as evaluate
from dirvae.evaluate.sounds import mean_latents
from dirvae.networks import AudioVAE
from dirvae.train import main as train
from pipelines import make_shards
from pipelines.samples import make_sample_sounds

SMALL = [
    *("--type", "audio", "--clip-seconds", "0.7", "--preset", "tiny", "--model-size", "3", "--num-harmonics", "6"),
    *(
        "--num-bands",
        "5",
        "--batch-size",
        "4",
        "--steps",
        "2",
        "--held-out",
        "0.4",
        "--device",
        "cpu",
        "--threads",
        "1",
    ),
]


pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ten recordings in shards, a run on them in `run`, and one without a latent in `plain`."""
    home = tmp_path_factory.mktemp("sound")
    make_sample_sounds(home / "data", num=10)
    make_shards(home / "data", home / "shards", features=("f0", "loudness"), overwrite_features=True, workers=0)
    arguments = [*SMALL, "--data", str(home / "shards")]
    assert train([*arguments, "--out", str(home / "run")]) == 0
    assert train([*arguments, "--out", str(home / "plain"), "--latent", "none"]) == 0
    return home


def test_a_run_of_sound_has_a_report_to_listen_to(home: Path) -> None:
    for name, has_latent in (("run", True), ("plain", False)):
        page = (home / name / "report.html").read_text("utf-8")
        assert page.count("<article") == 4
        assert ("Samples from the prior" in page) == has_latent
        assert len(set(re.findall(r"<h3>(sound-\d+)@\d+ <span>", page))) == 4, "of four recordings"


def test_a_run_is_measured_on_its_held_out_clips(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = home / "run"
    assert evaluate([str(run), "--label", "instrument"]) == 0
    out = capsys.readouterr().out
    content = json.loads((run / "evaluation.json").read_text("utf-8"))
    assert content["likelihood"] is None
    assert "note: no likelihood: the spectral loss that the run was trained with is not one\n" in out
    trained = json.loads((run / "summary.json").read_text("utf-8"))["evaluation"]
    sound = content["sound"]
    assert sound["examples"] == trained["examples"] == content["examples"]
    for name in ("reconstruction", "kl_per_second", "loudness_error_db"):
        assert sound[name] == pytest.approx(trained[name], rel=0.05), name
    assert re.search(rf"spectral loss, {sound['examples']} clips +{sound['reconstruction']:.3f}\n", out)
    assert re.search(rf"  KL +{sound['kl_per_second']:,.2f} nats per second\n", out)
    assert content["usage"]["model_size"] == 3
    assert re.search(r"error of neighbours, instrument +k = 3", out)
    assert {row["factor"] for row in content["categories"]} > {"instrument=flute"}


def test_without_a_latent_there_are_the_numbers_of_the_sound_and_a_note(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate([str(home / "plain"), "--limit", "3"]) == 0
    out = capsys.readouterr().out
    content = json.loads((home / "plain" / "evaluation.json").read_text("utf-8"))
    assert "note: no usage, no factors and no neighbours: the model has no latent\n" in out
    assert "loudness error" in out
    assert "components" not in out
    assert [content[name] for name in ("usage", "factors", "categories", "neighbours")] == [None] * 4
    assert evaluate([str(home / "plain"), "--label", "instrument"]) == 1
    assert capsys.readouterr().err == "error: label names a factor or a category, but the model has no latent.\n"


def test_the_latent_of_a_clip_is_the_mean_over_its_real_rows() -> None:
    torch.manual_seed(0)
    model = AudioVAE(16_000, preset="tiny", model_size=5)
    samples, lengths = torch.randn(3, 1, 8000), torch.tensor([8000, 3001, 64])
    found = mean_latents(model, samples, lengths)
    with torch.no_grad():
        means = model.encode(samples).mean
    for number, rows in enumerate((125, 47, 1)):
        torch.testing.assert_close(found[number], means[number, :, :rows].mean(1))
    torch.testing.assert_close(mean_latents(model, samples), means.mean(2))


@pytest.mark.parametrize("latent", ["dirichlet", "gaussian"])
def test_what_a_decoder_of_sound_reads_is_measured_at_the_layer_that_reads_the_latent(latent: str) -> None:
    torch.manual_seed(0)
    model = AudioVAE(8000, preset="tiny", model_size=5, latent=latent)
    first = model.decoder.latent_stack[0]  # type: ignore[index]
    torch.testing.assert_close(input_weight_norms(model), first.weight.norm(dim=0).detach())
    with torch.no_grad():
        first.weight[:, 2] = 0
    assert collapsed_weights(input_weight_norms(model)).tolist() == [False, False, True, False, False]
    with pytest.raises(ValueError, match="no latent"):
        input_weight_norms(AudioVAE(8000, preset="tiny", latent=None))
