"""The layers of `dirvae`: imports go to lower layers only, and nowhere in a circle."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import dirvae
from tests.layers import Edge, circles, import_edges, upward

ROOT = Path(dirvae.__file__).parent
LAYERS = (
    (
        *(
            "choices",
            "command_line",
            "example_draws",
            "float64",
            "gamma_draws",
            "losses",
            "metrics",
            "nearest",
            "noise",
        ),
        *("noise", "recordings", "schedules", "seeding", "splitmix", "transfer"),
    ),
    ("latents", "ddsp"),
    ("autoencoder", "level_weights", "levels"),
    ("networks",),
    ("training",),
    ("evaluate", "drawing", "encoding", "web"),
    ("explore",),
    ("report",),
    ("tasks",),
    ("run",),
    ("explorer",),
    ("train", "encode", "evaluate_command", "explore_command", "f0", "report_command", "resynthesize"),
)
"""Lowest first. A file may import from its own layer and from those before it."""

COMMANDS = {
    "evaluate/__main__.py": "evaluate_command.py",
    "explore/__main__.py": "explore_command.py",
    "report/__main__.py": "report_command.py",
}
"""Command lines in the folder of a lower layer, as `python -m` wants them: they are of the highest."""

FOREIGN_WORDS = ("image", "picture", "audio", "video", "argparse", "report", "page", "run_folder")


def dirvae_edges() -> set[Edge]:
    """The imports of dirvae, command lines by the names in `COMMANDS`."""
    return {(COMMANDS.get(a, a), COMMANDS.get(b, b)) for a, b in import_edges(ROOT)}


def test_imports_go_to_lower_layers_only() -> None:
    assert upward(dirvae_edges(), LAYERS) == []


def test_no_import_goes_round_in_a_circle() -> None:
    assert circles(dirvae_edges()) == []


def test_every_layer_is_there() -> None:
    there = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    commands = {name.removesuffix(".py") for name in COMMANDS.values()}
    assert there - {"__init__"} | commands == {name for names in LAYERS for name in names}
    assert all((ROOT / path).is_file() for path in COMMANDS)


def test_an_import_upward_would_be_found() -> None:
    wrong = {
        *dirvae_edges(),
        ("training/trainer.py", "report/image_report.py"),
        ("report/image_report.py", "train.py"),
    }
    assert upward(wrong, LAYERS) == [
        "report/image_report.py imports train.py",
        "training/trainer.py imports report/image_report.py",
    ]
    assert circles({*dirvae_edges(), ("training/trainer.py", "report/gallery.py")})


@pytest.mark.parametrize("path", sorted((ROOT / "training").glob("*.py")), ids=lambda path: path.name)
def test_training_names_no_modality_no_page_and_no_command_line(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    names |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    found = [(word, name) for name in names for word in FOREIGN_WORDS if word in name.lower()]
    assert found == []
