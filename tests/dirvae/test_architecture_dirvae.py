"""What dirvae's files may import, read from their source."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from pathlib import Path

import pytest

import dirvae

ROOT = Path(dirvae.__file__).parent
ALLOWED = {
    *("dirvae", "pipelines", "numpy", "torch", "safetensors", "tqdm", "PIL"),
    *("jinja2", "markupsafe", "matplotlib"),  # the report's
    *("starlette", "uvicorn"),  # those of the local pages
    *("swift_f0", "zarr"),  # of extras, imported where they are used
}
MODEL_FILES = [
    *sorted((ROOT / "latents").glob("*.py")),
    *sorted((ROOT / "networks").glob("*.py")),
    *sorted((ROOT / "ddsp").glob("*.py")),
    *(ROOT / name for name in ("autoencoder.py", "losses.py", "metrics.py", "schedules.py")),
]


def imports_of(path: Path) -> set[str]:
    """Modules that a file imports, anywhere in it, by full name."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def test_dirvae_imports_the_standard_library_and_a_handful_of_packages() -> None:
    for path in ROOT.rglob("*.py"):
        tops = {name.split(".")[0] for name in imports_of(path)}
        assert tops <= ALLOWED | sys.stdlib_module_names, path


def test_no_file_of_the_model_knows_the_trainer_the_report_or_the_data() -> None:
    assert len(MODEL_FILES) > 10
    for path in MODEL_FILES:
        for name in imports_of(path):
            upper = (
                "dirvae.training",
                "dirvae.train",
                "dirvae.drawing",
                "dirvae.explore",
                "dirvae.report",
                "pipelines",
            )
            assert not name.startswith(upper), path


def test_latents_and_losses_know_no_network() -> None:
    upper = ("dirvae.networks", "dirvae.autoencoder")
    for path in MODEL_FILES:
        if path.parent.name == "networks" or path.name == "autoencoder.py":
            continue
        assert not any(name.startswith(upper) for name in imports_of(path)), path


@pytest.mark.parametrize("path", MODEL_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_are_sorted_exist_and_are_documented(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    module = importlib.import_module(name)
    assert module.__all__ == sorted(module.__all__)
    assert module.__doc__
    for public in module.__all__:
        value = getattr(module, public)
        is_code = isinstance(value, type) or inspect.isfunction(value)
        assert not is_code or value.__doc__, public
