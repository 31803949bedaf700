"""Runs of the training command: compared by their weights, and killed in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dirvae.training.checkpoint import CheckpointFolder
from dirvae.training.logging import read_metrics

ROOT = Path(__file__).resolve().parents[2]


def weights(run: Path) -> dict[str, bytes]:
    """The files of the newest checkpoint that must not differ by a bit."""
    newest = CheckpointFolder(run / "checkpoints").newest()
    assert newest is not None
    return {name: (newest.path / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")}


def kill_training(arguments: Sequence[str], run: Path, *, at_step: int, seconds: float = 120) -> list[int]:
    """Train in a process that is killed once its metrics reach a step; the steps that have a checkpoint."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "dirvae.train", *arguments, "--out", str(run)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + seconds
    while not any(line["step"] >= at_step for line in read_metrics(run / "metrics.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    return CheckpointFolder(run / "checkpoints").steps()
