"""The experiments on sample scenes: runs are those of dirvae.train, jobs can be killed, tables and pictures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dirvae.run import session
from dirvae.run.config import RunConfig
from dirvae.train import main as train
from dirvae.training import TrainConfig

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "latents"
sys.path.insert(0, str(FOLDER))

import scenes  # noqa: E402 - the benchmarks are programs: they import each other from their own folder
import scenes_jobs  # noqa: E402
import scenes_pictures  # noqa: E402
import scenes_tables  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:the run ends after")  # far too short, on purpose
FACTORS = ["shape", "hue", "x", "y", "size", "turn", "background", "horizon"]


@pytest.fixture(scope="module", autouse=True)
def _one_torch_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def arguments(home: Path, *more: str, steps: int = 5) -> list[str]:
    small = ["--model-size", "4", "--scenes", "80", "--size", "16", "--samples", "2", "--seeds", "0"]
    return [*small, "--steps", str(steps), "--runs", str(home / "runs"), "--results", str(home / "results"), *more]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs and results of all models, small ones."""
    home = tmp_path_factory.mktemp("scenes")
    assert scenes.main(arguments(home)) == 0
    return home


def result(home: Path, model: str) -> dict:
    return json.loads((home / "results" / f"scenes-{model}-4-seed0.json").read_text("utf-8"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    found = sorted((run / "checkpoints").glob("*/model.safetensors"))
    return load_file(found[-1])


@pytest.mark.parametrize("latent", ["dirichlet", "gaussian"])
def test_from_the_same_first_weights_the_trainer_ends_in_those_of_the_job(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, latent: str
) -> None:
    def make_model(config: RunConfig) -> torch.nn.Module:
        return scenes_jobs.SceneJob(latent, 4, 0).make_model(TrainConfig(**config.settings()))

    monkeypatch.setattr(session, "build_model", make_model)
    shards = str(done / "runs" / "shards-80-16")
    options = ["--shards", shards, "--size", "16", "--model-size", "4", "--steps", "5", "--held-out", "0.25"]
    more = ["--latent", latent, "--device", "cpu", "--threads", "1", "--out", str(tmp_path / "run")]
    assert train([*options, *more]) == 0
    theirs, ours = weights(tmp_path / "run"), weights(done / "runs" / f"scenes-{latent}-4-seed0")
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(value, ours[name]) for name, value in theirs.items())


def test_every_job_leaves_what_the_tables_show(done: Path) -> None:
    for model in scenes_jobs.MODELS:
        content = result(done, model)
        assert (content["model"], content["model_size"], content["steps"], content["examples"]) == (model, 4, 5, 20)
        assert [row["factor"] for row in content["factors"]] == FACTORS
        assert content["neighbours"]["label"] == "shape"
        assert content["parameters"] == pytest.approx(56_176, rel=0.001)  # equal but for the latents' own heads
    assert "Not run" not in scenes_tables.summary_table(done / "results", model_size=4)
    assert scenes_tables.summary_table(done / "results", model_size=5) == "Not run yet.\n"


def test_a_learned_prior_is_one(done: Path) -> None:
    config = TrainConfig(model_size=4, size=16)
    learned = scenes_jobs.SceneJob("dirichlet-learned", 4, 0).make_model(config)
    fixed = scenes_jobs.SceneJob("dirichlet", 4, 0).make_model(config)
    assert learned.latent.moment_prior is not None
    assert fixed.latent.moment_prior is None
    assert "latent.moment_prior.moments" in weights(done / "runs" / "scenes-dirichlet-learned-4-seed0")


@pytest.mark.parametrize("model", sorted(scenes_jobs.MODELS))
def test_the_settings_a_job_saves_name_its_latent_and_prior(model: str) -> None:
    job = scenes_jobs.SceneJob(model, 4, 0)
    config = job.config(Path("shards"), scenes_jobs.Setting(side=16))
    named, made = session.build_model(config.to_run()).latent, job.make_model(config).latent
    assert type(named) is type(made)
    for name, value in made.named_buffers():
        assert torch.equal(value, named.get_buffer(name)), name


def test_a_lead_near_chance_is_none(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_result(tmp_path, "dirichlet", seed, share=0.05)
        write_result(tmp_path, "gaussian", seed, share=0.02)
    assert "**" not in scenes_tables.factor_table(tmp_path, "share", model_size=16)


def test_what_is_done_is_not_done_again(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (done / "results").glob("*")}
    assert scenes.main(arguments(done)) == 0
    assert {path: path.stat().st_mtime_ns for path in (done / "results").glob("*")} == before
    capsys.readouterr()
    assert scenes.main(arguments(done, "--list", "--only", "dirichlet")) == 0
    assert capsys.readouterr().out.split() == ["done", "scenes-dirichlet-4-seed0"]
    assert scenes.main(arguments(done, "--seeds", "17")) == 1
    assert "no job has these settings" in capsys.readouterr().err


def test_data_that_does_not_fit_ends_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scenes.main(arguments(tmp_path, "--held-out", "0.999")) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.slow
def test_a_job_that_was_stopped_and_killed_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    contents = []
    for name, signals in (("whole", ()), ("broken", (signal.SIGTERM, signal.SIGKILL))):
        home = tmp_path / name
        program = [sys.executable, str(FOLDER / "scenes.py"), *arguments(home, "--only", "dirichlet", steps=150)]
        for number in signals:
            process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            metrics = home / "runs" / "scenes-dirichlet-4-seed0" / "metrics.jsonl"
            before, deadline = size_of(metrics), time.monotonic() + 100
            while size_of(metrics) <= before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
            process.send_signal(number)
            assert process.wait(timeout=60) == (143 if number == signal.SIGTERM else -signal.SIGKILL)
            assert not (home / "results").exists()
        subprocess.run(program, check=True, capture_output=True)
        contents.append({**result(home, "dirichlet"), "training_seconds": None})
    assert contents[0] == contents[1]


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def write_result(folder: Path, model: str, seed: int, *, share: float) -> None:
    numbers = {"share": share, "gap": share / 2, "linear_r2": 0.5, "chance": dict.fromkeys(
        ("share", "gap", "linear_r2"), 0.01
    )}  # fmt: skip
    summed = dict.fromkeys(("gap", "disentanglement", "completeness", "linear_r2"), share)
    content = {
        "model": model,
        "psnr_db": 20.0 + seed,
        "likelihood": {"negative_bound": -5000.4, "kl": 37.0},
        "usage": {"components_in_use": 16},
        "disentanglement": {**summed, "chance": dict.fromkeys(summed, 0.125)},
        "neighbours": {"classes": 4, "errors": {"5": 0.6}},
        "factors": [{"factor": "hue", **numbers}],
        "categories": [
            {"factor": "shape=star", **numbers, "share": share / 5},
            {"factor": "shape=heart", **numbers, "share": share / 20},
        ],
    }
    (folder / f"scenes-{model}-16-seed{seed}.json").write_text(json.dumps(content), "utf-8")


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]


def test_tables_have_means_over_seeds_a_clear_leader_in_bold_and_what_chance_gives(tmp_path: Path) -> None:
    for seed, share in enumerate((0.3, 0.4)):
        write_result(tmp_path, "dirichlet", seed, share=share + 0.2)
        write_result(tmp_path, "gaussian", seed, share=share)
    summary = cells(scenes_tables.summary_table(tmp_path, model_size=16))
    assert [row[0].strip("-") for row in summary] == ["latent", "", "gaussian", "dirichlet", "shuffled"]
    assert summary[2][1:7] == ["2", "20.50 ± 0.71", "-5000 ± 0.0", "37.0 ± 0.0", "16 ± 0.0", "0.350 ± 0.071"]
    assert summary[4][1:] == ["–"] * 5 + ["0.125 ± 0.000", "0.12 ± 0.00", "0.12 ± 0.00", "0.125 ± 0.000", "75.0"]
    shares = cells(scenes_tables.factor_table(tmp_path, "share", model_size=16))
    assert shares[2] == ["hue", "0.35 ± 0.07", "**0.55 ± 0.07**", "0.01"]
    assert shares[3] == ["shape=star", "0.07 ± 0.01", "**0.11 ± 0.01**", "0.01"]
    assert len(shares) == 4  # no component knows of hearts
    gaps = cells(scenes_tables.factor_table(tmp_path, "gap", model_size=16, decimals=3))
    assert gaps[2][1:3] == ["0.175 ± 0.035", "**0.275 ± 0.035**"]
    write_result(tmp_path, "logistic-normal", 0, share=0.7)  # a single seed neither leads nor is led
    shares = cells(scenes_tables.factor_table(tmp_path, "share", model_size=16))
    assert shares[2] == ["hue", "0.35 ± 0.07", "**0.55 ± 0.07**", "0.70", "0.01"]
    write_result(tmp_path, "gaussian", 1, share=0.62)
    shares = cells(scenes_tables.factor_table(tmp_path, "share", model_size=16))
    assert shares[2][1:3] == ["0.46 ± 0.23", "0.55 ± 0.07"]  # a lead that the seeds do not bear out is none


def test_a_component_that_grows_leaves_the_others_their_proportions() -> None:
    center, values = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.0, 0.4, 1.0])
    grown = scenes_pictures.grown(center, 1, values)
    torch.testing.assert_close(grown[:, 1], values)
    torch.testing.assert_close(grown.sum(1), torch.ones(3))
    torch.testing.assert_close(grown[:2, 0] / grown[:2, 2], torch.full((2,), 0.4))
    free = scenes_pictures.grown(torch.tensor([-1.0, 0.3, 2.0]), 1, values)
    assert free.tolist() == [[-1, value, 2] for value in values.tolist()]


