"""Batches on a device one ahead, and nodes of torchdata: what was handed over is what the state says."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines import ArrayIterator, DataIterator, ExampleError
from pipelines.testing import assert_resumes_exactly
from pipelines.torch_bridge import DevicePrefetcher, torchdata_node

from .lettered import epochs_of, letters, rows

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.fixture(params=["cpu", "stand-in"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The processor; or CUDA's code path, with streams and pinned memory that are not there left out."""
    if request.param == "stand-in":
        monkeypatch.setattr(torch.cuda, "Stream", lambda device: StandIn())
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: StandIn())
        monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
        monkeypatch.setattr(DevicePrefetcher, "_moved", DevicePrefetcher._on_cuda)
    return "cpu"


class StandIn:
    """A stream on which everything is done at once."""

    def record_event(self) -> None:
        return None

    def wait_event(self, event: None) -> None:
        return None


def test_batches_arrive_in_order_as_tensors_with_the_states_they_had(device: str) -> None:
    whole = letters(rank=0, world_size=2, batch_size=3, tail="pad")
    expected = [(batch.keys, batch.state, batch.data, batch.mask) for batch in whole]
    prefetcher = DevicePrefetcher(letters(rank=0, world_size=2, batch_size=3, tail="pad"), device)
    for batch, (keys, state, data, mask) in zip(prefetcher, expected, strict=True):
        assert (batch.keys, batch.state) == (keys, state)
        assert prefetcher.state_dict() == state
        assert isinstance(batch.data, torch.Tensor)
        assert np.array_equal(batch.data.numpy(), data)
        assert batch.mask is None if mask is None else np.array_equal(batch.mask.numpy(), mask)


@pytest.mark.parametrize("stop", range(1, 7))
def test_a_loop_that_is_broken_off_is_gone_on_with(stop: int, device: str) -> None:
    """The batch that is on its way is neither lost nor repeated, in the next loop or in another process."""
    expected = epochs_of(letters(), 2)
    prefetcher = DevicePrefetcher(letters(), device)
    found = rows(itertools.islice(prefetcher, stop))
    moved = letters(threads=1)
    moved.load_state_dict(json.loads(json.dumps(prefetcher.state_dict())))
    rest = rows(prefetcher) + (rows(prefetcher) if stop < 6 else [])
    assert found + rest == expected[0] + expected[1]
    assert found + rows(moved) + (rows(moved) if stop < 6 else []) == expected[0] + expected[1]


def test_a_prefetcher_resumes_exactly_at_every_batch(device: str) -> None:
    def make(**settings: Any) -> DevicePrefetcher:
        return DevicePrefetcher(letters(**settings), device)

    assert assert_resumes_exactly(make, variations=[{"threads": 1}, {"batch_size": 5}], epochs=2, every=2) == 14


@pytest.mark.parametrize("broken_batch", [0, 1, 3])
def test_an_error_behind_the_batch_on_its_way_leaves_the_state_of_what_was_handed_over(
    broken_batch: int, device: str
) -> None:
    expected = rows(letters())
    broken = int(expected[4 * broken_batch + 1][0][1:])
    prefetcher = DevicePrefetcher(letters(broken=(broken,)), device)
    found: list[Any] = []
    with pytest.raises(ExampleError):
        found.extend(row for batch in prefetcher for row in rows([batch]))
    mended = letters()
    mended.load_state_dict(prefetcher.state_dict())
    assert found + rows(mended) == expected


@pytest.mark.gpu
@needs_cuda
def test_on_a_gpu_every_batch_is_whole_when_it_is_handed_over() -> None:
    whole = letters(num=4000, batch_size=256)
    for batch, expected in zip(DevicePrefetcher(letters(num=4000, batch_size=256), "cuda"), whole, strict=True):
        assert batch.data.is_cuda
        assert np.array_equal((batch.data * 2).cpu().numpy(), expected.data * 2)
        assert batch.state == expected.state


@pytest.mark.gpu
@needs_cuda
def test_on_a_gpu_a_broken_loop_is_gone_on_with() -> None:
    prefetcher = DevicePrefetcher(letters(), "cuda")
    found = rows(itertools.islice(prefetcher, 3))
    assert found + rows(prefetcher) == rows(letters())


# torchdata.nodes


def loader_over(iterator: DataIterator, **settings: Any) -> Any:
    from torchdata.nodes import Loader

    return Loader(torchdata_node(iterator), **settings)


def test_a_node_plays_epoch_after_epoch() -> None:
    assert epochs_of(loader_over(letters()), 3) == epochs_of(letters(), 3)


def prefetched(node: Any) -> Any:
    from torchdata.nodes import Prefetcher

    return Prefetcher(node, 3)


@pytest.mark.parametrize("wrap", [lambda node: node, prefetched], ids=["bare", "prefetched"])
@pytest.mark.parametrize("stop", [1, 3, 5, 6])
def test_a_nodes_state_goes_on_in_another_loader(stop: int, wrap: Callable[[Any], Any]) -> None:
    from torchdata.nodes import Loader

    expected = epochs_of(letters(), 3)
    loader = Loader(wrap(torchdata_node(letters())))
    first = iter(loader)
    found = rows(itertools.islice(first, stop))
    state = json.loads(json.dumps(loader.state_dict()))
    other = Loader(wrap(torchdata_node(letters(threads=1))))
    other.load_state_dict(state)
    rest = rows(other) if stop < 6 else []  # at the end of an epoch the next loop is the next epoch
    assert found + rest == expected[0]
    assert epochs_of(other, 2) == expected[1:]


def test_a_node_below_others_resumes_with_them() -> None:
    from torchdata.nodes import Loader, Mapper

    def make() -> Any:
        return Loader(Mapper(torchdata_node(letters()), lambda batch: rows([batch])))

    expected = [row for batch in make() for row in batch]
    loader = make()
    first = iter(loader)
    found = [row for batch in itertools.islice(first, 2) for row in batch]
    other = make()
    other.load_state_dict(loader.state_dict())
    assert found + [row for batch in other for row in batch] == expected


def test_a_node_takes_its_state_also_in_the_second_epoch() -> None:
    expected = epochs_of(letters(), 3)
    loader = loader_over(letters())
    rows(loader)
    second = iter(loader)
    found = rows(itertools.islice(second, 4))
    other = loader_over(letters())
    other.load_state_dict(loader.state_dict())
    assert found + rows(other) == expected[1]
    assert rows(other) == expected[2]


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_complex_arrays_become_complex_tensors(tmp_path: Path, dtype: str) -> None:
    values = (np.arange(10) * (1 + 2j)).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    rows = ArrayIterator(tmp_path / "a.npy", batch_size=10)
    for data in (next(iter(rows)).to("cpu").data, next(iter(DevicePrefetcher(rows, "cpu"))).data):
        assert data.dtype == getattr(torch, dtype)
        assert np.array_equal(data.numpy(), values)


def test_numbers_that_torch_lacks_are_named_with_the_remedy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(10, dtype=np.longdouble))
    with pytest.raises(TypeError, match=r"torch has no type for. Convert it with transform="):
        next(iter(ArrayIterator(tmp_path / "a.npy"))).to("cpu")
