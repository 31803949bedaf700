"""The README does what it says: every Python block runs, in order, and the two commands work as written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path

import pytest

from pipelines import make_shards
from pipelines.samples.scenes import make_sample_data

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDES = sorted(path.name for path in (ROOT / "docs").glob("*.md") if "```python" in path.read_text("utf-8"))


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with sample pictures in data/image, as the working directory."""
    make_sample_data(tmp_path / "data" / "image", num=40, size=48)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_blocks(text: str, name: str) -> None:
    module = types.ModuleType("readme")  # a dataclass looks its module up
    found = blocks("python", text)
    assert found, f"{name} has no Python block"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "readme", module)
        for number, block in enumerate(found):
            exec(compile(block, f"{name}, block {number}", "exec"), module.__dict__)


def test_every_python_block_of_the_readme_runs(project: Path) -> None:
    make_shards(project / "data" / "image", project / "shards" / "image")
    run_blocks(README, "README.md")


@pytest.mark.parametrize("guide", GUIDES)
def test_every_python_block_of_a_guide_runs(project: Path, guide: str) -> None:
    make_shards(project / "data" / "image", project / "shards" / "image")
    run_blocks((ROOT / "docs" / guide).read_text(encoding="utf-8"), guide)


def test_the_commands_of_the_readme_work_as_written(project: Path) -> None:
    commands = [line[2:].split("#")[0] for block in blocks("console") for line in block.splitlines()]
    programs = [shlex.split(command) for command in commands if command.startswith("python")]
    assert [program[:3] for program in programs] == [
        ["python", "tools/make_shards.py", "data/image"],
        ["python", "-m", "dirvae.train"],
    ]
    (project / "tools").symlink_to(ROOT / "tools")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    short = [[], ["--steps", "2", "--size", "32", "--batch-size", "8"]]
    for (_, *arguments), more in zip(programs, short, strict=True):
        command = [sys.executable, *arguments, *more]
        subprocess.run(command, cwd=project, env=environment, check=True, timeout=120)
    assert (project / "runs" / "image" / "report.html").is_file()


def test_the_two_set_up_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("demo", "test", "bench", "verify"):
        assert f"make {target}" in README
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_files_and_folders_the_readme_names_exist() -> None:
    for path in re.findall(r"\]\(([^):]+)\)", README):
        assert (ROOT / path).exists(), path
    for name in ("pipelines", "dirvae", "tools", "tests", "benchmarks", "docs", "data", "shards"):
        assert (ROOT / name).is_dir()
