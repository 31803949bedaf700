"""`--live`: the report of a run, served while it trains, to whoever has the token, and for reading only."""

from __future__ import annotations

import http.cookiejar
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from dirvae import train
from dirvae.training.errors import ConfigError
from tests.dirvae.trained_runs import weights

pytest.importorskip("uvicorn", reason="serves: pip install 'dirvae[explore]'")

from dirvae.run.live_view import LiveView, newest_line

HOSTILE = '"><img src=x onerror=alert(1)>'


def browser(url: str) -> Callable[[str], tuple[int, str, Any]]:
    """Ask for paths with the cookie that the first address gave: status, text, headers."""
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    opener.open(url, timeout=20).read()
    root = url.partition("/?")[0]

    def ask(path: str) -> tuple[int, str, Any]:
        try:
            with opener.open(root + path, timeout=20) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers

    return ask


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = tmp_path / HOSTILE
    path.mkdir()
    return path


def training(**changes: Any) -> Any:
    return SimpleNamespace(**{"step": 7, "total_steps": 9, "stopped_early": False, **changes})


def test_the_state_says_what_there_is(run: Path) -> None:
    with LiveView(run) as view:
        ask = browser(view.url)
        state = json.loads(ask("/state")[1])
        assert state == {
            "run": HOSTILE,
            "phase": "preparing",
            "step": None,
            "total_steps": None,
            "metrics": {},
            "version": None,
        }
        assert ask("/report")[0] == 404
        view.watch(training())
        (run / "metrics.jsonl").write_text('{"kind": "train", "step": 6, "loss": 1.5}\n{"kind": "train", "st')
        (run / "report.html").write_text("<main>ä</main>")
        state = json.loads(ask("/state")[1])
        assert (state["phase"], state["step"], state["metrics"]["loss"]) == ("training", 7, 1.5)
        first = state["version"]
        status, text, headers = ask("/report")
        assert (status, text) == (200, "<main>ä</main>")
        assert headers["content-type"] == "text/plain; charset=utf-8", "its scripts are never run as they come"
        (run / "report.html").write_text("<main>b</main>")
        assert json.loads(ask("/state")[1])["version"] != first
        assert view._phase == "training"


def test_only_the_page_and_the_report_are_served_and_only_for_reading(run: Path) -> None:
    (run / "config.json").write_text("{}")
    with LiveView(run) as view:
        ask = browser(view.url)
        policy = ask("/")[2]["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for path in ("/config.json", "/..%2fconfig.json", "/report.html", "/state/", "/%2e%2e/", "/live.html"):
            assert ask(path)[0] == 404, path
        root = view.url.partition("/?")[0]
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(f"{root}/state", timeout=20)
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(urllib.request.Request(view.url, data=b"x", method="POST"), timeout=20)


def test_the_end_waits_for_a_page_that_is_looked_at_and_for_no_other(run: Path) -> None:
    (run / "report.html").write_text("last")
    began = time.perf_counter()
    with LiveView(run) as view:
        view.watch(training(step=9))
    assert time.perf_counter() - began < 2.5, "nobody looked"
    seen: list[str] = []
    with LiveView(run) as view:
        view.watch(training(step=9))
        ask = browser(view.url)
        ask("/state")

        def look() -> None:
            while not seen or seen[-1] == "training":
                version = json.loads(ask("/state")[1])["version"]
                seen.append(json.loads(ask(f"/state?version={version}")[1])["phase"])

        thread = threading.Thread(target=look)
        thread.start()
    thread.join(10)
    assert seen[-1] == "ended"


@pytest.mark.parametrize(
    ("step", "early", "fails", "phase"),
    [
        (9, False, False, "ended"),
        (7, True, False, "ended"),
        (7, False, False, "stopped"),
        (7, False, True, "failed"),
    ],
)
def test_the_last_state_says_how_it_ended(run: Path, step: int, early: bool, fails: bool, phase: str) -> None:
    view = LiveView(run)
    view.watch(training(step=step, stopped_early=early))
    view.__exit__(ValueError if fails else None, None, None)
    assert view.state()["phase"] == phase


def test_a_port_that_is_taken_is_one_sentence_and_a_port_is_free_at_the_end(run: Path) -> None:
    with LiveView(run) as view:
        port = int(view.url.partition("127.0.0.1:")[2].partition("/")[0])
        with pytest.raises(
            ConfigError, match=rf"^--live-port {port}: cannot be served on \(.*\)\. Name another port"
        ):
            LiveView(run, port=port)
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ('{"kind": "train", "step": 1}\n{"kind": "held_out", "step": 1}\n', {"kind": "train", "step": 1}),
        ('[1]\n{"kind": "train", "step": 2}\n{"kind": "tr', {"kind": "train", "step": 2}),
        ("x" * 50_000 + '\n{"kind": "train", "step": 3}\n', {"kind": "train", "step": 3}),
    ],
)
def test_the_newest_line_of_training_is_read_from_the_end(tmp_path: Path, text: str, found: dict[str, Any]) -> None:
    assert newest_line(tmp_path / "none") == {}
    (tmp_path / "metrics.jsonl").write_text(text)
    assert newest_line(tmp_path / "metrics.jsonl") == found


def test_numbers_that_json_has_not_do_not_stop_the_page(run: Path) -> None:
    (run / "metrics.jsonl").write_text('{"kind": "train", "step": 6, "loss": NaN, "kl": 1e999, "psnr_db": 2.5}\n')
    with LiveView(run) as view:
        status, text, _ = browser(view.url)("/state")
    assert status == 200
    assert json.loads(text)["metrics"] == {"kind": "train", "step": 6, "loss": None, "kl": None, "psnr_db": 2.5}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "data").mkdir()
    for number in range(24):
        Image.new("RGB", (8, 8), (number * 10, 255 - number * 10, 99)).save(tmp_path / "data" / f"{number:02d}.png")
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(before)


TRAIN = [
    *("--data", "data", "--size", "8", "--batch-size", "8", "--threads", "1", "--preset", "tiny"),
    *("--model-size", "4", "--steps", "4", "--device", "cpu"),
]


def test_a_training_is_the_same_with_a_live_view(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main([*TRAIN, "--out", "alone"]) == 0
    capsys.readouterr()
    before = {thread for thread in threading.enumerate() if thread.name == "web server"}  # other tests' servers
    assert train.main([*TRAIN, "--out", "live", "--live"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("live view: http://127.0.0.1:")
    assert "token=" in first
    assert weights(Path("live")) == weights(Path("alone"))
    token = first.rpartition("=")[2]
    assert all(token.encode() not in path.read_bytes() for path in Path("live").rglob("*") if path.is_file())
    assert not {thread for thread in threading.enumerate() if thread.name == "web server"} - before


def test_mistakes_are_told_before_anything_is_made(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train.main([*TRAIN, "--out", "run", "--live-port", "8000"]) == 1
    assert (
        capsys.readouterr().err
        == "error: --live-port 8000: is the port of --live, which was not given. Add --live.\n"
    )
    with pytest.raises(SystemExit):
        train.main([*TRAIN, "--out", "run", "--live", "--live-port", "70000"])
    assert "'70000' is not a port from 1 to 65535" in capsys.readouterr().err
    assert not Path("run").exists()
    find = train.require_packages.__globals__["find_spec"]
    monkeypatch.setitem(
        train.require_packages.__globals__, "find_spec", lambda name: None if name == "uvicorn" else find(name)
    )
    assert train.main([*TRAIN, "--out", "run", "--live"]) == 1
    assert "uvicorn is not installed" in capsys.readouterr().err
    assert not Path("run").exists()
