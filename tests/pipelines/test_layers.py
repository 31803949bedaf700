"""The layers of `pipelines`: imports go to lower layers only, and nowhere in a circle."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipelines
from tests.layers import circles, import_edges, upward

ROOT = Path(pipelines.__file__).parent
LAYERS = (
    ("child_process", "errors", "lazy_names", "shown_names", "stopping", "terminal", "version"),
    ("modality", "tensors", "order", "boxes"),
    ("storage",),
    ("sources",),
    ("decode",),
    ("batching", "samples"),
    ("sharding",),
    ("iterators",),
    ("torch_bridge", "verify_resume", "show_batch", "testing", "make_shards", "check_shards"),
)
"""Lowest first. A file may import from its own layer and from those before it."""


def test_imports_go_to_lower_layers_only() -> None:
    assert upward(import_edges(ROOT), LAYERS) == []


def test_no_import_goes_round_in_a_circle() -> None:
    assert circles(import_edges(ROOT)) == []


def test_every_layer_is_there() -> None:
    there = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert there - {"__init__"} == {name for names in LAYERS for name in names}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"low.py": "from .high.part import name"}, ["low.py imports high/part.py"]),
        ({"low.py": "def f():\n    from .high import name"}, ["low.py imports high/__init__.py"]),
        ({"low.py": "from . import high"}, ["low.py imports high/__init__.py"]),
        ({"low.py": "import toy.high.part"}, ["low.py imports high/part.py"]),
        ({"high/part.py": "from ..low import name"}, []),
    ],
)
def test_an_import_upward_is_found(tmp_path: Path, files: dict[str, str], expected: list[str]) -> None:
    root = package(tmp_path, files)
    assert upward(import_edges(root), (("low",), ("high",))) == expected


@pytest.mark.parametrize(
    "files",
    [
        {"high/part.py": "from .other import name", "high/other.py": "from .part import name"},
        {"high/part.py": "from ..low import name", "low.py": "from .high.other import name", "high/other.py": ""},
        {"a/x.py": "from ..b.y import name", "b/z.py": "from ..a.w import name", "b/y.py": "", "a/w.py": ""},
    ],
    ids=["of files", "of a file and a folder", "of folders"],
)
def test_a_circle_is_found(tmp_path: Path, files: dict[str, str]) -> None:
    assert circles(import_edges(package(tmp_path, files)))


def package(tmp_path: Path, files: dict[str, str]) -> Path:
    root = tmp_path / "toy"
    for name, content in {"low.py": "", "high/part.py": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").write_text("")
    return root
