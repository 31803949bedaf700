"""The evaluation command over runs: what it writes, and the one sentence with which it refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from dirvae.evaluate.__main__ import main


def evaluate(run: Path, *options: str) -> dict[str, Any]:
    """What the command writes about a run."""
    assert main([str(run), "--samples", "2", *options]) == 0
    content: dict[str, Any] = json.loads((run / "evaluation.json").read_text("utf-8"), parse_constant=pytest.fail)
    return content


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str) -> None:
    """The command fails and says so in one line, which matches `sentence`, and nothing else."""
    capsys.readouterr()
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert re.search(sentence, captured.err), captured.err
