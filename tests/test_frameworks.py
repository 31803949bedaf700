"""The guide to frameworks: its blocks run as they are, where the framework is installed."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines import ImageIterator, make_shards
from pipelines.samples.scenes import make_sample_data

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "frameworks.md").read_text(encoding="utf-8")
FRAMEWORKS = ["jax", "lightning", "accelerate"]
NUM = 40

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning"),  # Lightning 2.6, torch 2.13
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* is not empty:UserWarning"),
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Shards of sample pictures in shards/image, as the working directory."""
    make_sample_data(tmp_path / "data" / "image", num=NUM, size=32)
    make_shards(tmp_path / "data" / "image", tmp_path / "shards" / "image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The source and the keys of every batch that any iterator has handed over, in order."""
    found: list[list[str]] = []
    hand_over = ImageIterator.hand_over

    def noting(self: ImageIterator, job: Any, **settings: Any) -> Any:
        batch = hand_over(self, job, **settings)
        found.append([self.source.name, *batch.keys])
        return batch

    monkeypatch.setattr(ImageIterator, "hand_over", noting)
    return found


def run_block(framework: str) -> dict[str, Any]:
    """Run the guide's block for a framework; what it defined."""
    if framework and importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed: pip install {framework}")
    fence = f"python {framework}".strip()
    (block,) = re.findall(rf"```{fence}\n(.*?)```", GUIDE, flags=re.DOTALL)
    namespace: dict[str, Any] = {"__name__": "guide"}
    exec(compile(block, f"frameworks.md, {fence}", "exec"), namespace)
    return namespace


def epochs_of(source: Any, num: int, **settings: Any) -> list[str]:
    images = ImageIterator(source, size=32, batch_size=8, shuffle=True, **settings)
    return [key for _ in range(num) for batch in images for key in batch.keys]


def keys_of(batches: list[list[str]]) -> list[str]:
    return [key for _, *keys in batches for key in keys]


def test_every_framework_of_the_guide_is_run() -> None:
    assert set(re.findall(r"```python ?(\w*)\n", GUIDE)) == {"", *FRAMEWORKS}


def test_the_loop_without_a_framework_goes_on_wherever_it_is_stopped(
    project: Path, played: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace, moves = Path.replace, iter(range(1000))

    def crash_at_every_third(self: Path, target: Path) -> Any:
        replace(self, target)
        if next(moves) % 3 == 2:
            raise InterruptedError
        return target

    monkeypatch.setattr(Path, "replace", crash_at_every_third)
    for _ in range(10):
        try:
            run_block("")
            break
        except InterruptedError:
            continue
    assert keys_of(played) == epochs_of("shards/image", 2)
    assert json.loads(Path("mean_colour.json").read_text())["seen"] == 2 * NUM


def test_the_jax_loop_trains_on_every_whole_batch(project: Path, played: list[list[str]]) -> None:
    namespace = run_block("jax")
    assert keys_of(played) == epochs_of("shards/image", 1, tail="drop")
    assert namespace["state"]["epoch"] == 1


@pytest.mark.slow  # importing lightning takes some seconds
def test_lightning_stopped_in_mid_epoch_delivers_exactly_the_rest(project: Path, played: list[list[str]]) -> None:
    namespace = run_block("lightning")
    training, held_out = namespace["training"], namespace["held_out"]
    trained = [keys for keys in played if keys[0] == training.name]
    assert keys_of(trained) == epochs_of(training, 3)
    validated = keys_of([keys for keys in played if keys[0] == held_out.name])
    whole = [key for batch in ImageIterator(held_out, size=32, batch_size=8) for key in batch.keys]
    assert validated[: 2 * len(whole)] == whole * 2, "the sanity check, and the first epoch's"


def test_accelerate_stopped_in_mid_epoch_delivers_exactly_the_rest(project: Path, played: list[list[str]]) -> None:
    run_block("accelerate")
    assert keys_of(played) == epochs_of("shards/image", 3)
