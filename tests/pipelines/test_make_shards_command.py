"""The command line of make_shards: flags, exit codes, and what is told."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from importlib.abc import MetaPathFinder
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.sharding.cli import main
from pipelines.sharding.progress_bar import Progress
from pipelines.storage.index import load_index
from pipelines.storage.manifest import Manifest

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "tools" / "make_shards.py"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "image"
    folder.mkdir(parents=True)
    for index in range(6):
        pixels = np.random.Generator(np.random.Philox(index)).integers(0, 255, (40, 50, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.jpg")
    return folder


def order_of(out: Path) -> list[str]:
    return (out / "manifest.names.jsonl").read_text().splitlines()


def test_it_works_with_nothing_else_on_the_line(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["data/image", "--workers", "0"]) == 0
    assert capsys.readouterr().out.startswith("shards/image: 6 images in 1 shard, 0.0 MB; 1 shard made in ")
    assert main(["data/image/", "--workers", "0"]) == 0
    assert capsys.readouterr().out == "shards/image: complete already: 6 images in 1 shard, 0.0 MB.\n"
    assert main(["data", "--workers", "0"]) == 0
    assert Manifest.load(tmp_path / "shards" / "image").examples == 6


def test_every_flag_does_something(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def packed(*flags: str) -> Path:
        out = tmp_path / "_".join(flags or ("plain",)).strip("-")
        assert main([str(source), "--out", str(out), "--workers", "0", *flags]) == 0
        return out

    plain = order_of(packed())
    assert order_of(packed("--shuffle", "0")) == plain
    assert order_of(packed("--shuffle", "1")) != plain
    assert order_of(packed("--no-shuffle")) == sorted(plain)
    assert len(Manifest.load(packed("--shard-examples", "2")).shards.name) == 3
    assert len(Manifest.load(packed("--shard-bytes", "6K")).shards.name) > 1
    assert len(Manifest.load(packed("--workers", "1")).shards.name) == 1
    small = load_index(packed("--resize", "10") / "image-000000.tar.index.npy")
    smaller = load_index(packed("--resize", "10", "--quality", "10") / "image-000000.tar.index.npy")
    assert set(small["height"]) == {10}
    assert smaller["data_length"].sum() < small["data_length"].sum()
    (source / "0.jpg").write_bytes((source / "0.jpg").read_bytes()[:1500])
    assert Manifest.load(packed("--overwrite")).failures == []
    assert [one["path"] for one in Manifest.load(packed("--decode")).failures] == ["0.jpg"]
    assert main([str(source), "--out", str(tmp_path / "strict"), "--workers", "0", "--decode", "--strict"]) == 1
    shown = capsys.readouterr()
    assert "  0.jpg: " in shown.out
    assert shown.err == (
        "make_shards: 1 file cannot be packed. Repair or remove what is listed, or continue without --strict.\n"
    )
    (source / "more.png").write_bytes(_png())
    assert main([str(source), "--out", str(tmp_path / "plain"), "--workers", "0"]) == 2
    assert "--append" in capsys.readouterr().err
    assert Manifest.load(packed("--overwrite")).examples == 7


def test_append_is_a_flag(source: Path, tmp_path: Path) -> None:
    command = [str(source), "--out", str(tmp_path / "out"), "--workers", "0"]
    assert main(command) == 0
    (source / "more.png").write_bytes(_png())
    assert main([*command, "--append"]) == 0
    assert Manifest.load(tmp_path / "out").shards.examples == [6, 1]


def test_the_first_twenty_failures_are_shown_and_all_are_in_the_manifest(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(25):
        (source / f"text\x1b{index:02d}.jpg").write_text("no picture")
    (source / "notes.md").write_text("to be passed over")
    assert main([str(source), "--out", str(tmp_path / "out"), "--workers", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == [
        "1 file passed over: neither an image nor a sidecar file of one.",
        "25 files could not be packed:",
    ]
    assert lines[3] == "  text\\x1b00.jpg: not an image: it does not begin like one"
    assert lines[-2] == "  and 5 more. All of them are in manifest.json."
    assert lines[-1].startswith("Look at it: ")
    assert len(lines) == 25
    assert len(Manifest.load(tmp_path / "out").failures) == 25


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--quality", "50"], "needs resize"),
        (["--resize", "0"], "resize is 0"),
        (["--workers", "-1"], "workers is -1"),
        (["--shard-examples", "0"], "shard_examples is 0"),
    ],
)
def test_bad_values_are_one_sentence_and_exit_2(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main([str(source), "--out", str(tmp_path / "out"), *flags]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.startswith("make_shards: ")
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", [["--shard-bytes", "many"], ["--append", "--overwrite"], ["--no-such-flag"]])
def test_malformed_lines_exit_2(source: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(source), *flags])
    assert "make_shards: error:" in capsys.readouterr().err


def test_missing_and_empty_sources_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "missing")]) == 2
    assert "no such folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main([str(tmp_path / "empty")]) == 2
    assert "no images, recordings or videos in it" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_exit_130_with_one_sentence_and_no_leftovers(
    source: Path, tmp_path: Path, number: signal.Signals
) -> None:
    for index in range(600):
        (source / f"copy{index}.jpg").write_bytes((source / "0.jpg").read_bytes())
    out = tmp_path / "out"
    command = [
        sys.executable,
        str(LAUNCHER),
        str(source),
        "--out",
        str(out),
        "--workers",
        "2",
        "--shard-examples",
        "2",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 30
    while not list(out.glob("*.tar")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, number)
    _, shown = process.communicate(timeout=30)
    assert process.returncode == 130
    assert shown == "make_shards: Interrupted. Finished shards are kept; the same command continues from there.\n"
    assert not list(out.rglob("*.part"))
    assert not (out / ".make_shards.lock").exists()
    assert not (out / "manifest.json").exists()


def test_ctrl_c_while_modules_are_imported_is_told_in_one_sentence(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted(MetaPathFinder):
        def find_spec(self, name: str, *_: object) -> None:
            if name == "pipelines.sharding.api":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "pipelines.sharding.api", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert main([str(source)]) == 130
    assert capsys.readouterr().err.startswith("make_shards: Interrupted. ")


def test_a_terminal_shows_a_bar(source: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = [sys.executable, str(LAUNCHER), str(source), "--out", str(tmp_path / "out"), "--workers", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:  # Linux reports the closed terminal so
                break
            if not piece:
                break
            shown += piece
    os.close(ours)
    assert process.returncode == 0
    assert b"6/6" in shown


def test_a_log_gets_plain_lines_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    log = io.StringIO()
    with Progress(1000, 200, stream=log, noun="images") as progress:
        progress.on_file(3, 7)
        now[0] += 20
        progress.on_shard(3, 100)
        progress.on_file(4, 50)
        now[0] += 20
        progress.on_file(4, 60)
    assert log.getvalue().splitlines() == ["300 of 1,000 images, 5 per second", "360 of 1,000 images, 4 per second"]


def _png() -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (5, 5)).save(target, "PNG")
    return target.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_lacks_a_character_gets_an_escape(source: Path, tmp_path: Path, encoding: str) -> None:
    (source / "\u65e5\u672c.png").write_bytes(b"none")
    environment = {**os.environ, "PYTHONIOENCODING": encoding}

    def run(*arguments: object) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, str(LAUNCHER), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, env=environment, check=False)

    done = run(source, "--out", tmp_path / "\u65e5", "--workers", 0)
    assert done.returncode == 0, done.stderr.decode()
    name = "\u65e5\u672c" if encoding == "utf-8" else "\\u65e5\\u672c"
    assert f"  {name}.png: " in done.stdout.decode(encoding)
    assert run("--help").returncode == 0


def test_a_reader_that_has_gone_is_no_error(source: Path, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, str(LAUNCHER), str(source), "--out", str(tmp_path / "out"), "--workers", "0"]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writing)
    assert done.returncode == 128 + signal.SIGPIPE
    assert "Error" not in done.stderr
    assert Manifest.load(tmp_path / "out").examples == 6
