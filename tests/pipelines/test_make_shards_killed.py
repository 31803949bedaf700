"""Killed at any moment and started again, packing ends in the bytes of an undisturbed run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from pipelines.sharding import make_shards
from pipelines.storage.manifest import Manifest

from .wav_files import noise, wav

ROOT = Path(__file__).resolve().parents[2]
STEPS = (
    (os, "fsync"),
    (os, "ftruncate"),
    (Path, "replace"),
    (Path, "unlink"),
    (Path, "mkdir"),
    (shutil, "rmtree"),
)


def make_source(folder: Path, num: int, side: int, *, first: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(first, first + num):
        pixels = np.random.Generator(np.random.Philox(index)).integers(0, 255, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:04d}.jpg", quality=90)
    (folder / "text.jpg").write_text("no picture")
    (folder / "short.jpg").write_bytes((folder / f"{first:04d}.jpg").read_bytes()[:30])
    return folder


def make_recordings(folder: Path, num: int) -> Path:
    folder.mkdir()
    for index in range(num):
        (folder / f"{index:04d}.wav").write_bytes(wav(noise("s16", 80_000, 2, index), "s16", 2, 44_100))
    (folder / "text.wav").write_text("no recording")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Every file, hidden ones and those in folders as well."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextlib.contextmanager
def dies_at_step(number: int) -> Iterator[list[int]]:
    """This process ends, as if by SIGKILL, instead of taking step `number`; the list holds the steps taken."""
    taken = [0]
    with contextlib.ExitStack() as stack:
        for owner, name in STEPS:
            original = getattr(owner, name)

            def step(*args: object, original: object = original, **settings: object) -> object:
                taken[0] += 1
                if taken[0] == number:
                    os._exit(99)
                return original(*args, **settings)  # type: ignore[operator]

            stack.enter_context(patch.object(owner, name, step))
        yield taken


def run_and_die(step: int, source: Path, out: Path, **settings: object) -> bool:
    """Pack in a forked process that dies at a step; whether it did."""
    child = os.fork()
    if not child:
        code = 98
        try:
            with dies_at_step(step):
                make_shards(source, out, workers=0, shard_examples=3, **settings)  # type: ignore[arg-type]
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 99)
    return code == 99


def assert_a_manifest_means_a_whole_set(out: Path) -> None:
    if not (out / "manifest.json").exists():
        return
    manifest = Manifest.load(out)
    for name, size in zip(manifest.shards.name, manifest.shards.bytes, strict=True):
        assert (out / name).stat().st_size == size
        assert (out / f"{name}.index.npy").exists()


def test_a_run_that_dies_at_any_step_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", 5, 16)
    make_shards(source, tmp_path / "undisturbed", workers=0, shard_examples=3)
    expected, step = contents(tmp_path / "undisturbed"), 1
    while run_and_die(step, source, out := tmp_path / f"out{step}"):
        assert_a_manifest_means_a_whole_set(out)
        whole = {tar: tar.stat().st_ino for tar in out.glob("*.tar")}
        make_shards(source, out, workers=0, shard_examples=3)
        assert contents(out) == expected, step
        assert {tar: tar.stat().st_ino for tar in whole} == whole, f"finished shards were made again after {step}"
        step += 1
    assert step > 20


@pytest.mark.parametrize("settings", [{"append": True}, {"overwrite": True}])
def test_changing_a_set_survives_dying_at_any_step(tmp_path: Path, settings: dict[str, bool]) -> None:
    source = make_source(tmp_path / "source", 4, 16)
    begun = tmp_path / "begun"
    make_shards(source, begun, workers=0, shard_examples=3)
    before = contents(begun)
    make_source(source, 3, 16, first=4)
    shutil.copytree(begun, tmp_path / "undisturbed")
    make_shards(source, tmp_path / "undisturbed", workers=0, shard_examples=3, **settings)  # type: ignore[arg-type]
    expected, step = contents(tmp_path / "undisturbed"), 1
    assert expected.keys() > before.keys()
    while True:
        out = tmp_path / f"out{step}"
        shutil.copytree(begun, out)
        if not run_and_die(step, source, out, **settings):
            break
        assert_a_manifest_means_a_whole_set(out)
        if "append" in settings:
            tars = {name: digest for name, digest in before.items() if ".tar" in name}
            assert tars.items() <= contents(out).items()
        make_shards(source, out, workers=0, shard_examples=3, **settings)  # type: ignore[arg-type]
        assert contents(out) == expected, step
        step += 1
    assert step > 20


def test_an_interrupted_addition_can_be_given_up(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", 4, 16)
    out = tmp_path / "out"
    make_shards(source, out, workers=0, shard_examples=3)
    before = contents(out)
    make_source(tmp_path / "more", 9, 16)
    shutil.copytree(source, tmp_path / "kept")
    shutil.copytree(tmp_path / "more", source, dirs_exist_ok=True)
    assert run_and_die(30, source, out, append=True)
    assert len(list(out.glob("*.tar"))) > 2
    shutil.rmtree(source)
    shutil.copytree(tmp_path / "kept", source)
    assert make_shards(source, out, workers=0, shard_examples=3).was_complete
    assert contents(out) == before


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "whole_group"), [("image", True), ("image", False), ("audio", True)])
def test_a_run_killed_at_random_moments_ends_in_the_same_bytes(
    tmp_path: Path, kind: str, whole_group: bool
) -> None:
    if kind == "image":
        source, own = make_source(tmp_path / "source", 40, 160), ["--resize", "128"]
    else:
        source, own = make_recordings(tmp_path / "source", 40), ["--segment", "0.5", "--sample-rate", "11025"]
    settings = ["--workers", "2", "--shard-examples", "4", *own]
    command = [sys.executable, str(ROOT / "tools" / "make_shards.py"), str(source), *settings, "--out"]

    def start(out: Path) -> subprocess.Popen[bytes]:
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([*command, str(out)], start_new_session=True, **streams)

    began = time.monotonic()
    assert start(tmp_path / "undisturbed").wait() == 0
    longest = 0.9 * (time.monotonic() - began)
    expected, out = contents(tmp_path / "undisturbed"), tmp_path / "out"
    moments, killed = random.Random(11), 0
    while killed < 3:
        process = start(out)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(0.3, 1.0) * longest)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL) if whole_group else process.kill()
            killed += 1
        else:  # faster than the undisturbed run: once more, from the beginning, and sooner
            shutil.rmtree(out)
            longest *= 0.7
        process.wait()
        assert_a_manifest_means_a_whole_set(out)
    assert start(out).wait() == 0
    assert contents(out) == expected


def test_a_record_that_was_cut_off_costs_its_shard_and_no_other(tmp_path: Path) -> None:
    source = make_source(tmp_path / "source", 5, 16)
    make_shards(source, tmp_path / "undisturbed", workers=0, shard_examples=3)
    step, begun = 20, tmp_path / "begun20"
    while run_and_die(step, source, begun) and len(list(begun.glob("*.tar"))) < 2:
        step += 1
        begun = tmp_path / f"begun{step}"
    journal = Path(".make_shards", "finished.jsonl")
    records = (begun / journal).read_bytes().splitlines(keepends=True)
    assert len(records) == 2
    (begun / journal).write_bytes(records[0] + records[1][:30])
    step, died = 0, True
    while died:
        out, step = tmp_path / f"out{step}", step + 1
        shutil.copytree(begun, out)
        died = run_and_die(step, source, out)
        report = make_shards(source, out, workers=0, shard_examples=3)
        assert report.new_shards <= 1
        assert contents(out) == contents(tmp_path / "undisturbed")
    assert step > 10
