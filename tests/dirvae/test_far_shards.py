"""`dirvae.train --shards URL`: trained, resumed and evaluated from a web server, and no secret is written or shown."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dirvae.evaluate.__main__ import main as evaluate
from dirvae.run.shard_sets import find_sets, read_set
from dirvae.train import main as train
from pipelines import make_shards, open_source
from tests.fault_proxy import Fault, FaultProxy, by_path
from tests.web_server import WebServer


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    """A server of 40 pictures in five shards, below /set/image."""
    (tmp_path / "files").mkdir()
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "files" / f"{number:02d}.png")
    make_shards(tmp_path / "files", tmp_path / "set", workers=0, shard_examples=8)
    server = WebServer({f"/set/image/{path.name}": path.read_bytes() for path in (tmp_path / "set").iterdir()})
    yield server
    server.close()


FLAGS = ["--size", "16", "--batch-size", "8", "--save-every", "3", "--kl-warmup", "0"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_run_from_a_web_server_is_trained_resumed_and_evaluated(
    web: WebServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run, plain = tmp_path / "run", f"{web.url}/set"
    secret = plain.replace("://", "://user:geheim@") + "?signature=geheim"
    flags = [*FLAGS, "--out", str(run), "--cache-bytes", "2M"]
    assert train(["--shards", secret, *flags, "--steps", "3"]) == 0
    config = json.loads((run / "config.json").read_text())
    assert (config["source"], config["cache_bytes"]) == (f"{plain}/image?…", 2 << 20)
    resumed = ["--out", str(run), "--resume", "--steps", "5", "--cache-bytes", "3M"]
    assert train(resumed) == 1
    assert "Name the data again" in capfd.readouterr().err
    assert train([*resumed, "--shards", plain]) == 0
    assert evaluate([str(run), "--source", secret]) == 0
    assert "geheim" not in "".join(capfd.readouterr())
    assert [path for path in run.rglob("*") if path.is_file() and b"geheim" in path.read_bytes()] == []
    facts = json.loads((run / "summary.json").read_text())["data"]
    assert facts["data_hash"] == open_source(tmp_path / "set").data_hash


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_set_that_is_larger_than_the_cache_is_shuffled_within_windows(web: WebServer, tmp_path: Path) -> None:
    """Five shards of about 9 kB each; four fit."""
    largest = max(len(content) for name, content in web.files.items() if name.endswith(".tar"))
    typed = ["--shards", f"{web.url}/set", *FLAGS, "--steps", "8", "--cache-bytes", str(4 * largest + 100)]
    assert train([*typed, "--out", str(tmp_path / "full")]) == 1
    assert train([*typed, "--out", str(tmp_path / "run"), "--shuffle-shards", "1"]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["shuffle_shards"] == 1


def test_ctrl_c_before_the_first_step_ends_the_wait_for_the_server(
    web: WebServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy = FaultProxy(web.port, by_path({".tar": Fault("stall", 0.3, 60)}))
    told: list[float] = []

    def interrupt() -> None:
        while not proxy.counts["stall"]:
            time.sleep(0.05)
        time.sleep(0.5)
        told.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        assert (
            train(["--shards", f"{proxy.url}/set", *FLAGS, "--steps", "3", "--out", str(tmp_path / "run")]) == 130
        )
        assert time.monotonic() - told[0] < 4
    finally:
        proxy.close()
    assert "stopped before the first step" in capfd.readouterr().out


def test_sets_behind_a_url_are_found_like_those_in_a_folder(web: WebServer) -> None:
    for root in (f"{web.url}/set", f"{web.url}/set/"):
        (found,) = find_sets(root)
        assert (found.name, found.modality, found.examples) == ("image", "image", 40)
        assert str(found.path) == f"{web.url}/set/image"
    assert read_set(f"{web.url}/absent") is None


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--cache-bytes", "2X"], "is no number of bytes, such as 200G"),
        (["--type", "audio"], "no set of recordings is there"),
        (["--cache-bytes", "9K"], "a full shuffle reads"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(
    flags: list[str], reason: str, web: WebServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    typed = ["--shards", f"{web.url}/set", "--out", str(tmp_path / "run"), "--steps", "1", *flags]
    with contextlib.suppress(SystemExit):
        assert train(typed) == 1
    assert reason in capfd.readouterr().err
