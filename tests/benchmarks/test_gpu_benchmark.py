"""benchmarks/gpu.py runs to its end without a GPU, and without all packages but torch, NumPy, Pillow, safetensors."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ABSENT = (
    *("simplejpeg", "braceexpand", "tqdm", "cykooz_resizer", "imagecodecs", "soundfile"),
    *("soxr", "zarr", "numcodecs", "google_crc32c", "webdataset", "torchdata"),
    *("matplotlib", "jinja2", "scipy", "lightning", "accelerate"),
)
"""What is not there on a machine that has torch, NumPy, Pillow, safetensors and pytest."""

BLOCK = f"""
from importlib.machinery import PathFinder

class WhatIsThere:
    find = PathFinder.find_spec

    def __call__(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {ABSENT!r} else self.find(name, path, target)

PathFinder.find_spec = WhatIsThere()
"""
"""A `sitecustomize.py`: every Python program of an environment begins with it."""


@pytest.fixture
def bare_environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which no Python program can import the absent packages."""
    (tmp_path / "sitecustomize.py").write_text(BLOCK, encoding="utf-8")
    settings = {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # absent packages would be plugins of pytest, as zarr is
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    return {**os.environ, **settings}


def run(*arguments: str, environment: dict[str, str]) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_without_a_gpu_and_other_packages_all_of_the_short_version_runs(bare_environment: dict[str, str]) -> None:
    found_all = f"from importlib.util import find_spec; raise SystemExit(any(map(find_spec, {ABSENT!r})))"
    subprocess.run([sys.executable, "-c", found_all], env=bare_environment, check=True, timeout=60)
    found = json.loads(run("--json", "--seconds", "500", environment=bare_environment))
    assert found["device"].startswith("no CUDA device")
    assert found["dropped"] == []
    assert found["tests"]["tests"]["passed"]
    assert "skipped" in found["tests"]["tests"]["said"]
    assert [one["precision"] for one in found["resume"]] == ["fp32", "bf16"]
    assert all(one["repeated_exactly"] and one["resumed_exactly"] for one in found["resume"])
    assert [(one["preset"], one["precision"]) for one in found["speed"]] == [("tiny", "fp32"), ("tiny", "bf16")]
    assert all(one["examples_per_second"] > 0 for one in found["speed"])


def test_what_there_is_no_time_for_is_dropped_and_named() -> None:
    told = run(
        "--seconds", "0", environment={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    ).splitlines()
    assert told[0].startswith("no CUDA device")
    assert told[1:] == ["no time was left for: tests, resume fp32, resume bf16, tiny 32 fp32, tiny 32 bf16"]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark as a module."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("gpu_benchmark", ROOT / "benchmarks" / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_synchronisations_are_counted_in_so_many_steps_after_the_timed_ones(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = ["default"]
    monkeypatch.setattr(gpu.torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(gpu, "COUNTED_STEPS", 4)
    monkeypatch.setattr(gpu, "TIMED_SECONDS", 0.01)
    watch, steps = gpu.Stopwatch(), 0
    while not watch():
        steps += 1
        gpu.time.sleep(0.001)
        if modes[-1] == "warn":
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
            warnings.warn("of something else", stacklevel=1)
    assert modes == ["default", "warn", "default"]
    assert len(watch.synchronisations) == 4
    assert steps == gpu.WARM_UP_STEPS + watch.timed + 4
    assert watch.seconds > 0.01


@pytest.mark.parametrize(
    ("passed", "repeated", "resumed", "expected"),
    [(True, True, True, 0), (False, True, True, 1), (True, True, False, 1), (True, False, False, 0)],
)
def test_a_failed_test_or_a_resume_that_is_not_exact_is_the_exit_status(
    gpu: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    passed: bool,
    repeated: bool,
    resumed: bool,
    expected: int,
) -> None:
    exact = {"repeated_exactly": repeated, "resumed_exactly": resumed}
    monkeypatch.setattr(gpu, "tests", lambda marks, seconds: {"passed": passed, "said": "said"})
    monkeypatch.setattr(gpu, "resume", lambda precision: exact)
    monkeypatch.setattr(gpu, "speed", lambda *given: {"examples_per_second": 1.0, "syncs_per_step": 2.5})
    monkeypatch.setattr(gpu, "PRECISIONS", ("fp32",))
    assert gpu.main([]) == expected
    assert "2.5 synchronisations per step" in capsys.readouterr().out
