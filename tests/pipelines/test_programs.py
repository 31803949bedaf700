"""The programs where the package is installed: as modules, from any folder, and from a built wheel."""

from __future__ import annotations

import configparser
import importlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import pipelines
from pipelines.sharding.api import make_shards

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {
    "make_shards": "make_shards",
    "samples": "make_sample_data",
    "show_batch": "show_batch",
    "verify_resume": "verify_resume",
}
"""Module of `pipelines` → the launcher in tools/, and the console script, that do the same."""


def run(command: list[str], folder: Path, path: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(path), "PYTHONWARNINGS": "error"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def console_scripts() -> dict[str, str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = config["options.entry_points"]["console_scripts"].strip().splitlines()
    return {name.strip(): target.strip() for name, target in (line.split("=") for line in lines)}


def test_importing_the_module_leaves_the_name_to_the_function() -> None:
    importlib.import_module("pipelines.make_shards")
    assert pipelines.make_shards is make_shards
    code = (
        "import pipelines.make_shards; from pipelines import make_shards as named; "
        "import pipelines.make_shards as again; "
        "print(callable(pipelines.make_shards), pipelines.make_shards is named is again)"
    )
    done = run([sys.executable, "-c", code], ROOT)
    assert (done.stdout, done.stderr) == ("True True\n", "")


def test_modules_make_samples_and_pack_them_from_any_folder(tmp_path: Path) -> None:
    for flags, said in (([], "data/image: 4 images of 128 × 128 pixels"), (["audio"], "data/audio: 4 recordings,")):
        done = run([sys.executable, "-m", "pipelines.samples", *flags, "--num", "4"], tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(said)
    done = run([sys.executable, "-m", "pipelines.make_shards", "data", "--workers", "2"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("shards/image: 4 images in 1 shard")
    assert done.stdout.splitlines()[1].startswith("shards/audio: 4 recordings in 1 shard")


@pytest.mark.parametrize(("module", "name"), PROGRAMS.items())
def test_a_module_a_launcher_and_a_console_script_are_one_program(tmp_path: Path, module: str, name: str) -> None:
    target_module, _, attribute = console_scripts()[name].partition(":")
    script = f"import sys; from {target_module} import {attribute}; sys.exit({attribute}())"
    helps = [
        run([sys.executable, *command, "--help"], tmp_path)
        for command in (["-m", f"pipelines.{module}"], [str(ROOT / "tools" / f"{name}.py")], ["-c", script])
    ]
    assert [done.returncode for done in helps] == [0, 0, 0], helps[0].stderr
    assert len({done.stdout for done in helps}) == 1
    assert helps[0].stdout.startswith(f"usage: {name} ")


@pytest.mark.slow
def test_a_built_wheel_runs_without_the_checkout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "pipelines", "dirvae"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(source)], check=True)
    built = subprocess.run([*command, "--wheel-dir", str(tmp_path), str(source)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(site)
    modules = {
        str(path.relative_to(ROOT)) for name in ("pipelines", "dirvae") for path in (ROOT / name).rglob("*.py")
    }
    assert modules == {str(path.relative_to(site)) for path in site.rglob("*.py")}
    (entry_points,) = site.glob("*.dist-info/entry_points.txt")
    config = configparser.ConfigParser()
    config.read(entry_points)
    assert dict(config["console_scripts"]) == console_scripts()
    commands = [
        (["samples", "--num", "6", "--size", "24"], "data/image: 6 images of 24 × 24 pixels"),
        (
            ["make_shards", "data/image", "--workers", "2", "--shard-examples", "3"],
            "shards/image: 6 images in 2 shards",
        ),
        (["verify_resume", "shards/image", "--kills", "1", "--batch-size", "1"], ""),
    ]
    for (module, *flags), said in commands:
        done = run([sys.executable, "-P", "-m", f"pipelines.{module}", *flags], elsewhere, site)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(said)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import pipelines; print(pipelines.__file__); "
        "print(pipelines.make_shards('data/image', 'out', workers=2, shard_examples=3).new_shards)"
    )
    done = run([sys.executable, "-I", "-c", code], elsewhere)
    assert (done.stdout, done.stderr) == (f"{site}/pipelines/__init__.py\n2\n", "")
