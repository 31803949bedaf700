"""All of video under the next PyAV, which pip gives to Python 3.12 and later, and without torch."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.heavy, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("numpy", "pillow", "av>=19", "soxr", "pytest", "pytest-xdist")
OTHER_FILES = ("test_sample_clips.py",)


def pythons() -> Iterator[str]:
    """Programs that may be Python 3.12: that of the path, and those of pyenv."""
    if found := shutil.which("python3.12"):
        yield found
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from map(str, sorted(versions.glob("3.12*/bin/python")))


def is_python312(program: str) -> bool:
    """Whether it runs; a shim of pyenv may lead nowhere."""
    code = "import sys; print(sys.version_info[:2] == (3, 12))"
    done = subprocess.run([program, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() == "True"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python 3.12 with PyAV 19 and what the tests of video need, but no torch."""
    program = next(filter(is_python312, pythons()), None)
    if program is None:
        pytest.skip("there is no Python 3.12: install it, by pyenv or otherwise")
    folder = tmp_path_factory.mktemp("python312")
    subprocess.run([program, "-m", "venv", str(folder)], check=True)
    made = str(folder / "bin" / "python")
    command = [made, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"pip cannot install {', '.join(PACKAGES)}: {done.stderr.strip()[-300:]}")
    return made


def run(python: str, *arguments: str) -> str:
    """What a program of this project prints there; one that fails is an `AssertionError` with its end."""
    outside = ("PYTEST", "COV_", "VIRTUAL_ENV", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(outside)}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [python, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


def test_this_is_the_next_pyav_without_torch(python: str) -> None:
    code = "import av, importlib.util; print(av.__version__.split('.')[0], importlib.util.find_spec('torch'))"
    major, torch = run(python, "-c", code).split()
    assert int(major) >= 19
    assert torch == "None"


def test_all_tests_of_video_pass(python: str) -> None:
    folder = Path(__file__).parent
    files = [*folder.glob("test_video*.py"), *(folder / name for name in OTHER_FILES)]
    names = sorted(str(path.relative_to(ROOT)) for path in files)
    told = run(
        python, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "-m", "not heavy", "--no-header", *names
    )
    assert " passed" in told
    assert " failed" not in told
