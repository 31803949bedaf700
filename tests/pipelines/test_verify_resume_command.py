"""python -m pipelines.verify_resume: its verdict, its exit codes and its words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.samples.sounds import make_sample_sounds
from pipelines.sharding import make_shards
from pipelines.verify_resume import main

Fixture = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[2]


def test_the_command_says_exact_and_exits_with_0(
    picture_folder: Fixture, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--kills", "3", "--size", "16", "--batch-size", "2", "--threads", "1", "2", "--world-sizes", "2"]
    assert main([str(picture_folder(20)), *flags]) == 0
    captured = capsys.readouterr()
    assert captured.out.endswith("\nexact\n")
    assert "0 lost, 0 repeated, 0 reordered" in captured.out
    assert "kills" in captured.err, "progress goes beside"


def test_json_is_one_object_with_the_verdict(picture_folder: Fixture, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(picture_folder(20)), "--kills", "2", "--size", "8", "--batch-size", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["exact"] is True
    assert found["kills"] >= 2
    assert found["ledger"] == {"due": 20 * found["chains"], "lost": 0, "repeated": 0, "reordered": 0}
    assert len(found["first_batch_seconds"]) == 10


@pytest.mark.parametrize("kind", ["folder", "shards", "tar"])
def test_recordings_are_known_for_such_without_a_flag(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "audio"
    make_sample_sounds(folder, num=4)
    make_shards(folder, tmp_path / "shards", workers=0)
    shutil.copy(tmp_path / "shards" / "audio-000000.tar", tmp_path / "bare.tar")
    source = {"folder": folder, "shards": tmp_path / "shards", "tar": tmp_path / "bare.tar"}[kind]
    assert main([str(source), "--kills", "2", "--batch-size", "2", "--threads", "1"]) == 0
    assert capsys.readouterr().out.endswith("\nexact\n")
    if kind == "shards":
        assert main([str(source), "--modality", "image", "--kills", "2"]) == 2
        assert "holds audio data" in (error := capsys.readouterr().err)
        assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to verify"),
        (["missing-folder"], "missing-folder"),
        (["--loader", "no_colon"], "must be MODULE:FUNCTION"),
        (["--loader", "no_such_module:make"], "no_such_module"),
        (["--loader", "json:no_such_function"], "no_such_function"),
        (["PICTURES", "--batch-size", "0"], "batch_size is 0"),
        (["PICTURES", "--threads", "0"], "threads is 0"),
        (["PICTURES", "--groups", "3", "--batch-size", "2"], "groups is 3"),
        (["PICTURES", "--world-sizes", "0"], "--world-sizes is 0"),
        (["PICTURES", "--workers", "-1"], "--workers is -1"),
        (["PICTURES", "--kills", "0"], "--kills is 0"),
        (["PICTURES", "--loader", "json:dumps"], "name one of them"),
    ],
)
def test_a_mistake_on_the_line_is_one_sentence_and_exit_code_2(
    arguments: list[str], message: str, picture_folder: Fixture, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(picture_folder(20))
    line = [folder if argument == "PICTURES" else argument for argument in arguments]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        try:
            code = main(line)
        except SystemExit as exit_:  # argparse, for what it refuses by itself
            code = exit_.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert "Traceback" not in error


LOADERS = """
class Loader:
    def __init__(self, lost):
        self.position, self.lost = 0, lost
    def __iter__(self):
        import time
        while self.position < 60:
            self.position += 2
            time.sleep(0.001)
            yield {"keys": [self.position - 2, self.position - 1]}
    def state_dict(self):
        return {"position": self.position}
    def load_state_dict(self, state):
        self.position = state["position"] + self.lost

def exact(): return Loader(0)
def loses(): return Loader(2)
def crashes(): raise OSError("no disk")
"""


COMMANDS = {
    "module": ["-m", "pipelines.verify_resume"],
    "launcher": [str(ROOT / "tools" / "verify_resume.py")],
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("function", "code", "last"), [("exact", 0, "exact"), ("loses", 1, "NOT exact"), ("crashes", 1, "NOT exact")]
)
def test_the_command_verifies_any_loader_named_on_its_line(
    command: str, function: str, code: int, last: str, tmp_path: Path
) -> None:
    (tmp_path / "my_loaders.py").write_text(LOADERS)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, *COMMANDS[command], "--loader", f"my_loaders:{function}", "--kills", "4"],
        cwd=tmp_path,
        env=environment if command == "launcher" else {**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1] == last
    if function == "crashes":
        assert "failed: a leg failed: OSError: no disk" in done.stdout
        assert "Traceback" not in done.stderr
    if function == "loses":
        assert " 0 lost" not in done.stdout
