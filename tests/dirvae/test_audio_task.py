"""`--type audio`: what a person types, what comes of it, and that it resumes exactly, around damaged recordings too."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dirvae import load_model
from dirvae.run.config import RunConfig, read_config
from dirvae.run.distillation import distil_run, make_student
from dirvae.run.train_flags import train_parser
from dirvae.tasks import find_task
from dirvae.tasks.audio import AudioData, clips_of
from dirvae.tasks.data import open_data
from dirvae.train import flag_settings, main
from dirvae.training import ConfigError
from dirvae.training.feed import FeedBatch
from dirvae.training.logging import read_metrics
from pipelines import make_shards
from pipelines.decode.audio.wav_writing import encode_wav
from pipelines.samples import make_sample_sounds
from tests.dirvae.trained_runs import kill_training, weights

pytest.importorskip("soxr", reason="clips of recordings have one sample rate by soxr: pip install soxr")

SMALL = [
    *("--type", "audio", "--shards", "sounds", "--preset", "tiny", "--clip-seconds", "0.4", "--batch-size", "4"),
    *("--model-size", "3", "--num-harmonics", "20", "--num-bands", "9", "--device", "cpu", "--threads", "1"),
    *("--precision", "fp32", "--held-out", "0.25"),
]
SHORT = [*SMALL, "--steps", "3", "--log-every", "1"]


pytestmark = pytest.mark.usefixtures("quick_reports")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of eight sample sounds with their pitch and loudness."""
    folder = tmp_path_factory.mktemp("sounds")
    make_sample_sounds(folder / "data", num=8)
    features: dict[str, Any] = {"features": ("f0", "loudness"), "overwrite_features": True}
    make_shards(folder / "data", folder / "sounds", workers=0, progress=False, **features)
    return folder / "sounds"


