"""The experiments of benchmarks/latents: data, keyed noise, jobs that can be killed and shared."""

from __future__ import annotations

import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dirvae.training import ConfigError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks" / "latents"
sys.path.insert(0, str(FOLDER))

import binarisation  # noqa: E402 - the benchmarks are programs: they import each other from their own folder
import digits  # noqa: E402
import experiment  # noqa: E402
import jobs  # noqa: E402
import models  # noqa: E402
import run  # noqa: E402
import tables  # noqa: E402
import tight  # noqa: E402


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    with gzip.open(path, "wb") as file:
        file.write(header + values.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small MNIST: 300 digits to train on, 40 to test."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "mnist").mkdir()
    rng = np.random.default_rng(0)
    for name, num in (("train", 300), ("t10k", 40)):
        write_idx(folder / "mnist" / f"{name}-images-idx3-ubyte.gz", rng.integers(0, 256, (num, 28, 28)))
        write_idx(folder / "mnist" / f"{name}-labels-idx1-ubyte.gz", np.arange(num) % 10)
    return folder


def test_mnist_is_read_from_its_files(data: Path) -> None:
    loaded = digits.load_digits("mnist", data)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 28, 28)).astype(np.uint8)
    assert np.array_equal(loaded.train.pixels, pixels.reshape(300, 784))
    assert loaded.test.labels.tolist() == [number % 10 for number in range(40)]


def test_data_that_is_not_there_ends_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"not there. Name the folder that holds mnist/ with --data"):
        digits.load_digits("mnist", tmp_path)


def test_the_real_sets_are_cut_as_promised(shared_data: Path) -> None:
    for name, sizes, classes in (("mnist", (50_000, 10_000, 10_000), 10), ("omniglot", (23_000, 1_345, 8_115), 50)):
        loaded = digits.load_digits(name, shared_data)
        assert tuple(map(len, (loaded.train, loaded.validation, loaded.test))) == sizes
        assert len(np.unique(loaded.train.labels)) == classes == loaded.test.labels.max() + 1
        assert 15 < loaded.train.pixels.mean() < 40


def test_shrinking_averages_boxes_by_area() -> None:
    images = np.random.default_rng(0).random((3, 15, 15)).astype(np.float32)
    fine = np.kron(images, np.ones((1, 4, 4)))  # 60 pixels a side: each box is 15 of them
    expected = fine.reshape(3, 4, 15, 4, 15).mean((2, 4))
    np.testing.assert_allclose(digits.shrink(images, 4), expected, rtol=1e-5)


def test_a_pixel_is_white_as_often_as_it_is_bright_and_black_and_white_are_certain() -> None:
    pixels = np.repeat(np.array([[0, 1, 64, 200, 254, 255, 7, 99]], np.uint8), 20_000, axis=0)
    drawn = binarisation.binarise(pixels, binarisation.epoch_noise(20_000, 8, seed=0, epoch=0))
    assert set(np.unique(drawn)) == {0, 1}
    limits = np.array([[0, 65_535]], np.uint16)
    assert binarisation.binarise(np.array([[0, 255]], np.uint8), limits).tolist() == [[0, 1]]
    share = pixels[0] / 255
    assert (np.abs(drawn.mean(0) - share) <= 5 * np.sqrt(share * (1 - share) / 20_000)).all()


def drawn_images(batch_size: int, *, seed: int = 0, epochs: int = 1) -> dict[bytes, bytes]:
    """What each image became, by its first four pixels, which name it and stay as they are."""
    names = np.unpackbits(np.arange(60, dtype=np.uint8)[:, None], axis=1) * 255
    pixels = np.concatenate([names, np.full((60, 776), 128)], 1).astype(np.uint8)
    batches = binarisation.BinarisedBatches(pixels, batch_size=batch_size, seed=seed)
    for _ in range(epochs):
        found = [row.flatten().numpy() for batch in batches for row in batch.data]
    return {row[:8].tobytes(): row.tobytes() for row in found}


def test_what_an_image_becomes_depends_on_seed_epoch_and_image_alone() -> None:
    first = drawn_images(10)
    assert len(first) == 60
    assert drawn_images(15) == first
    for other in (drawn_images(10, seed=1), drawn_images(10, epochs=2)):
        assert other.keys() == first.keys()
        assert all(other[name] != first[name] for name in first)


def test_batches_go_on_from_any_state_as_if_nothing_had_been() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 784)).astype(np.uint8)

    def make() -> binarisation.BinarisedBatches:
        return binarisation.BinarisedBatches(pixels, batch_size=12, seed=3)

    whole = make()
    batches = [batch for _ in range(3) for batch in whole]
    assert len(batches) == 3 * len(whole) == 12
    for number, batch in enumerate(batches[:-1]):
        later = make()
        later.load_state_dict(json.loads(json.dumps(batch.state)))
        following = next(iter(later))
        assert torch.equal(following.data, batches[number + 1].data)
        assert following.state == batches[number + 1].state


