"""Accelerate's save_state and load_state over our iterators: stopped after any batch, exactly the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.torch_bridge import DevicePrefetcher, TorchDataset, TorchLoader

from .lettered import epochs_of, letters, two_sources

accelerate = pytest.importorskip("accelerate", reason="accelerate is not installed: pip install accelerate")

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata 0.11, torch 2.13
]


@pytest.fixture(autouse=True)
def _no_state_of_another_test() -> Iterator[None]:
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


def registered(loader: Any) -> tuple[Any, Any]:
    accelerator = accelerate.Accelerator(cpu=True)
    loader = accelerator.prepare(loader)  # passes by what is no loader of torch's
    accelerator.register_for_checkpointing(loader)
    return accelerator, loader


def as_tensors(batch: Any) -> dict[str, Any]:
    return {"data": batch.data}


def prepared(num_workers: int) -> tuple[Any, Any]:
    from torchdata.stateful_dataloader import StatefulDataLoader

    settings = accelerate.utils.DataLoaderConfiguration(use_stateful_dataloader=True)
    accelerator = accelerate.Accelerator(cpu=True, dataloader_config=settings)
    dataset = TorchDataset(letters(threads=1))
    loader = StatefulDataLoader(dataset, batch_size=None, num_workers=num_workers, collate_fn=as_tensors)
    return accelerator, accelerator.prepare(loader)


WAYS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "registered": lambda: registered(letters()),
    "registered mixture": lambda: registered(two_sources()),
    "registered workers": lambda: registered(TorchLoader(letters(threads=1), 2)),
    "registered prefetcher": lambda: registered(DevicePrefetcher(letters(), "cpu")),
    "prepared": lambda: prepared(0),
    "prepared with workers": lambda: prepared(2),
}
STOPS = [(way, stop) for way in WAYS for stop in (range(1, 14) if way == "registered" else (1, 5, 6, 7, 12))]


def numbers(batch: Any) -> list[int]:
    data = batch["data"] if isinstance(batch, dict) else batch.data
    return [int(row[2]) for row in data]


def epoch_after_epoch(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader


@pytest.mark.parametrize(("way", "stop"), STOPS)
def test_a_state_that_is_saved_after_any_batch_brings_exactly_the_rest(way: str, stop: int, tmp_path: Path) -> None:
    make = two_sources if "mixture" in way else letters
    whole = [number for epoch in epochs_of(make(), 3) for _, number in epoch]
    accelerator, loader = WAYS[way]()
    found: list[int] = []
    for number, batch in enumerate(epoch_after_epoch(loader), 1):
        found += numbers(batch)
        if number == stop:
            accelerator.save_state(tmp_path)
            break
    accelerator, loader = WAYS[way]()
    accelerator.load_state(tmp_path)
    for _ in range(4):
        if len(found) < len(whole):
            found += [number for batch in loader for number in numbers(batch)]
    assert found == whole
