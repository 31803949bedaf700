"""Packing with features, killed at any moment and started again, ends in the bytes of an undisturbed run."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ShardingError
from pipelines.sharding import make_shards
from pipelines.storage.manifest import Manifest

from . import toy_features
from .test_make_shards_killed import assert_a_manifest_means_a_whole_set, contents, run_and_die
from .wav_files import encoded, tone

ROOT = Path(__file__).resolve().parents[2]


def make_notes(folder: Path, num: int, seconds: float = 0.5) -> Path:
    folder.mkdir()
    for index in range(num):
        samples = tone(seconds + index / 250, 16_000, hz=110 * 2 ** (index / 12))
        (folder / f"{index:02d}.wav").write_bytes(encoded(samples, 16_000, "WAV", "PCM_16"))
    return folder


def command(source: Path, out: Path, feature: str, *more: str) -> list[str]:
    launcher = str(ROOT / "tools" / "make_shards.py")
    return [sys.executable, launcher, str(source), "--out", str(out), "--features", feature, *more]


def test_a_run_that_dies_at_every_third_step_goes_on_to_the_same_fields(tmp_path: Path) -> None:
    source = make_notes(tmp_path / "source", 4, 0.02)
    features = {"level": toy_features.level}
    make_shards(source, tmp_path / "undisturbed", workers=0, shard_examples=3, features=features)
    expected, step = contents(tmp_path / "undisturbed"), 1
    rates = {name: ["250"] for name in ("loudest.npy", "peaks.npy")}
    while run_and_die(step, source, out := tmp_path / f"out{step}", features=features):
        assert_a_manifest_means_a_whole_set(out)
        make_shards(source, out, workers=0, shard_examples=3, features=features)
        assert contents(out) == expected, step
        found = Manifest.load(out).curve_rates
        assert {name: [str(rate) for rate in one] for name, one in found.items()} == rates
        step += 3
    assert step > 20


def test_an_unfinished_run_is_not_continued_with_other_features(tmp_path: Path) -> None:
    source, out = make_notes(tmp_path / "source", 4, 0.02), tmp_path / "out"
    step, features = 20, {"clock": toy_features.clock}
    while run_and_die(step, source, out, features=features) and not list(out.glob("*.tar")):
        step += 1
    assert not (out / "manifest.json").exists()
    for other in ({"clock": toy_features.level}, {}):
        with pytest.raises(
            ShardingError, match=r"unfinished set begun with other settings \(features was {'clock': "
        ):
            make_shards(source, out, workers=0, shard_examples=3, features=other)
    assert make_shards(source, out, workers=0, shard_examples=3, features=features).examples == 4


def test_sixteen_notes_killed_five_times_end_in_the_same_bytes(tmp_path: Path) -> None:
    source = make_notes(tmp_path / "source", 16)
    features = {"slow": toy_features.slow, "time": toy_features.clock}
    settings: dict[str, Any] = {"features": features, "segment": 0.2, "workers": 0, "shard_examples": 2}
    began = time.monotonic()
    make_shards(source, tmp_path / "undisturbed", **settings)
    longest = time.monotonic() - began
    expected, out = contents(tmp_path / "undisturbed"), tmp_path / "out"
    moments, kept = random.Random(5), list[int]()
    while len(kept) < 5:
        child = os.fork()
        if not child:
            try:
                make_shards(source, out, **settings)
            finally:
                os._exit(0)
        time.sleep(moments.uniform(0.1, 0.5) * longest)
        os.kill(child, signal.SIGKILL)
        if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            kept.append(len(list(out.glob("*.tar"))))
        else:
            shutil.rmtree(out)  # it was quicker: once more, from the beginning
        assert_a_manifest_means_a_whole_set(out)
    report = make_shards(source, out, **settings)
    assert contents(out) == expected
    assert report.failures == ()
    assert max(kept) > 0, "some were killed after their first shard"


@pytest.mark.slow
def test_sixteen_notes_killed_with_their_processes_end_in_the_same_bytes(tmp_path: Path) -> None:
    source = make_notes(tmp_path / "source", 16)
    shutil.copy(toy_features.__file__, tmp_path / "slow_features.py")
    more = ("--workers", "2", "--shard-examples", "2", "--segment", "0.2")

    def start(out: Path) -> subprocess.Popen[bytes]:
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        run = command(source, out, "slow_features:slow", *more)
        return subprocess.Popen(run, cwd=tmp_path, start_new_session=True, **streams)

    began = time.monotonic()
    assert start(tmp_path / "undisturbed").wait() == 0
    longest = 0.9 * (time.monotonic() - began)
    expected, out = contents(tmp_path / "undisturbed"), tmp_path / "out"
    moments, killed = random.Random(5), 0
    while killed < 5:
        process = start(out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.4, 1.0) * longest)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        else:  # faster than the undisturbed run: once more, from the beginning, and sooner
            shutil.rmtree(out)
            longest *= 0.7
        process.wait()
        assert_a_manifest_means_a_whole_set(out)
    assert start(out).wait() == 0
    assert contents(out) == expected
    assert Manifest.load(out).failures == []


@pytest.mark.parametrize("workers", ["0", "1"])
def test_ctrl_c_ends_a_feature_that_would_not(tmp_path: Path, workers: str) -> None:
    source = make_notes(tmp_path / "source", 2)
    shutil.copy(toy_features.__file__, tmp_path / "endless_features.py")
    out = tmp_path / "out"
    run = command(source, out, "endless_features:endless", "--workers", workers)
    process = subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not list(out.glob(".make_shards/parts-*/*/.*.part")):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.splitlines()[-1].startswith("make_shards: Interrupted.")
    assert not list(out.glob(".make_shards/parts-*"))