def test_every_model_trains_on_the_same_network_and_is_a_function_of_its_seed() -> None:
    x = (torch.rand(8, 1, 28, 28) > 0.8).float()
    for name in models.MODELS:
        model = models.make_model(name, seed=1)
        model.loss(x, model(x))["loss"].backward()
        assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)
        sizes = [weight.numel() for part in (model.encoder, model.decoder) for weight in part.parameters()]
        num = 25 if name.endswith("k25") else 50
        assert sum(sizes) == 784 * 500 + 500 + 2 * (500 * 500 + 500) + num * 500 + 500 + 500 * 784 + 784
        again, other = models.make_model(name, seed=1), models.make_model(name, seed=2)
        assert torch.equal(again.encoder[1].weight, model.encoder[1].weight)
        assert not torch.equal(other.encoder[1].weight, model.encoder[1].weight)


def test_jobs_are_each_there_once_and_the_most_telling_come_first() -> None:
    listed = jobs.all_jobs()
    assert len(listed) == len(set(listed)) == 2 * 3 * (len(models.MODELS) + len(jobs.LONG_MODELS))
    assert [job.name for job in listed[:2]] == ["mnist-gaussian-030-seed0", "mnist-dirichlet-030-seed0"]
    assert {job.model for job in listed[: len(models.MODELS)]} == set(models.MODELS)
    for job in listed:
        assert job.shorter is None or listed.index(job.shorter) < listed.index(job)
    assert {job.epochs for job in jobs.all_jobs(100)} == {100}
    assert len(jobs.all_jobs(2)) == 2 * 3 * len(models.MODELS)


@pytest.fixture
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
def test_a_longer_run_passes_through_the_shorter_one(data: Path, tmp_path: Path) -> None:
    loaded = digits.load_digits("mnist", data)
    short, long = (jobs.Job("mnist", "dirichlet-learned", epochs, 0) for epochs in (2, 4))
    assert experiment.train(short, loaded, tmp_path / "both") is not None
    both = experiment.train(long, loaded, tmp_path / "both")
    once = experiment.train(long, loaded, tmp_path / "once")
    assert both is not None
    assert once is not None
    for name, value in once.state_dict().items():
        assert torch.equal(value, both.state_dict()[name]), name
    with pytest.raises(ConfigError, match="the run has done 12 steps, more than the 6 asked for"):
        experiment.train(short, loaded, tmp_path / "both")


@pytest.mark.usefixtures("_one_thread")
def test_a_measurement_holds_what_the_tables_show(data: Path) -> None:
    model = models.make_model("dirichlet-paper", seed=0).eval()
    measures = experiment.measure(model, digits.load_digits("mnist", data), samples=3)
    assert json.loads(json.dumps(measures, allow_nan=False)) == measures
    assert set(measures["neighbour_errors"]) == {"3", "5", "10"}
    assert measures["nll"] < measures["negative_bound"] < 800
    assert measures["negative_bound_as_trained"] > measures["negative_bound"] + 1  # multi-gamma: looser
    few = experiment.measure(model, digits.load_digits("mnist", data), samples=3, images=2)
    assert (few["importance_images"], measures["importance_images"]) == (2, measures["test_images"])
    assert few["nll"] != measures["nll"]
    assert few["negative_bound_as_trained"] == measures["negative_bound_as_trained"]
    assert experiment.measure(model, digits.load_digits("mnist", data), samples=3, should_stop=lambda: True) is None
    assert {"collapsed_values", "collapsed_weights", "components_in_use", "test_images"} < set(measures)


def command(data: Path, folder: Path, *more: str) -> list[str]:
    options = ["--data", data, "--dataset", "mnist", "--seeds", "0", "--samples", "2", "--epochs", "7", *more]
    return [sys.executable, str(FOLDER / "run.py"), *map(str, options), "--runs", str(folder / "runs"),
            "--results", str(folder / "results")]  # fmt: skip


