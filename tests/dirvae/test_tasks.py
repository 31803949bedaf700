"""A type of one's own is one file and one line: trained, resumed, evaluated and loaded, with flags of its own."""

from __future__ import annotations

import ast
import dataclasses
import json
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dirvae
from dirvae import MLPVAE, load_model
from dirvae.evaluate.__main__ import main as evaluate
from dirvae.evaluate.held_out import HeldOut, mean_example
from dirvae.run.config import RunConfig, read_config
from dirvae.tasks import TASKS, Task, find_task
from dirvae.tasks.data import DataSettings
from dirvae.train import main
from dirvae.training import ConfigError, FitConfig, TrainConfig
from dirvae.training.settings import FREE, Settings
from pipelines import DataIterator, modality

RUN = ["--type", "stamp", "--batch-size", "4", "--device", "cpu", "--threads", "1", "--log-every", "1"]


@dataclass(frozen=True, kw_only=True)
class StampData(DataSettings):
    source: str = field(default="data/stamp", metadata=FREE)
    side: int = 8


@dataclass(frozen=True, kw_only=True)
class StampModel(Settings):
    width: int = 6


def open_stamps(source: Any, settings: StampData, *, is_training: bool = False, **order: Any) -> DataIterator:
    def decode(example: Any, rng: Any) -> np.ndarray:
        pixels = np.frombuffer(example.media[-192:], np.uint8).reshape(8, 8, 3)
        return pixels[: settings.side, : settings.side].transpose(2, 0, 1)

    return DataIterator(source, decode, batch_size=settings.batch_size, threads=1, **order)


class StampReport:
    def make_pictures(self, run: Path, model: Any) -> dict[str, Any]:
        return {"colour": "red"}

    def write(self, run: Path, model: Any, facts: Any, pictures: Any) -> Path:
        (run / "page.txt").write_text(f"side {facts.config['side']}, step {facts.summary['step']}")
        return run / "page.txt"

    def events(self, model: Any) -> list[bytes]:
        return []


STAMP = Task(
    name="stamp",
    data=StampData,
    model=StampModel,
    add_arguments=lambda add: add("--side", "side of the stamps", type=int),
    open_iterator=open_stamps,
    build_model=lambda data, model: MLPVAE((3, data.side, data.side), model_size=3, widths=(model.width,)),
    make_evaluation=lambda data, seed: HeldOut(data.held_out, mean=mean_example(data.training), seed=seed),
    open_report=lambda data, seed: StampReport(),
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with stamps in data/stamp; the type and its modality are registered."""
    module = types.ModuleType("stamps")
    module.STAMP = STAMP  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stamps", module)
    monkeypatch.setitem(TASKS, "stamp", "stamps:STAMP")
    image = modality.find_modality("image")
    monkeypatch.setattr(modality, "_table", {})
    modality.register(dataclasses.replace(image, name="stamp", noun="stamp"))  # the first one that a file fits
    modality.register(image)
    folder = tmp_path / "data" / "stamp"
    folder.mkdir(parents=True)
    for number in range(12):
        (folder / f"{number:02d}.ppm").write_bytes(
            b"P6\n8 8\n255\n" + bytes((number * 17 + i) % 256 for i in range(192))
        )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_type_of_ones_own_is_trained_resumed_evaluated_and_loaded(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*RUN, "--steps", "2", "--side", "4", "--held-out", "0.25"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("runs/stamp: 9 stamps to train on, 3 held out; ")
    assert out.splitlines()[-1] == "report: runs/stamp/page.txt"
    assert Path("runs/stamp/page.txt").read_text() == "side 4, step 2"
    content = json.loads(Path("runs/stamp/config.json").read_text("utf-8"))
    assert (content["type"], content["side"], content["width"]) == ("stamp", 4, 6)
    assert "size" not in content
    assert main(["--resume", "--steps", "3", "--out", "runs/stamp"]) == 0
    assert "runs/stamp: continuing after step 2." in capsys.readouterr().out
    assert main([*RUN, "--resume", "--steps", "4", "--side", "8"]) == 1
    assert "started with other settings (side: 4 → 8)" in capsys.readouterr().err
    assert main(["--type", "image", "--resume", "--out", "runs/stamp"]) == 1
    assert "runs/stamp: is a run of --type stamp, not image" in capsys.readouterr().err
    assert evaluate(["runs/stamp", "--samples", "2"]) == 0
    assert capsys.readouterr().out.startswith("step 3, 3 stamps held out\n")
    assert load_model("runs/stamp").sample(2).shape == (2, 3, 4, 4)


def test_the_help_of_a_type_has_its_flags_and_words_and_not_those_of_another(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for run_type, there, absent in (("stamp", "--side", "--preset"), ("image", "--preset", "--side")):
        with pytest.raises(SystemExit) as ended:
            main(["--type", run_type, "--help"])
        text = capsys.readouterr().out
        assert ended.value.code == 0
        assert there in text
        assert absent not in text
        assert f"{run_type}s per update" in text


def test_settings_of_no_part_are_refused_and_no_name_is_in_two_parts() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown setting 'side' \(did you mean 'size'\?\); the settings are .*batch_size"
    ):
        RunConfig.of("image", {"side": 3})
    for name in TASKS:
        task = find_task(name)
        names = [*FitConfig.names(), *task.data.names(), *task.model.names(), "init_from", "type", "version"]
        assert len(names) == len(set(names))


def test_a_flat_config_and_the_parts_hold_the_same_settings(tmp_path: Path) -> None:
    flat = TrainConfig(steps=7, size=16, grid=2, source="there", init_from="runs/a", free_nats=2.0)
    run = flat.to_run()
    assert (run.fit.steps, run.data.size, run.model.grid, run.init_from) == (7, 16, 2, "runs/a")
    assert TrainConfig(**run.settings()) == flat
    assert TrainConfig().to_json() == RunConfig.of("image", {}).settings()
    (tmp_path / "config.json").write_text(json.dumps({"version": 1, **flat.to_json()}))
    assert read_config(tmp_path) == run
    (tmp_path / "config.json").write_text(json.dumps({"version": 3, **flat.to_json()}))
    with pytest.raises(ConfigError, match="version 3 of settings; this library reads versions up to 2"):
        read_config(tmp_path)


def test_no_file_but_its_own_names_a_type() -> None:
    """So that the next type is one new file and one line in the table."""
    root = Path(dirvae.__file__).parent
    types = {"dirvae.tasks.image", "dirvae.tasks.video"}
    allowed = {"tasks/__init__.py", "tasks/image.py", "tasks/video.py", "run/train_config.py"}
    for path in root.rglob("*.py"):
        name = str(path.relative_to(root))
        imported = {
            node.module or ""
            for node in ast.walk(ast.parse(path.read_text("utf-8")))
            if isinstance(node, ast.ImportFrom)
        }
        assert name in allowed or not types & imported, name
