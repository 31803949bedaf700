"""benchmarks/gpu.py runs to its end without a GPU, and without all packages but torch, NumPy, Pillow, safetensors."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

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
    assert (found["dropped"], found["errors"]) == ([], {})
    assert found["tests"]["tests"]["passed"]
    assert "skipped" in found["tests"]["tests"]["said"]
    assert [one["precision"] for one in found["resume"]] == ["fp32", "bf16"]
    assert all(one["repeated_exactly"] and one["resumed_exactly"] for one in found["resume"])
    assert [one["way"] for one in found["speed"]] == ["fp32", "bf16", "fp32 without TF32"]
    assert [one["source"] for one in found["waiting"]] == ["noise", "JPEG"]
    assert [one["preset"] for one in found["sound"]] == ["tiny"]
    assert all(one["examples_per_second"] > 0 for kind in ("speed", "waiting", "sound") for one in found[kind])
    assert all(one["flops_per_example"] > 1e6 for one in found["speed"])
    assert all(one[name]["kl"]["milliseconds"] > 0 for one in found["draws"] for name in ("dirichlet", "gaussian"))
    assert "pythae" in found["pythae"][0]["absent"]


SHORT_PARTS = (
    *("tests", "resume fp32", "resume bf16", "tiny 32 fp32", "tiny 32 bf16", "fed by noise", "fed by JPEG"),
    *("latents 4×3", "latents 2×3×2×2", "pythae", "sound tiny fp32", "tiny 32 fp32 without TF32"),
)


def test_what_there_is_no_time_for_is_dropped_and_named() -> None:
    told = run(
        "--seconds", "0", environment={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    ).splitlines()
    assert told[0].startswith("no CUDA device")
    assert told[-1] == f"- no time was left for: {', '.join(SHORT_PARTS)}"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The benchmark as a module."""
    monkeypatch.delenv("OUT", raising=False)
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    yield importlib.import_module("gpu")
    for name in [name for name in sys.modules if name.split(".")[0] in ("gpu", "gpu_parts")]:
        del sys.modules[name]


def part_of(name: str) -> Any:
    return importlib.import_module(f"gpu_parts.{name}")


SPEED: dict[str, Any] = {
    **{"preset": "tiny", "size": 32, "way": "fp32", "arithmetic": "fp32", "batch_size": 8, "wait_share": 0.0},
    **{"examples_per_second": 100.0, "warm_up_seconds": 3.0, "syncs_per_step": 2.5, "sync_places": ["feed.py:7"]},
    **{"flops_per_example": 1e9, "share_of_peak": 0.25, "peak_memory_gib": 1.5, "is_compiled": None},
    "graph_breaks": [],
}
COST = {"milliseconds": 0.5, "kernels": 12}


