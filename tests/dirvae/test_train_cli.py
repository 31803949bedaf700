"""python -m dirvae.train: what a person types, what comes of it, and what happens when it is killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dirvae.evaluate.__main__ import main as evaluate_main
from dirvae.run.config import RunConfig, write_config
from dirvae.run.folder import hold_run, new_run, newest_run
from dirvae.run.train_flags import train_parser
from dirvae.tasks import find_task
from dirvae.train import flag_settings, main
from dirvae.training import TrainConfig, load_model
from dirvae.training.checkpoint import CheckpointFolder
from dirvae.training.errors import CheckpointError, TrainingWarning
from dirvae.training.logging import read_metrics
from pipelines import make_shards

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["--size", "16", "--batch-size", "8", "--model-size", "4", "--device", "cpu", "--threads", "2"]
SHORT = [*SMALL, "--steps", "3", "--log-every", "1"]


@pytest.fixture(autouse=True)
def _one_torch_thread():
    """Networks this small are slower on several threads, the more so where other programs run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_images(folder: Path, num: int = 20, *, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(num):
        low, high = rng.integers(0, 256, (2, 3))
        ramp = np.linspace(low, high, 24)[:, None].repeat(24, 1).astype(np.uint8)
        Image.fromarray(ramp).save(folder / f"{number:03d}.jpg", quality=95)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A working directory with images where the program looks for them."""
    make_images(tmp_path / "data" / "image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fails_with(capsys, argv, sentence: str, code: int = 1) -> None:
    assert main(argv) == code
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, err
    assert "Traceback" not in err
    assert re.search(sentence, lines[0]), lines[0]


def weights(run: Path) -> dict[str, bytes]:
    newest = CheckpointFolder(run / "checkpoints").newest()
    assert newest is not None
    return {name: (newest.path / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}


def test_a_run_leaves_config_checkpoints_metrics_pictures_summary_and_report(home, capsys):
    assert main(SHORT) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "report: runs/image/report.html"
    run = home / "runs" / "image"
    content = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert content >= {
        "config.json",
        "metrics.jsonl",
        "summary.json",
        "report.html",
        "checkpoints/00000003/model.safetensors",
        "checkpoints/00000003/optimizer.safetensors",
        "checkpoints/00000003/state.json",
        *(f"pictures/{name}.png" for name in ("training", "reconstructions", "samples", "components", "traversal")),
    }
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["step"], summary["data"]["examples"], summary["data"]["held_out_examples"]) == (3, 20, 1)
    assert summary["evaluation"]["psnr_gain_db"] == pytest.approx(
        summary["evaluation"]["psnr_db"] - summary["evaluation"]["mean_image_psnr_db"]
    )
    kinds = [(line["kind"], line["step"]) for line in read_metrics(run / "metrics.jsonl")]
    assert kinds == [("train", 1), ("train", 2), ("train", 3), ("held_out", 3)]


def test_runs_are_numbered_and_an_explicit_one_is_never_overwritten(home, capsys):
    argv = [*SMALL, "--steps", "1"]
    assert [main(argv), main(argv), main([*argv, "--out", "runs/mine"])] == [0, 0, 0]
    assert sorted(path.name for path in Path("runs").iterdir()) == ["image", "image-2", "mine"]
    before = weights(Path("runs/mine"))
    fails_with(capsys, [*argv, "--out", "runs/mine"], "runs/mine: already holds a run. Add --resume")
    assert weights(Path("runs/mine")) == before


def test_the_newest_run_is_the_one_with_the_highest_number(tmp_path):
    for _ in range(11):
        write_config(new_run(tmp_path, "image"), TrainConfig().to_run())
    (tmp_path / "image-99").mkdir()
    (tmp_path / "images-100").mkdir()
    assert newest_run(tmp_path, "image") == tmp_path / "image-11"
    assert newest_run(tmp_path / "none", "image") is None


def test_resume_goes_on_with_the_newest_run_and_its_own_settings(home, capsys):
    assert main([*SMALL, "--steps", "2", "--seed", "7"]) == 0
    assert main([*SMALL, "--steps", "2", "--seed", "8"]) == 0
    capsys.readouterr()
    assert main(["--resume", "--steps", "4"]) == 0
    assert capsys.readouterr().out.startswith("runs/image-2: continuing after step 2.\n")
    config = json.loads(Path("runs/image-2/config.json").read_text())
    assert (config["seed"], config["steps"], config["batch_size"]) == (8, 4, 8)
    assert CheckpointFolder("runs/image/checkpoints").steps() == [2]
    assert CheckpointFolder("runs/image-2/checkpoints").steps() == [2, 4]


def test_resume_where_nothing_is_begins_a_run(home, capsys):
    assert main([*SHORT, "--resume"]) == 0
    assert Path("runs/image/report.html").exists()


def test_a_run_that_never_saved_may_begin_again_with_other_settings(home):
    settings = {"batch_size": 32, "seed": 9, "size": 16, "model_size": 4}
    write_config(new_run(Path("runs"), "image"), RunConfig.of("image", settings))
    assert main(["--resume", "--batch-size", "8", "--steps", "1", "--device", "cpu"]) == 0
    config = json.loads(Path("runs/image/config.json").read_text())
    assert (config["batch_size"], config["seed"]) == (8, 9)


def test_a_changed_setting_is_refused_with_the_difference(home, capsys):
    assert main(SHORT) == 0
    fails_with(
        capsys,
        [*SHORT, "--resume", "--batch-size", "4", "--flip"],
        r"started with other settings \(batch-size: 8 → 4; flip: no → yes\)",
    )
    assert main([*SHORT, "--resume", "--threads", "1", "--save-every", "1"]) == 0


def test_other_data_is_refused(home, capsys):
    assert main(SHORT) == 0
    make_images(home / "other", 30, seed=5)
    fails_with(capsys, ["--resume", "--steps", "5", "--data", "other"], "data")
    assert main(["--resume", "--steps", "4"]) == 0


def test_epochs_instead_of_steps_and_no_held_out_part(home):
    assert main([*SMALL, "--epochs", "2", "--held-out", "0", "--cooldown", "0", "--clip", "0"]) == 0
    summary = json.loads(Path("runs/image/summary.json").read_text())
    assert (summary["step"], summary["data"]["held_out_examples"], summary["evaluation"]) == (6, 0, None)
    assert json.loads(Path("runs/image/config.json").read_text())["steps"] is None
    assert "Training images and their reconstructions" in Path("runs/image/report.html").read_text()


@pytest.mark.parametrize(
    "extra",
    [
        ["--latent", "gaussian"],
        ["--grid", "4", "--model-size", "3"],
        ["--likelihood", "discretized-logistic", "--fixed-scale", "0.1"],
        ["--kl-warmup", "2", "--kl-cycle", "3", "--free-nats", "5", "--kl-weight", "0.5"],
    ],
)
def test_other_latents_and_objectives_train_and_are_loaded_again(home, extra):
    assert main([*SHORT, *extra]) == 0
    model = load_model("runs/image")
    with torch.no_grad():
        assert model.sample(2).shape == (2, 3, 16, 16)
    assert not model.training


def test_a_dataset_smaller_than_a_batch_is_trained_on(home):
    make_images(home / "few", 3)
    assert main([*SHORT, "--data", "few", "--batch-size", "64"]) == 0


def test_init_from_begins_with_the_weights_of_another_run(home, capsys):
    assert main([*SHORT, "--out", "first"]) == 0
    assert (
        main([*SMALL, "--steps", "1", "--learning-rate", "1e-12", "--init-from", "first", "--out", "second"]) == 0
    )
    first, second = load_model("first", which="last").state_dict(), load_model("second").state_dict()
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-9, rtol=0)
    fails_with(capsys, [*SHORT, "--model-size", "6", "--init-from", "first"], "weights are of another model")
    fails_with(capsys, [*SHORT, "--init-from", "nowhere"], "nowhere: holds no checkpoint")


def test_a_warm_start_says_where_held_out_images_may_have_been_trained_on(home, capsys):
    split = ["--held-out", "0.25", "--steps", "2", "--kl-warmup", "0"]
    assert main([*SMALL, *split, "--out", "first"]) == 0
    assert main([*SMALL, *split, "--init-from", "first", "--out", "same"]) == 0
    assert "warning" not in capsys.readouterr().err
    evaluate = "--samples", "2", "--limit", "10"
    assert (evaluate_main(["same", *evaluate]), "may have trained on" in capsys.readouterr().out) == (0, False)
    assert "which training never saw" in Path("same/report.html").read_text()
    assert main([*SMALL, *split, "--seed", "1", "--init-from", "first", "--out", "other"]) == 0
    assert "the first weights came from first, and that run, or one before it" in capsys.readouterr().err
    assert (evaluate_main(["other", *evaluate]), "may have trained on" in capsys.readouterr().out) == (0, True)
    page = Path("other/report.html").read_text()
    assert "may have trained on these images" in page
    assert "which training never saw" not in page
    assert main([*SMALL, *split, "--seed", "1", "--init-from", "other", "--out", "third"]) == 0
    assert "the first weights came from other" in capsys.readouterr().err  # what one has seen, those after it know
    assert (
        main(
            [
                *SMALL,
                "--held-out",
                "0",
                "--steps",
                "1",
                "--kl-warmup",
                "0",
                "--init-from",
                "first",
                "--out",
                "whole",
            ]
        )
        == 0
    )
    assert "warning" not in capsys.readouterr().err
    assert json.loads(Path("whole/warm_start.json").read_text())["is_held_out_new"] is None
    (home / "again").mkdir()
    (home / "again/warm_start.json").write_text((home / "other/warm_start.json").read_text())
    assert main([*SMALL, *split, "--out", "again"]) == 0
    assert not Path("again/warm_start.json").exists()


def test_a_warm_start_without_a_readable_note_is_not_called_clean(home, capsys):
    split = ["--held-out", "0.25", "--steps", "2"]
    assert main([*SMALL, *split, "--out", "first"]) == 0
    assert main([*SMALL, *split, "--init-from", "first", "--out", "second"]) == 0
    note = home / "second/warm_start.json"
    whole = json.loads(note.read_text())
    for content in (
        "",
        "[]",
        json.dumps({**whole, "is_held_out_new": "false"}),
        json.dumps({**whole, "version": 9}),
    ):
        note.write_text(content)
        capsys.readouterr()
        assert main([*SMALL, "--resume", "--steps", "2", "--out", "second"]) == 0
        assert "warm_start.json: cannot be read" in capsys.readouterr().err
        assert json.loads(Path("second/summary.json").read_text())["warm_start"]["is_held_out_new"] is False
    note.unlink()  # as of a run that was begun before there were notes
    assert main([*SMALL, *split, "--init-from", "second", "--out", "third"]) == 0
    assert "the first weights came from second" in capsys.readouterr().err
    assert evaluate_main(["second", "--samples", "2", "--limit", "10"]) == 0
    assert "note: the first weights came from first" in capsys.readouterr().out
    (home / "first/config.json").write_text("{")  # it may have named a run before it
    assert main([*SMALL, *split, "--init-from", "first", "--out", "fourth"]) == 0
    assert "the first weights came from first" in capsys.readouterr().err


def test_a_warm_start_from_before_shards_were_appended_is_clean(home, capsys):
    make_shards(home / "data/image", home / "shards")
    split = ["--shards", "shards", "--held-out", "0.25", "--steps", "2", "--kl-warmup", "0"]
    assert main([*SMALL, *split, "--out", "first"]) == 0
    make_images(home / "more", 12, seed=7)
    for number, path in enumerate(sorted((home / "more").iterdir())):
        path.rename(home / f"data/image/z{number:03d}.jpg")
    make_shards(home / "data/image", home / "shards", append=True)
    capsys.readouterr()
    assert main([*SMALL, *split, "--init-from", "first", "--out", "second"]) == 0
    assert "warning" not in capsys.readouterr().err
    assert json.loads(Path("second/warm_start.json").read_text())["is_held_out_new"] is True


def test_load_model_gives_the_best_the_last_or_a_named_step(home):
    assert main([*SMALL, "--steps", "6", "--save-every", "2", "--keep", "5"]) == 0
    folder = CheckpointFolder("runs/image/checkpoints")
    best = folder.open(6).state["best"]["step"]
    bounds = {line["step"]: line["bound"] for line in read_metrics("runs/image/metrics.jsonl") if "bound" in line}
    assert best == max(bounds, key=bounds.__getitem__)

    def is_step(model, step: int) -> bool:
        saved = folder.open(step).model_tensors()
        return all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())

    assert is_step(load_model("runs/image"), best)
    assert is_step(load_model("runs/image", which="last"), 6)
    assert is_step(load_model("runs/image", which=2), 2)
    assert not is_step(load_model("runs/image", which=2), 4)
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 3; there are: 2, 4, 6"):
        load_model("runs/image", which=3)
    (folder.folder / f"{best:08d}" / "state.json").unlink()
    with pytest.warns(TrainingWarning):
        load_model("runs/image")


def test_bad_input_ends_in_one_sentence_and_leaves_no_checkpoint(home, capsys, monkeypatch):
    Path("empty").mkdir()
    Path("text").mkdir()
    Path("text/only.jpg").write_text("not a picture")
    make_images(Path("torn"), 4)
    torn = Path("torn/001.jpg")
    torn.write_bytes(torn.read_bytes()[:300])
    fails_with(capsys, [*SHORT, "--data", "missing"], "missing")
    fails_with(capsys, [*SHORT, "--data", "empty"], "empty")
    fails_with(capsys, [*SHORT, "--data", "text"], "text")
    fails_with(capsys, [*SHORT, "--data", "torn", "--held-out", "0"], "001")
    fails_with(capsys, [*SHORT, "--size", "17"], "17")
    fails_with(capsys, [*SHORT, "--steps", "0"], "steps is 0; it must be")
    fails_with(capsys, [*SHORT, "--likelihood", "bernoulli", "--fixed-scale", "0.1"], "has no scale to fix at 0.1")
    fails_with(capsys, [*SHORT, "--latent", "gaussian", "--prior", "3"], "is the standard normal; leave it out")
    fails_with(capsys, [*SHORT, "--prior", "-1"], "--prior is -1.0; it must be 'learned' or a finite")
    fails_with(capsys, [*SHORT, "--kl-cycle", "3"], "--kl-cycle is 3; it must be a whole number ≥ 1, and no")
    fails_with(capsys, [*SHORT, "--ema", "1.5"], r"--ema is 1.5; it must be 0 for none, or a decay in \(0, 1\)")
    fails_with(capsys, [*SHORT, "--held-out", "1"], r"--held-out is 1.0; it must be 0 for none, or a share")
    fails_with(capsys, [*SHORT, "--device", "cuda:99"], "device 'cuda:99' cannot be used")
    fails_with(capsys, [*SHORT, "--shards", "nothing.tar"], "nothing.tar")
    monkeypatch.setenv("WORLD_SIZE", "4")
    fails_with(capsys, SHORT, "WORLD_SIZE is 4, but RANK or MASTER_ADDR is missing")
    assert not list(Path("runs").rglob("*.safetensors"))


def test_an_image_that_cannot_be_decoded_is_replaced_if_wished_and_told_of(home, capsys):
    torn = make_images(Path("torn"), 8) / "001.jpg"
    torn.write_bytes(torn.read_bytes()[:300])
    argv = [*SMALL, "--data", "torn", "--held-out", "0", "--epochs", "3", "--on-error", "substitute"]
    assert main(argv) == 0
    assert json.loads(Path("runs/image/summary.json").read_text())["substituted_examples"] == 3


def test_two_processes_do_not_train_in_one_folder(home, capsys):
    assert main(SHORT) == 0
    with hold_run(Path("runs/image")):
        fails_with(capsys, ["--resume"], r"process \d+ is training in it\. Wait")


EVERY_FLAG = """
    --shards s --out o --resume --init-from r --size 32 --batch-size 2 --flip --held-out 0.5 --on-error substitute
    --cache-bytes 3G --shuffle-shards 4
    --max-pixels 1000 --threads 3 --preset small --model-size 7 --grid 2 --latent gaussian --prior 3
    --levels both --map-size 9 --map-dropped 0.4
    --likelihood laplace --fixed-scale 0.2 --steps 9
    --epochs 8 --learning-rate 0.1 --learning-rate-warmup 4 --schedule linear --cooldown 0
    --ema 0.9 --patience 4 --kl-weight 2
    --kl-warmup 5 --kl-cycle 7 --free-nats 3
    --channels 1 --accumulate 2 --compile --checkpoint-activations --save-in-background
    --tensorboard --clip 6 --precision bf16 --device cpu
    --seed 12
    --save-every 13 --log-every 14 --keep 15 --label shape
"""


def test_every_flag_is_a_setting_or_handled_by_name():
    """A flag that nobody reads would be refused by TrainConfig(**settings), or change nothing here."""
    given = vars(train_parser(find_task("image")).parse_args(EVERY_FLAG.split()))
    assert (given.pop("out"), given.pop("resume")) == (Path("o"), True)
    config, default = TrainConfig(**flag_settings(given)).to_json(), TrainConfig().to_json()
    assert [name for name, value in config.items() if value == default[name]] == []


# The tests below start processes.


def start(argv: list[str], cwd: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "dirvae.train", *argv]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finish(argv: list[str], cwd: Path) -> str:
    process = start(argv, cwd)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def kill_when(process: subprocess.Popen[str], is_time, number: int) -> tuple[str, str]:
    deadline = time.monotonic() + 60
    while not is_time() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert process.poll() is None, process.communicate()
    process.send_signal(number)
    return process.communicate(timeout=60)


LONG = [*SMALL, "--steps", "40", "--save-every", "8", "--log-every", "4", "--kl-warmup", "20", "--resume"]


def home_of(folder: Path) -> Path:
    make_images(folder / "data" / "image")
    return folder / "runs" / "image"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run = home_of(folder)
    finish(LONG, folder)
    return run


def untimed_metrics(run: Path) -> list[dict]:
    timings = {"examples_per_second", "wait_share"}
    lines = read_metrics(run / "metrics.jsonl")
    return [{key: value for key, value in line.items() if key not in timings} for line in lines]


@pytest.mark.slow
def test_a_run_killed_at_many_moments_ends_bit_identically(tmp_path, undisturbed):
    run = home_of(tmp_path)
    checkpoints = run / "checkpoints"
    moments = [
        lambda: (run / "metrics.jsonl").exists(),
        lambda: (checkpoints / ".00000008.tmp").exists() or (checkpoints / "00000008").exists(),
        lambda: any(line["step"] >= 28 for line in read_metrics(run / "metrics.jsonl")),
    ]
    for is_time in moments:
        kill_when(start(LONG, tmp_path), is_time, signal.SIGKILL)
    finish(LONG, tmp_path)
    assert weights(run) == weights(undisturbed)
    assert untimed_metrics(run) == untimed_metrics(undisturbed)
    assert (run / "summary.json").read_text() == (undisturbed / "summary.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_save_first_and_the_run_goes_on_bit_identically(tmp_path, undisturbed, number, code):
    run = home_of(tmp_path)
    process = start(LONG, tmp_path)
    out, err = kill_when(process, lambda: (run / "metrics.jsonl").exists(), number)
    assert process.returncode == code, err
    assert "Traceback" not in err
    step = CheckpointFolder(run / "checkpoints").steps()[-1]
    assert 4 <= step < 40
    assert f"stopped and saved after step {step}" in out
    assert out.splitlines()[-1] == "report: runs/image/report.html"
    if number == signal.SIGTERM:
        finish(LONG, tmp_path)
        assert weights(run) == weights(undisturbed)
