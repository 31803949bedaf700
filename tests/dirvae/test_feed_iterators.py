"""Batches of our iterators in the feed: moved ahead by `DevicePrefetcher`, the same to the bit, the state exact."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dirvae.training import FitConfig, Trainer
from dirvae.training.feed import Feed, to_device
from pipelines import ImageIterator
from pipelines.batching.iteration import BatchIterator
from pipelines.torch_bridge import DevicePrefetcher

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images: two batches of four and one of two."""
    rng = np.random.default_rng(0)
    for number in range(10):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / f"{number}.png")
    return tmp_path


def images(folder: Path) -> ImageIterator:
    return ImageIterator(folder, size=8, batch_size=4, shuffle=True, seed=3, threads=1)


def one_ahead(self: DevicePrefetcher) -> Iterator[Any]:
    """What a GPU does, on the CPU: the iterator is a batch ahead of what was handed over."""
    waiting = None
    for batch in self.batches:
        if waiting is not None:
            yield waiting
        waiting = batch.to("cpu")
    if waiting is not None:
        yield waiting


def test_the_batches_are_those_of_the_iterator_to_the_bit(folder: Path) -> None:
    feed, alone = Feed(images(folder), CPU), images(folder)
    for _ in range(2):
        for batch in alone:
            taken = feed.take(0)
            assert torch.equal(taken.data, to_device(batch.data, CPU))
            assert taken.data.stride() == to_device(batch.data, CPU).stride()
            assert taken.source.keys == batch.keys
            assert feed.state_dict()["iterator"] == batch.state


def test_on_the_cpu_nothing_is_copied_on_the_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, hand_over = [], BatchIterator.hand_over

    def noting(self: BatchIterator, *arguments: Any, **options: Any) -> Any:
        batch = hand_over(self, *arguments, **options)
        made.append(batch.data.__array_interface__["data"][0])
        return batch

    monkeypatch.setattr(BatchIterator, "hand_over", noting)
    feed = Feed(images(folder), CPU)
    addresses = [feed.take(step).source.data.data_ptr() for step in range(3)]
    assert addresses == made


def test_the_state_is_that_of_the_last_batch_taken_not_of_the_one_ahead(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = []
    alone = images(folder)
    for _ in range(3):
        expected += [(batch.keys, batch.state) for batch in alone]
    monkeypatch.setattr(DevicePrefetcher, "_moved", one_ahead)
    for stop in range(len(expected)):
        iterator = images(folder)
        feed = Feed(iterator, CPU)
        taken = [(feed.take(step).source.keys, feed.state_dict()["iterator"]) for step in range(stop)]
        assert taken == expected[:stop]
        state = json.loads(json.dumps(feed.state_dict()))
        feed.close()
        if stop:
            assert iterator.state_dict() == expected[stop - 1][1], "the iterator itself is not ahead any more"
        assert feed.take(stop).source.keys == expected[stop][0], "the same feed continues"
        feed.close()
        again = Feed(images(folder), CPU)
        again.load_state_dict(state)
        assert again.take(stop).source.keys == expected[stop][0], "another feed continues"
        again.close()


def test_a_trainer_leaves_the_iterator_after_the_last_batch_it_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DevicePrefetcher, "_moved", one_ahead)
    iterator, alone = images(folder), images(folder)
    model = nn.Conv2d(3, 1, 3)
    config = FitConfig(steps=2, device="cpu")
    Trainer(model, iterator, loss=lambda model, batch: {"loss": model(batch.data).mean()}, config=config).fit()
    states = [batch.state for batch in alone]
    assert iterator.state_dict() == states[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_batches_and_states_are_the_same(folder: Path) -> None:
    device = torch.device("cuda")
    iterator, alone = images(folder), images(folder)
    feed = Feed(iterator, device)
    for _ in range(3):
        for batch in alone:
            taken = feed.take(0)
            assert taken.source.data.is_cuda
            torch.testing.assert_close(taken.data.cpu(), to_device(batch.data, CPU))
            assert feed.state_dict()["iterator"] == batch.state
    feed.take(0)
    state = feed.state_dict()["iterator"]
    feed.close()
    assert iterator.state_dict() == state
