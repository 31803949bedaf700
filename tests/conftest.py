"""What holds for every test: caches and modalities of its own, no launcher around it, the real files beside it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.modality import modalities, register, unregister

if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):  # torch is imported later, in children too
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what a shell starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children begin with the default: Ctrl-C reaches them

WHOLE_FILE_IS_HEAVY = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.heavy", re.MULTILINE)
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    """A process of pytest-xdist has a second thread, so newer Pythons warn of every fork in it."""
    if hasattr(config, "workerinput"):
        config.addinivalue_line("filterwarnings", "ignore:This process .* is multi-threaded:DeprecationWarning")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files without a test that was asked for are not imported: their packages are slow to import, or absent."""
    wanted = config.option.markexpr.split(" and ")[0]
    if collection_path.suffix != ".py" or wanted not in ("gpu", "heavy", "not heavy"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    is_unwanted = WHOLE_FILE_IS_HEAVY.search(text) if wanted == "not heavy" else f"mark.{wanted}" not in text
    return True if is_unwanted else None


@pytest.fixture(autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Indexes of foreign tars go to a fresh folder, and no rank is inherited."""
    monkeypatch.setenv("DIRVAE_CACHE", str(tmp_path_factory.mktemp("cache")))
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _own_table_of_modalities() -> Iterator[None]:
    """What a test, or an example of a guide, registers is removed after it."""
    before = modalities()
    yield
    for modality in modalities():
        unregister(modality.name)
    for modality in before:
        register(modality)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real files that lies beside the checkout; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"{SHARED_DATA} is absent: it holds real files that are not part of the project")
    return SHARED_DATA