def test_components_are_labelled_by_what_they_hold_most_of_and_the_strongest_come_first() -> None:
    factors, categories = {"x": 0.1, "mood": 0.3, "y": 0.2}, {"mood=day": 0.2, "mood=night": 0.7}
    told = {
        "factors": [{"factor": name, "shares": [0.0, share]} for name, share in factors.items()],
        "categories": [{"factor": name, "shares": [0.0, share]} for name, share in categories.items()],
    }
    assert scenes_pictures.label_of(told, 1) == "component 1\nnight 0.70\ny 0.20"
    assert scenes_pictures.label_of(told, 0) == "component 0\nno factor"
    rows = [torch.stack([torch.zeros(1, 2, 2), torch.full((1, 2, 2), end)]) for end in (0.1, -0.9, 0.5)]
    assert scenes_pictures.by_effect(rows) == [1, 2, 0]


def test_pictures_show_every_component_and_what_models_make_of_scenes(done: Path, tmp_path: Path) -> None:
    options = ["--model-size", "4", "--runs", str(done / "runs"), "--results", str(done / "results")]
    assert scenes_pictures.main([*options, "--out", str(tmp_path)]) == 0
    names = {"scenes-gaussian.png", "scenes-dirichlet.png", "scenes-reconstructions.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    tile = scenes_pictures.TILE + scenes_pictures.GAP
    with Image.open(tmp_path / "scenes-dirichlet.png") as sheet:
        assert sheet.size == (2 * (scenes_pictures.LABEL + 4 * tile), 2 * tile)
        assert np.asarray(sheet)[:, scenes_pictures.LABEL + 5].std() > 1
    with Image.open(tmp_path / "scenes-reconstructions.png") as sheet:
        assert sheet.size == (scenes_pictures.LABEL + scenes_pictures.SHOWN * tile, 3 * tile)


def test_pictures_of_what_was_not_run_are_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert scenes_pictures.main(["--results", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "error: scenes-gaussian-16-seed0 was not run yet; run scenes.py.\n"
