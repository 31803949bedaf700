"""benchmarks/gpu.py runs to its end without a GPU, and without all packages but torch, NumPy, Pillow, safetensors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ABSENT = (
    *("simplejpeg", "braceexpand", "tqdm", "cykooz_resizer", "imagecodecs", "soundfile"),
    *("soxr", "zarr", "numcodecs", "google_crc32c", "webdataset", "torchdata"),
    *("matplotlib", "jinja2", "scipy", "lightning", "accelerate"),
)
"""What is not there on a machine that has torch, NumPy, Pillow, safetensors and pytest."""


@pytest.fixture
def bare_environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which no Python program can import the absent packages."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({ABSENT!r}))\n", encoding="utf-8"
    )
    return {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "CUDA_VISIBLE_DEVICES": ""}


def run(*arguments: str, environment: dict[str, str]) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_without_a_gpu_and_other_packages_all_of_the_short_version_runs(bare_environment: dict[str, str]) -> None:
    found = json.loads(run("--json", "--seconds", "500", environment=bare_environment))
    assert found["device"].startswith("no CUDA device")
    assert found["dropped"] == []
    assert "skipped" in found["tests"]["tests"]
    assert "error" not in found["tests"]["tests"]
    assert [one["precision"] for one in found["resume"]] == ["fp32", "bf16"]
    assert all(one["repeated_exactly"] and one["resumed_exactly"] for one in found["resume"])
    assert [(one["preset"], one["precision"]) for one in found["speed"]] == [("tiny", "fp32"), ("tiny", "bf16")]
    assert all(one["examples_per_second"] > 0 for one in found["speed"])


def test_what_there_is_no_time_for_is_dropped_and_named() -> None:
    told = run("--seconds", "0", environment={**os.environ, "CUDA_VISIBLE_DEVICES": ""}).splitlines()
    assert told[0].startswith("no CUDA device")
    assert told[1:] == ["no time was left for: tests, resume fp32, resume bf16, tiny 32 fp32, tiny 32 bf16"]