def with_short_parts(gpu: Any, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Parts that return at once."""
    exact = {"repeated_exactly": True, "resumed_exactly": True, "precision": "fp32"}
    results: dict[str, Any] = {
        "tests": lambda marks, seconds: {"passed": True, "said": "12 passed"},
        "resume": lambda precision: exact,
        "speed": lambda preset, size, way: {**SPEED, "way": way, "is_compiled": True if "comp" in way else None},
        "fed": lambda source: {**SPEED, "source": source, "threads": 2, "wait_share": 0.01},
        "draws": lambda shape: {
            "shape": shape,
            **{key: {"draw": COST, "kl": COST} for key in ("dirichlet", "gaussian")},
        },
        "beside_pythae": lambda: {
            **{"batch_size": 4, "milliseconds": {"pythae": 3.0, "ours, gaussian": 0.9}},
            "pythae_takes": {"ours, gaussian": 3.3},
        },
        "sound": lambda preset, precision: {
            **{**SPEED, "preset": preset, "precision": precision},
            **{"clip_seconds": 2.0, "times_real_time": 90.0},
        },
    }
    for name, result in {**results, **changes}.items():
        monkeypatch.setattr(gpu, name, result)


def test_synchronisations_are_counted_in_so_many_steps_after_the_timed_ones(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopwatch, modes = part_of("stopwatch"), ["default"]
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(stopwatch, "COUNTED_STEPS", 4)
    monkeypatch.setattr(stopwatch, "TIMED_SECONDS", 0.01)
    waits = iter([5.0, 0.001])
    watch, steps = stopwatch.Stopwatch(lambda: next(waits)), 0
    while not watch():
        steps += 1
        time.sleep(0.001)
        if modes[-1] == "warn":
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
            warnings.warn("of something else", stacklevel=1)
    assert modes == ["default", "warn", "default"]
    assert steps == stopwatch.WARM_UP_STEPS + watch.timed + 4
    found = watch.found(8)
    assert watch.seconds > 0.01
    assert found["syncs_per_step"] == 1.0
    assert found["sync_places"][0].startswith("test_gpu_benchmark.py:")
    assert 0 < found["wait_share"] <= 0.1


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
    exact = {"repeated_exactly": repeated, "resumed_exactly": resumed, "precision": "fp32"}
    tests = {"passed": passed, "said": "said"}
    with_short_parts(gpu, monkeypatch, tests=lambda marks, seconds: tests, resume=lambda precision: exact)
    assert gpu.main([]) == expected
    assert "2.5 synchronisations per step" in capsys.readouterr().out


def test_a_part_that_fails_is_named_and_the_others_go_on(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def fails(*given: object) -> Any:
        warnings.warn("of what comes", stacklevel=1)
        raise RuntimeError("CUDA error: an illegal memory access")

    def warns(shape: object) -> Any:
        warnings.warn("no profiler", stacklevel=1)
        return {"shape": [4, 3], **{key: {"draw": COST, "kl": COST} for key in ("dirichlet", "gaussian")}}

    with_short_parts(gpu, monkeypatch, fed=fails, draws=warns)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    assert gpu.main([]) == 1
    told = capsys.readouterr().out
    assert "fed by noise                 failed" in told
    found = json.loads((tmp_path / "out" / "gpu.json").read_text(encoding="utf-8"))
    assert set(found["errors"]) == {"fed by noise", "fed by JPEG"}
    assert found["warnings"]["latents 4×3"] == ["no profiler"]
    assert len(found["sound"]) == 1
    page = (tmp_path / "out" / "gpu.md").read_text(encoding="utf-8")
    assert page.strip() == told[told.index("## On a GPU") :].strip()
    assert "- fed by JPEG failed: RuntimeError: CUDA error" in page


def test_numbers_that_no_page_can_be_made_of_are_printed(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_short_parts(gpu, monkeypatch, sound=lambda preset, precision: {"unforeseen": 7})
    assert gpu.main([]) == 1
    assert '"unforeseen": 7' in capsys.readouterr().out


def test_a_part_that_takes_too_long_is_left(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hangs(source: str) -> Any:
        time.sleep(60)

    with_short_parts(gpu, monkeypatch, fed=hangs)
    monkeypatch.setattr(gpu, "MOST_SECONDS", 0.2)
    began = time.monotonic()
    assert gpu.main([]) == 0
    assert time.monotonic() - began < 30
    told = capsys.readouterr().out
    assert "- no time was left for: fed by noise, fed by JPEG" in told
    assert "784-500-500-50" in told


def test_the_page_has_tables_and_targets(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with_short_parts(gpu, monkeypatch)
    found = gpu._nothing_yet()
    for part in gpu.parts(lambda: 100.0):
        gpu._done(part, found, 100.0)
    fast = {**SPEED, "way": "bf16 compiled", "examples_per_second": 420.0, "is_compiled": True}
    found["speed"].append({**fast, "graph_breaks": ["no such operator (2 times)"]})
    found["speed"].append({**fast, "size": 64, "is_compiled": False})
    page = gpu.markdown(found)
    for line in (
        "| the fastest way beside fp32, convolutions in fp32 | ≥ 4 × | 4.2 × (tiny, 32 px) | 1 of 1 |",
        "| the fastest way beside fp32 without TF32 | ≥ 4 × | 4.2 × (tiny, 32 px) | 1 of 1 |",
        "| beside pythae | ≥ 3 × | 3.3 × (ours, gaussian) | yes |",
        "| synchronisations per step | 0 | 2.5 at most | no |",
        "| waiting for data | ≤ 2% | 1.0% at most | yes |",
        "| tiny, 32 px | bf16 compiled | 8 | 420 | 4.20 | 25.0% | 1.5 | 2.5 |",
        "| tiny, 64 px | bf16 compiled (did not compile) | 8 | 420 | – | 25.0% | 1.5 | 2.5 |",
        "| draw of 4×3, float32 | 0.500 | 0.500 | 12 | 12 | 0.6% |",
        "| ours, gaussian | 0.900 | 3.30 |",
        "- synchronisations were seen at: feed.py:7",
        "- tiny 32 bf16 compiled, a break: no such operator (2 times)",
    ):
        assert line in page, line


def test_on_a_gpu_the_most_important_parts_come_first(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "IS_CUDA", True)
    monkeypatch.setattr(part_of("pictures"), "IS_CUDA", True)
    names = [part.name for part in gpu.parts(lambda: 400.0)]
    assert len(set(names)) == len(names)
    order = ["tests", "resume bf16", "base 64 fp32", "small 256 bf16", "base 128 bf16 compiled", "fed by JPEG"]
    order += ["pythae", "small 64 bf16 compiled", "sound tiny fp32", "large 256 bf16", "tiny 256 bf16 compiled"]
    assert [name for name in names if name in order] == order
    assert sum("compiled" in name for name in names) == 12
    assert names[-1] == "tests of the compiler"


def test_where_memory_does_not_suffice_batches_are_halved(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, tried = part_of("machine"), []
    told: list[str] = []
    monkeypatch.setattr(machine, "IS_CUDA", True)
    for name in ("empty_cache", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: told.append(name))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)

    def run(batch_size: int) -> int:
        tried.append(batch_size)
        if batch_size > 4:
            raise torch.OutOfMemoryError
        return batch_size

    assert machine.in_memory(run, 16) == 4
    assert tried == [16, 8, 4]
    assert told == ["empty_cache", "reset_peak_memory_stats"] * 3
    assert machine.peak_memory_gib() == 3.0

    def never(batch_size: int) -> int:
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        machine.in_memory(never, 4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.4),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
        *((name, None) for name in ("NVIDIA L40S", "NVIDIA H100 NVL", "NVIDIA GeForce RTX 4090 D", "Tesla T4")),
    ],
)
def test_peaks_are_those_of_the_card_or_unknown(gpu: Any, name: str, expected: float | None) -> None:
    found = part_of("machine").peak_flops(name, "bf16")
    assert found == (None if expected is None else pytest.approx(expected * 1e12))


def test_tf32_is_told_where_convolutions_use_it(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = part_of("machine")
    assert not machine.convolves_in_tf32()
    monkeypatch.setattr(machine, "IS_CUDA", True)
    for capability, expected in (((8, 0), True), ((7, 5), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        assert machine.convolves_in_tf32() == expected


def test_a_share_of_the_peak_is_that_of_the_steps_own_flops(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = part_of("pictures")
    monkeypatch.setattr(pictures, "device_name", lambda: "NVIDIA L4")
    monkeypatch.setattr(pictures, "convolves_in_tf32", lambda: True)
    watched = {"examples_per_second": 1000.0, "batch_size": 8}
    monkeypatch.setattr(pictures, "_measured", lambda *given: watched)
    one_way = pictures.speed("tiny", 32, "fp32")
    flops = one_way["flops_per_example"]
    assert 1e6 < flops < 1e9
    assert one_way["arithmetic"] == "tf32"
    assert one_way["share_of_peak"] == pytest.approx(1000 * flops / 60e12)
    assert pictures.speed("tiny", 32, "bf16")["share_of_peak"] == pytest.approx(1000 * flops / 121e12)


def test_compiled_steps_say_whether_they_are(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = part_of("pictures")

    def compiles(model: nn.Module, **given: object) -> None:
        model._compiled_call_impl = model._call_impl  # type: ignore[assignment]
        torch._dynamo.utils.counters["graph_break"]["no such\n operator"] += 2

    monkeypatch.setattr(nn.Module, "compile", compiles)
    found = pictures._measured("tiny", 32, "bf16 compiled", 2)
    assert found["is_compiled"]
    assert found["graph_breaks"] == ["no such operator (2 times)"]
    torch._dynamo.utils.counters.clear()


def test_kernels_are_counted_where_the_profiler_has_them(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    draws = part_of("draws")
    names = ("void at::native::kernel", "void gemm", "Memcpy DtoH", "Memset (Device)", "ProfilerStep#1")
    events = [SimpleNamespace(name=name, device_type=draws.DeviceType.CUDA) for name in names]
    events.append(SimpleNamespace(name="aten::mul", device_type=draws.DeviceType.CPU))

    class Profiler:
        def __init__(self, activities: object) -> None:
            self.events = lambda: events

        def __enter__(self) -> Profiler:
            return self

        def __exit__(self, *given: object) -> None:
            pass

    def refuses(activities: object) -> Any:
        raise RuntimeError("CUPTI")

    calls: list[int] = []
    assert draws.count_kernels(lambda: calls.append(1)) is None
    monkeypatch.setattr(draws, "IS_CUDA", True)
    monkeypatch.setattr(draws, "profile", Profiler)
    assert draws.count_kernels(lambda: calls.append(1)) == 2
    monkeypatch.setattr(draws, "profile", refuses)
    with pytest.warns(UserWarning, match="CUPTI"):
        assert draws.count_kernels(lambda: calls.append(1)) is None
    assert len(calls) == 1


def pythae_modules() -> dict[str, ModuleType]:
    """As much of pythae as a step takes."""

    class VAE(nn.Module):
        def __init__(self, config: object, encoder: nn.Module, decoder: nn.Module) -> None:
            super().__init__()
            self.encoder, self.decoder = encoder, decoder

        def forward(self, inputs: dict[str, torch.Tensor]) -> SimpleNamespace:
            encoded = self.encoder(inputs["data"])
            z = encoded.embedding + torch.exp(0.5 * encoded.log_covariance) * torch.randn_like(encoded.embedding)
            return SimpleNamespace(loss=self.decoder(z).reconstruction.square().sum())

    contents: dict[str, dict[str, Any]] = {
        "pythae": {},
        "pythae.models": {"VAE": VAE, "VAEConfig": SimpleNamespace},
        "pythae.models.base": {},
        "pythae.models.base.base_utils": {"ModelOutput": SimpleNamespace},
        "pythae.models.nn": {"BaseDecoder": nn.Module, "BaseEncoder": nn.Module},
    }
    modules = {name: ModuleType(name) for name in contents}
    for name, values in contents.items():
        vars(modules[name]).update(values)
    return modules


def test_where_pythae_is_there_its_step_stands_beside_ours(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = part_of("peer")
    for name, module in pythae_modules().items():
        monkeypatch.setitem(sys.modules, name, module)

    def fails(model: nn.Module) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(nn.Module, "compile", fails)
    found = peer.beside_pythae()
    assert set(found["milliseconds"]) == {"ours, gaussian", "ours, dirichlet", "pythae"}
    assert set(found["pythae_takes"]) == {"ours, gaussian", "ours, dirichlet"}
    monkeypatch.setattr(peer, "IS_CUDA", True)
    with pytest.warns(UserWarning, match="no compiler"):
        assert set(peer.beside_pythae()["milliseconds"]) == set(found["milliseconds"])
    monkeypatch.setattr(nn.Module, "compile", lambda model: None)
    assert "ours, dirichlet, compiled" in peer.beside_pythae()["pythae_takes"]
    for name in ("step", "models", "binarisation"):
        sys.modules.pop(name, None)
