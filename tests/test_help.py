"""`--help` of every command: at once, because nothing heavy is imported before arguments are parsed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dirvae import choices
from dirvae.ddsp.pitch import tracking
from dirvae.latents import LATENTS
from dirvae.losses import LIKELIHOODS
from dirvae.networks import audio, residual
from dirvae.run.train_flags import train_parser
from dirvae.tasks import TASKS, find_task
from pipelines.modality import modalities
from tests.absent import run, without

ROOT = Path(__file__).resolve().parents[1]
MODULES = (
    "dirvae.evaluate",
    "dirvae.f0",
    "dirvae.resynthesize",
    "dirvae.train",
    "pipelines.check_shards",
    "pipelines.make_shards",
    "pipelines.samples",
    "pipelines.show_batch",
    "pipelines.verify_resume",
)
TOOLS = sorted(path.name for path in (ROOT / "tools").glob("*.py"))
HEAVY = ("torch", "numpy", "PIL", "matplotlib", "scipy", "safetensors")
SHOW = """
import runpy, sys
sys.argv = ["command", *{arguments!r}]
try:
    runpy.{call}({target!r}, run_name="__main__")
except SystemExit as ended:
    assert not ended.code, ended.code
print("loaded:", sorted({heavy!r} & sys.modules.keys()))
"""


def loaded_after_help(call: str, target: str, *arguments: str) -> str:
    code = SHOW.format(call=call, target=target, arguments=[*arguments, "--help"], heavy=set(HEAVY))
    return run(code, cwd=ROOT).splitlines()[-1]


@pytest.mark.parametrize("module", MODULES)
def test_help_of_a_module_loads_nothing_heavy(module: str) -> None:
    assert loaded_after_help("run_module", module) == "loaded: []"


@pytest.mark.parametrize("tool", TOOLS)
def test_help_of_a_tool_loads_nothing_heavy(tool: str) -> None:
    assert loaded_after_help("run_path", str(ROOT / "tools" / tool)) == "loaded: []"


@pytest.mark.parametrize("run_type", ["audio", "video"])
def test_help_of_another_type_loads_nothing_heavy(run_type: str) -> None:
    assert loaded_after_help("run_module", "dirvae.train", "--type", run_type) == "loaded: []"


def test_the_witness_sees_what_is_loaded() -> None:
    code = f"import sys, numpy\nprint(sorted({set(HEAVY)!r} & sys.modules.keys()))"
    assert "numpy" in run(code)


@pytest.mark.parametrize(
    ("module", "arguments", "extras"),
    [
        ("dirvae.train", [], "train"),
        ("dirvae.f0", ["a.wav"], "train,audio"),
        ("dirvae.resynthesize", ["runs/a", "a.wav", "b.wav"], "train,audio"),
    ],
)
def test_without_torch_a_command_says_in_one_sentence_what_to_install(
    module: str, arguments: list[str], extras: str, tmp_path: Path
) -> None:
    code = f"""{without("torch")}
import runpy
sys.argv = ["command", *{arguments!r}]
runpy.run_module({module!r}, run_name="__main__")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode in (1, 2)
    said = done.stderr.splitlines()
    assert len(said) == 1, done.stderr
    assert said[0].endswith(f"torch is not installed, and this command needs it: pip install 'dirvae[{extras}]'.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("run_type", sorted(TASKS))
def test_every_flag_that_takes_a_value_has_a_unit_or_choices_and_a_default(run_type: str) -> None:
    parser = train_parser(find_task(run_type))
    titles = [group.title for group in parser._action_groups if group._group_actions]
    assert titles[1:] == ["data", "model", "objective", "optimiser and length of the training", "run and output"]
    for action in parser._actions:
        if action.nargs == 0:
            continue
        name = action.option_strings[0]
        assert action.choices or action.metavar, f"{name} says no unit"
        assert "default" in str(action.help) or name == "--shards", f"{name} says no default"


def test_names_that_are_known_before_torch_are_those_of_the_tables() -> None:
    assert sorted(LATENTS) == list(choices.LATENT_NAMES)
    assert sorted(LIKELIHOODS) == list(choices.LIKELIHOOD_NAMES)
    assert tuple(residual.PRESETS) == choices.VISUAL_PRESETS
    assert tuple(audio.PRESETS) == choices.AUDIO_PRESETS
    assert (tracking.LOWEST_HZ, tracking.HIGHEST_HZ) == (choices.LOWEST_HZ, choices.HIGHEST_HZ)


def test_a_latent_that_was_added_to_the_table_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LATENTS, "mine", LATENTS["gaussian"])
    assert choices.is_latent("mine")
    assert not choices.is_latent("yours")
    assert not choices.is_likelihood(["gaussian"])


@pytest.mark.parametrize("modality", [one for one in modalities() if one.make_samples], ids=lambda one: one.name)
def test_defaults_of_samples_are_those_of_the_function(modality: object) -> None:
    from inspect import signature

    make = modality.part("make_samples")  # type: ignore[attr-defined]
    parameters = {name: entry.default for name, entry in signature(make).parameters.items()}
    known = {name: parameters[name] for name in ("num", "size") if name in parameters}
    assert known == modality.sample_defaults  # type: ignore[attr-defined]


def test_unknown_flags_are_refused_with_the_nearest_and_underscores_are_dashes() -> None:
    code = "from dirvae.train import main; main(['--stepz', '3'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert re.search(r"unrecognized arguments: --stepz 3; did you mean --steps\?", done.stderr)