def outcome(folder: Path) -> dict[str, object]:
    """Results without their clock, and the last weights."""
    timings = {"training_seconds", "importance_seconds"}
    found: dict[str, object] = {}
    for path in (folder / "results").glob("*.json"):
        content = json.loads(path.read_text("utf-8"))
        found[path.name] = {name: value for name, value in content.items() if name not in timings}
    for path in (folder / "runs").glob("*/checkpoints/00000021/*.safetensors"):
        found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def interrupt(program: list[str], marker: Path, number: int) -> int:
    """Run a program until there is a file, then signal its whole process group, as Ctrl-C and `timeout` do."""
    process = subprocess.Popen(
        program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 100
    while not marker.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert process.poll() is None
    os.killpg(process.pid, number)
    return process.wait(timeout=60)


@pytest.mark.slow
def test_killed_stopped_and_shared_jobs_end_as_if_nothing_had_been(data: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    subprocess.run(command(data, whole, "--only", "gaussian", "dirichlet"), check=True, capture_output=True)
    program = command(data, broken, "--only", "gaussian", "dirichlet", "--processes", "2")
    one = command(data, broken, "--only", "dirichlet")
    checkpoints = broken / "runs" / "mnist-dirichlet-seed0" / "checkpoints"
    assert interrupt(one, checkpoints / "00000009", signal.SIGKILL) == -signal.SIGKILL
    assert not list((broken / "results").glob("*"))
    assert interrupt(program, broken / "runs" / "mnist-gaussian-seed0" / "checkpoints", signal.SIGTERM) == 143
    subprocess.run([*program, "--processes", "1"], check=True, capture_output=True)
    assert len(outcome(whole)) == 2 + 2 * 2
    assert outcome(broken) == outcome(whole)


def test_the_list_says_what_is_missing(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mnist-gaussian-030-seed0.json").write_text("{}")
    arguments = ["--data", str(data), "--dataset", "mnist", "--seeds", "0", "--results", str(tmp_path), "--list"]
    assert run.main([*arguments, "--epochs", "30", "--only", "gaussian", "dirichlet"]) == 0
    assert capsys.readouterr().out.split() == [
        *("done", "mnist-gaussian-030-seed0"),
        *("missing", "mnist-dirichlet-030-seed0"),
    ]


def test_no_job_is_an_error(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--data", str(data), "--seeds", "17"]) == 1
    assert "no job has these settings" in capsys.readouterr().err


def test_the_table_has_means_over_seeds_and_the_lowest_nll_first(tmp_path: Path) -> None:
    assert tables.experiment_table(tmp_path, dataset="mnist", epochs=30) == "Not run yet.\n"
    for model, nlls in {"gaussian": (95.0,), "dirichlet": (93.0, 94.0), "dirichlet-paper": (99.0,)}.items():
        for seed, nll in enumerate(nlls):
            job = jobs.Job("mnist", model, 30, seed)
            numbers = dict.fromkeys(("components_in_use", "collapsed_weights", "collapsed_values", "kl"), 7)
            row = {"model": model, "nll": nll, "negative_bound": nll + 5, "negative_bound_as_trained": nll + 1}
            errors = {"neighbour_errors": {"3": 0.05, "5": 0.051, "10": 0.0525}}
            job.result_path(tmp_path).write_text(json.dumps({**row, **numbers, **errors}), "utf-8")
    lines = tables.experiment_table(tmp_path, dataset="mnist", epochs=30).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert [row[0] for row in rows[2:]] == ["dirichlet", "gaussian", "dirichlet-paper"]
    assert rows[2][1:4] == ["2", "93.50 ± 0.71", "98.50 ± 0.71"]
    assert rows[3][1:] == ["1", "95.00", "100.00", "7.00", "96.00", "5.00", "5.10", "5.25", "7", "7", "7"]


@pytest.mark.usefixtures("_one_thread")
def test_finished_runs_are_measured_again_more_tightly(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tight, "SHORT", 2)
    where = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    arguments = ["--data", str(data), "--only", "dirichlet", "--samples", "4", "--images", "10", *where]
    assert tight.main(arguments) == 1
    assert "Train it with run.py first" in capsys.readouterr().err
    loaded = digits.load_digits("mnist", data)
    job = jobs.Job("mnist", "dirichlet", 2, 2)
    experiment.train(job, loaded, tmp_path / "runs" / job.run_name)
    assert tight.main(arguments) == 0
    content = json.loads((tmp_path / "results" / "tight-mnist-dirichlet-002-seed2.json").read_text("utf-8"))
    plain, same, more = content["estimates"]
    assert (plain["samples"], same["samples"], more["samples"]) == (4, 4, 20)
    assert (plain["width"], same["width"]) == (1.0, more["width"])
    assert more["nll"] < plain["nll"] < content["negative_bound"]
    row = tables.tight_table(tmp_path / "results", dataset="mnist").splitlines()[2]
    assert [cell.strip() for cell in row.strip("|").split("|")][:3] == [
        "dirichlet", f"{content['negative_bound']:.2f}", f"{plain['nll']:.2f}",
    ]  # fmt: skip