@pytest.fixture
def home(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a copy of the shards in `sounds`."""
    shutil.copytree(packed, tmp_path / "sounds")
    monkeypatch.setenv("DIRVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three steps, and what it said in `said.txt`."""
    home = tmp_path_factory.mktemp("trained")
    (home / "sounds").symlink_to(packed)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as said:
        patch.chdir(home)
        assert main(SHORT) == 0
    (home / "said.txt").write_text(said.getvalue(), "utf-8")
    return home / "runs" / "audio"


def test_a_run_says_what_it_trains_on_and_keeps_what_the_data_told_it(trained: Path) -> None:
    out = (trained.parents[1] / "said.txt").read_text("utf-8")
    assert re.match(r"runs/audio: 6 recordings \(\d+ clips\) to train on, 2 held out; ", out)
    assert out.splitlines()[-1] == "report: runs/audio/report.html"
    config = json.loads((trained / "config.json").read_text("utf-8"))
    assert (config["type"], config["sample_rate"], config["control_rate"]) == ("audio", 16_000, 250.0)
    found = json.loads((trained / "summary.json").read_text("utf-8"))["evaluation"]
    assert found["objective"] == pytest.approx(-found["reconstruction"] - found["kl_per_second"] / 10_000)
    assert found["kl"] == pytest.approx(found["kl_per_second"] * 0.4, rel=0.3)
    assert found["loudness_error_db"] > 0
    assert 0 <= found["pitch_lost"] <= 1
    assert found["model_size"] == 3
    lines = read_metrics(trained / "metrics.jsonl")
    assert {"reconstruction", "kl", "kl_per_second", "kl_weight"} <= lines[0].keys()
    model = load_model(trained)
    assert model.config["sample_rate"] == 16_000
    assert (trained / "report.html").stat().st_size > 10_000


def test_clips_of_training_begin_anywhere_and_their_curves_with_them(home: Path) -> None:
    varied: dict[str, Any] = {"shift_semitones": 2.0, "gain_db": 6.0}
    settings = AudioData(
        source="sounds", clip_seconds=0.4, sample_rate=16_000, control_rate=250, held_out=0.25, **varied
    )
    task = find_task("audio")
    data = open_data(task.open_iterator, settings, modality="audio", seed=0)
    to_clips = clips_of(settings)
    assert task.read_batch is not None
    try:
        starts, parts = [], []
        for batch in data.batches:
            starts += [int(key.rpartition("@")[2]) for key in batch.keys]
            parts.append((to_clips(batch), task.read_batch(settings, FeedBatch(torch.zeros(1), None, 4, 0, batch))))
        held_out = (
            [[key for batch in data.held_out for key in batch.keys] for _ in range(2)] if data.held_out else []
        )
    finally:
        data.close()
    assert len({start % 64 for start in starts}) > 5, "between two rows, too"
    assert held_out[0] == held_out[1]
    assert all(int(key.rpartition("@")[2]) % 6400 == 0 for key in held_out[0])
    for clips, given in parts:
        assert clips.num_samples == settings.training_window > 6400
        assert (given.num_samples, given.num_rows) == (6400, 100)
        assert (given.f0 > 0).all()
        shifts = 12 * torch.log2(given.f0[:, 0] / clips.f0[:, 0])
        assert shifts.abs().max() <= 2.001
        assert len(set(shifts.tolist())) == len(shifts), "each its own"


def test_a_killed_run_is_resumed_and_ends_bit_identically(home: Path) -> None:
    varied = ["--shift-semitones", "2", "--gain-db", "6"]
    long = [*SMALL, *varied, "--steps", "10", "--save-every", "3", "--log-every", "1", "--resume"]
    assert main([*long, "--out", "undisturbed"]) == 0
    steps = kill_training(long, Path("killed"), at_step=5)
    assert steps
    assert steps[-1] < 10
    assert main([*long, "--out", "killed"]) == 0
    assert weights(Path("killed")) == weights(Path("undisturbed"))


def test_damaged_recordings_are_replaced_and_listed_while_training_continues(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tar = next(Path("sounds").glob("*.tar"))
    content = bytearray(tar.read_bytes())
    with tarfile.open(tar) as members:
        waves = [member for member in members if member.name.endswith(".wav")][::3]
    for member in waves:
        content[member.offset_data : member.offset_data + 12] = bytes(12)
    tar.write_bytes(content)
    assert main([*SHORT, "--epochs", "1", "--out", "raising"]) == 1
    err = capsys.readouterr().err
    assert "--on-error substitute" in err
    assert len(err.strip().splitlines()) == 1 or "step" in err
    assert main([*SMALL, "--epochs", "1", "--on-error", "substitute", "--out", "run"]) == 0
    assert "damaged example" in capsys.readouterr().out
    listed = [json.loads(line) for line in Path("run/quarantine.jsonl").read_text("utf-8").splitlines()]
    assert listed
    assert {entry["key"].partition("@")[0] for entry in listed} <= {Path(wave.name).stem for wave in waves}


def test_recordings_without_pitch_are_refused_in_one_sentence_that_names_the_flag(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("data").mkdir()
    Path("data/tone.wav").write_bytes(encode_wav(np.zeros((16_000, 1), np.float32), 16_000, "s16"))
    make_shards("data", "plain", workers=0, progress=False)
    for flags in (["--shards", "plain"], ["--data", "data"]):
        assert main(["--type", "audio", *flags, "--steps", "1"]) == 1
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert "have no f0.npy and loudness.npy of a known rate" in err
        assert "--features f0,loudness" in err


def test_a_batch_that_no_memory_holds_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SHORT, "--clip-seconds", "1000"]) == 1
    err = capsys.readouterr().err
    assert "a batch of 4 clips of 1000 s holds 64,000,000 samples" in err
    assert len(err.splitlines()) == 1


def test_another_sample_rate_makes_another_model_of_the_same_recordings(home: Path) -> None:
    assert main([*SHORT, "--sample-rate", "11025", "--latent", "none", "--out", "slow"]) == 0
    config = read_config(Path("slow"))
    assert (config.data.to_json()["sample_rate"], config.data.to_json()["control_rate"]) == (11_025, 250.0)
    model = load_model("slow")
    assert model.latent is None
    assert float(model.sample_rate) == 11_025
    assert main([*SHORT, "--sample-rate", "16000", "--latent", "none", "--out", "slow", "--resume"]) == 1


def test_a_student_has_its_teachers_ears_and_a_run_of_its_own(
    trained: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = load_model(trained)
    student = make_student(teacher, core="gru", num_harmonics=10)
    assert student.num_harmonics == 10
    clips = torch.randn(2, 6400)
    torch.testing.assert_close(student.encode(clips).mean, teacher.encode(clips).mean)
    outcome = distil_run(trained, "distilled", steps=2, core="gru", batch_size=2, source="sounds")
    assert outcome.report == Path("distilled/report.html")
    again = load_model("distilled", which="last")
    torch.testing.assert_close(again.encode(clips).mean, teacher.encode(clips).mean)
    assert again.config["core"] == "gru"
    lines = [line for line in read_metrics("distilled/metrics.jsonl") if line["kind"] == "held_out"]
    assert lines[-1]["objective"] == pytest.approx(
        json.loads(Path("distilled/summary.json").read_text("utf-8"))["evaluation"]["objective"]
    )
    assert main(["--type", "audio", "--shards", "sounds", "--out", "distilled", "--resume", "--steps", "9"]) == 1
    assert "was distilled from another run" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="model_size cannot differ from the teacher's"):
        distil_run(trained, "other", model_size=4)
    with pytest.raises(ConfigError, match="already holds a run"):
        distil_run(trained, "distilled", source="sounds")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"clip_seconds": 0}, "clip_seconds is 0"),
        ({"sample_rate": -1}, "sample_rate is -1"),
        ({"sample_rate": 999}, "sample_rate is 999"),
        ({"sample_rate": 999_999}, "sample_rate is 999999"),
        ({"shift_semitones": 13}, "shift_semitones is 13"),
        ({"gain_db": -1}, "gain_db is -1"),
        ({"latent": "cauchy"}, "latent is 'cauchy'"),
        ({"core": "lstm"}, "core is 'lstm'"),
        ({"num_bands": 1}, "num_bands is 1"),
        ({"reverb_seconds": -0.5}, "reverb_seconds is -0.5"),
        ({"nats_per_unit": 0}, "nats_per_unit is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        RunConfig.of("audio", settings)


EVERY_FLAG = """
    --shards s --out o --resume --init-from r --batch-size 2 --held-out 0.5 --on-error substitute --threads 3
    --cache-bytes 3G --shuffle-shards 4
    --clip-seconds 3 --shift-semitones 1 --gain-db 3 --sample-rate 8000 --preset full --core conv --model-size 7
    --latent gaussian --prior 3 --num-harmonics 9 --num-bands 17 --reverb-seconds 0.2 --nats-per-unit 10 --steps 9
    --encoder-harmonics 6 --epochs 8 --learning-rate 0.1 --learning-rate-warmup 4 --schedule linear
    --cooldown 0 --ema 0.9 --patience 4 --kl-weight 2
    --kl-warmup 5 --kl-cycle 7 --free-nats 3
    --accumulate 2 --compile --checkpoint-activations --save-in-background
    --tensorboard --clip 6 --precision bf16 --device cpu --seed 12
    --save-every 13 --log-every 14 --keep 15 --label shape --equaliser-db 3 --reads-latent-last --plays-loudness
"""


def test_every_flag_is_a_setting_or_handled_by_name() -> None:
    given = vars(train_parser(find_task("audio")).parse_args(EVERY_FLAG.split()))
    assert (given.pop("out"), given.pop("resume")) == (Path("o"), True)
    config = RunConfig.of("audio", flag_settings(given)).settings()
    default = RunConfig.of("audio", {}).settings()
    same = [name for name, value in config.items() if value == default[name]]
    assert same == ["control_rate", "encoder_channels"], "told by the curves, and by a teacher"
