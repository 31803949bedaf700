"""The table of explorations: every one makes a sheet or a chart of any run, or says in one sentence why it cannot."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import dirvae
from dirvae.explore import EXPLORATIONS, Chart, ExplorationError, Sheet, arithmetic, interpolate, traverse

HOSTILE = "<img src=x>\x1b[31m"
DOCS = Path(dirvae.__file__).parents[1] / "docs" / "explore.md"


@dataclass(frozen=True)
class Fake:
    """Latents without a run."""

    keys: tuple[str, ...]
    latents: Tensor
    concentrations: Tensor | None
    on_simplex: bool
    context_name: str = ""
    name: str = "runs/fake"

    @property
    def model_size(self) -> int:
        return self.latents.shape[1]

    @property
    def typical(self) -> int:
        return len(self.keys) - 1


def fake(grid: tuple[int, ...] = (), *, kind: str = "dirichlet", context: str = "") -> Fake:
    """Twelve examples with five components."""
    num, size = 12, 5
    rng = np.random.default_rng(4)
    keys = (HOSTILE, *(f"scene-{number:03}" for number in range(1, num)))
    if kind == "gaussian":
        return Fake(keys, torch.from_numpy(rng.normal(size=(num, size, *grid))).float(), None, False, context)
    alphas = torch.from_numpy(rng.gamma(0.7, 5.0, (num, size, *grid)) + 1e-3).float()
    latents = alphas / alphas.sum(1, keepdim=True)
    return Fake(keys, latents, alphas if kind == "dirichlet" else None, True, context)


@pytest.mark.parametrize("context", ["", "map"])
@pytest.mark.parametrize("kind", ["dirichlet", "simplex", "gaussian"])
@pytest.mark.parametrize("grid", [(), (2, 3)])
@pytest.mark.parametrize("name", EXPLORATIONS)
def test_every_exploration_makes_something_whole_of_every_run_or_refuses_in_a_sentence(name, grid, kind, context):
    run, exploration = fake(grid=grid, kind=kind, context=context), EXPLORATIONS[name]
    if exploration.needs == "simplex" and not run.on_simplex:
        with pytest.raises(
            ExplorationError, match=r"needs shares .* runs/fake are not on the simplex\. Name a run"
        ):
            exploration.run(run)
        return
    made = exploration.run(run)
    assert made.caption.endswith(".")
    assert "\x1b" not in made.caption
    if isinstance(made, Chart):
        assert made.svg.startswith("<svg")
        assert all(torch.isfinite(values.double()).all() for values in made.arrays.values())
        return
    check_whole(made, run)


@pytest.mark.parametrize("name", ["traverse", "mask_components", "neighbours"])
def test_without_a_key_the_typical_example_of_the_run_is_shown(name):
    run = fake(context="map")
    sheet = EXPLORATIONS[name].run(run)
    assert run.keys[-1] in sheet.caption
    assert run.typical in (sheet.contexts or sheet.examples.tolist())


def check_whole(sheet: Sheet, run: Fake) -> None:
    """A sheet whose parts fit each other, of latents that could be those of the run."""
    assert (sheet.latents is None) != (sheet.examples is None)
    assert sheet.rows * sheet.columns >= sheet.num_cells > (sheet.rows - 1) * sheet.columns
    assert len(sheet.row_labels) in (0, sheet.rows)
    assert len(sheet.column_labels) in (0, sheet.columns)
    assert len(sheet.cell_labels) in (0, sheet.num_cells)
    assert len(sheet.contexts) in (0, sheet.rows)
    assert not any("\x1b" in label for label in (*sheet.row_labels, *sheet.column_labels, *sheet.cell_labels))
    if sheet.latents is not None:
        assert sheet.latents.dtype == torch.float32
        assert sheet.latents.shape[1:] == run.latents.shape[1:]
        assert torch.isfinite(sheet.latents).all()
        if run.on_simplex:
            assert (sheet.latents >= 0).all()
            torch.testing.assert_close(
                sheet.latents.sum(1), torch.ones_like(sheet.latents[:, 0]), rtol=0, atol=1e-6
            )


def test_a_sheet_holds_what_the_pure_function_makes():
    run = fake()
    sheet = EXPLORATIONS["traverse"].run(run, key="scene-003", components=(4,), num=6)
    most = float(torch.quantile(run.latents[:, 4], 0.95))
    expected = traverse(run.latents[3], 4, 6, least=0.0, most=most, on_simplex=True)
    torch.testing.assert_close(sheet.latents, expected)
    assert sheet.contexts == (3,)
    line = EXPLORATIONS["interpolate"].run(run, keys=("scene-002", "scene-005"), kind="concentration", num=4)
    torch.testing.assert_close(
        line.latents, interpolate(run.concentrations[2], run.concentrations[5], 4, kind="concentration")
    )
    added = EXPLORATIONS["arithmetic"].run(run, keys=("scene-001", "scene-002", "scene-003"))
    result, clamped = arithmetic(run.concentrations[[1, 2, 3]], (1, 1, -1), smallest=1e-3)
    torch.testing.assert_close(added.latents[-1], result)
    assert (f"{clamped} concentration value" in added.caption) == (clamped > 0)
    assert added.column_labels == ("scene-001", "+ scene-002", "- scene-003", "=")


def test_a_path_of_a_run_with_maps_is_decoded_with_the_map_of_either_end():
    sheet = EXPLORATIONS["interpolate"].run(fake(context="map"), keys=("scene-002", "scene-005"), num=3)
    assert (sheet.rows, sheet.contexts) == (2, (2, 5))
    assert sheet.row_labels == ("map of scene-002", "map of scene-005")
    torch.testing.assert_close(sheet.latents[:3], sheet.latents[3:])


def test_clamped_zeros_are_said():
    run = fake()
    run.latents[2] = torch.eye(5)[0]
    sheet = EXPLORATIONS["interpolate"].run(run, keys=("scene-002", "scene-003"), kind="aitchison")
    assert "4 share values were below 1e-06 and raised to it." in sheet.caption


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        (
            "traverse",
            {"key": "scene-0003"},
            r"no example has the key 'scene-0003' among the 12 .*nearest are 'scene-003'",
        ),
        ("traverse", {"components": (9,)}, r"there is no component 9; runs/fake has 0 to 4\."),
        ("traverse", {"components": (-1,)}, r"there is no component -1"),
        ("traverse", {"num": 1}, r"num is 1; it must be 2 to 64\."),
        ("traverse", {"num": True}, r"num is 'True'; it must be a whole number\."),
        ("traverse", {"speed": 1}, r"traverse has no parameter 'speed'; it has components, key, num\."),
        ("interpolate", {"keys": ("scene-001",)}, r"keys has 1 values; it must have 2\."),
        ("interpolate", {"keys": "scene-001"}, r"keys is 'scene-001'; it must be keys of examples\."),
        ("interpolate", {"kind": "bent"}, r"kind is 'bent'; it must be one of latent, concentration, aitchison\."),
        ("arithmetic", {"keys": ("scene-001", "scene-002"), "weights": (1, 2, 3)}, r"3 weights for 2 keys"),
        ("arithmetic", {"weights": (1, float("nan"), 1)}, r"weights is .* it must be finite numbers\."),
        ("archetypes", {"components": (1,), "span": "edges"}, r"edges span 2 components, but 1 are given\."),
        ("barycentric", {"components": (1, 2)}, r"components has 2 values; it must have 3 to 6\."),
        ("barycentric", {"components": (1, 2, 1)}, r"3 to 6 corners, but there are 2\."),
    ],
)
def test_a_mistake_is_refused_in_one_sentence(name, values, sentence):
    with pytest.raises(ExplorationError, match=sentence) as caught:
        EXPLORATIONS[name].run(fake(), **values)
    assert "\n" not in str(caught.value)


def test_what_needs_concentrations_or_shares_is_refused_without_them():
    with pytest.raises(ExplorationError, match="needs Dirichlet posteriors"):
        EXPLORATIONS["interpolate"].run(fake(kind="simplex"), kind="concentration")
    with pytest.raises(ExplorationError, match="an Aitchison path needs shares"):
        EXPLORATIONS["interpolate"].run(fake(kind="gaussian"), kind="aitchison")
    with pytest.raises(ExplorationError, match="Aitchison's distance needs shares"):
        EXPLORATIONS["neighbours"].run(fake(kind="gaussian"), distance="aitchison")


def test_a_name_of_a_parameter_means_one_kind_everywhere():
    kinds: dict[str, set[str]] = {}
    for exploration in EXPLORATIONS.values():
        for parameter in exploration.parameters:
            kinds.setdefault(parameter.name, set()).add(parameter.kind)
            assert parameter.checked(parameter.default) == parameter.default
    assert all(len(found) == 1 for found in kinds.values()), kinds


def test_the_table_is_there_without_torch():
    program = "import sys, dirvae.explore.__main__ as m; m.make_parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_documentation_names_every_exploration_its_flag_and_its_parameters():
    rows = [line for line in DOCS.read_text("utf-8").splitlines() if line.startswith("| `--")]
    found = {}
    for row in rows:
        flag, parameters, meaning = (cell.strip() for cell in row.strip("|").split("|"))
        found[flag.strip("`").split()[0]] = (
            set(parameters.replace("`", "").replace(",", " ").split()) - {"none"},
            meaning,
        )
    expected = {f"--{name.replace('_', '-')}": one for name, one in EXPLORATIONS.items()}
    assert list(found) == list(expected)
    for flag, exploration in expected.items():
        assert found[flag][0] == {parameter.name for parameter in exploration.parameters}, flag
        assert found[flag][1] == exploration.summary, flag


def test_a_sheet_has_no_more_faces_than_can_be_looked_at():
    latents = torch.full((4, 32), 1 / 32)
    run = Fake(("a", "b", "c", "d"), latents, None, True, "")
    assert len(EXPLORATIONS["archetypes"].run(run, span="edges", components=tuple(range(32))).latents) == 496
    with pytest.raises(ExplorationError, match=r"32 components span 4,960 triangles, .* Name fewer"):
        EXPLORATIONS["archetypes"].run(run, span="triangles", components=tuple(range(32)))
