"""What holds for every test: caches and modalities of its own, no launcher around it, the real files beside it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.modality import modalities, register, unregister

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as for what a shell starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children begin with the default: Ctrl-C reaches them

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


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
