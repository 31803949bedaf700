"""torchdata's StatefulDataLoader around an iterator: saved and restored by itself, exact at every place."""

from __future__ import annotations

import itertools
import pickle
from typing import Any

import pytest

from pipelines import DataIterator, StateError, mix
from pipelines.torch_bridge import TorchDataset

from .lettered import epochs_of, late, letters, rows, two_sources

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata 0.11, torch 2.13
]


def stateful(num_workers: int, **settings: Any) -> Any:
    """A `StatefulDataLoader` over 23 examples in batches of 4."""
    from torchdata.stateful_dataloader import StatefulDataLoader

    iterator = settings.pop("iterator", None) or letters(threads=1)
    return StatefulDataLoader(TorchDataset(iterator), batch_size=None, num_workers=num_workers, **settings)


@pytest.mark.parametrize("num_workers", [0, 1, 3])
@pytest.mark.parametrize("stop", [1, 4, 5, 6])
def test_a_stateful_data_loader_saves_and_goes_on_by_itself(num_workers: int, stop: int) -> None:
    """In mid-epoch, at the batch before the end, and after the last one, when nothing of the epoch is left."""
    expected = epochs_of(letters(), 3)
    loader = stateful(num_workers)
    first = iter(loader)
    found = rows(itertools.islice(first, stop))
    other = stateful(num_workers)
    other.load_state_dict(pickle.loads(pickle.dumps(loader.state_dict())))
    assert found + rows(other) == expected[0]
    assert epochs_of(other, 2) == expected[1:]


@pytest.mark.parametrize("settings", [{}, {"persistent_workers": True}], ids=["anew", "persistent"])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_state_of_a_finished_epoch_begins_the_next_one(num_workers: int, settings: dict[str, Any]) -> None:
    """Neither an empty epoch nor the finished one again."""
    expected = epochs_of(letters(), 4)
    loader = stateful(num_workers, **(settings if num_workers else {}))
    assert rows(loader) == expected[0]
    for number in (1, 2):
        other = stateful(num_workers, **(settings if num_workers else {}))
        other.load_state_dict(pickle.loads(pickle.dumps(loader.state_dict())))
        assert rows(other) == expected[number]
        loader = other
    assert rows(loader) == expected[3]


@pytest.mark.parametrize("settings", [{}, {"persistent_workers": True}], ids=["anew", "persistent"])
def test_a_stateful_loader_plays_another_order_each_epoch(settings: dict[str, Any]) -> None:
    assert epochs_of(stateful(2, **settings), 3) == epochs_of(letters(), 3)


def test_a_stateful_loader_resumes_in_its_second_epoch_and_counts_substitutes_on() -> None:
    def make() -> DataIterator:
        return letters(on_error="substitute", broken=(1, 5, 9, 20), threads=1)

    whole = make()
    batches = [batch for _ in range(2) for batch in whole]
    loader = stateful(1, iterator=make())
    rows(loader)
    second = rows(itertools.islice(loader, 4))
    state = pickle.loads(pickle.dumps(loader.state_dict()))
    other = stateful(1, iterator=make())
    other.load_state_dict(state)
    rest = list(other)
    assert second + rows(rest) == rows(batches[6:])
    assert rest[-1].state == batches[-1].state


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_a_stateful_loader_is_saved_and_restored_before_and_after_every_batch_of_two_epochs(
    num_workers: int,
) -> None:
    """Also where workers were started for an epoch and have not delivered, or were restored and have not."""
    found: list[Any] = []
    loader = stateful(num_workers)
    for _ in range(14):  # 12 batches; restored after the last one of an epoch, a loop finds nothing left of it
        loop = iter(loader)
        found += rows(itertools.islice(loop, 1))
        for _ in range(2):
            state = pickle.loads(pickle.dumps(loader.state_dict()))
            loader = stateful(num_workers)
            loader.load_state_dict(state)
    expected = epochs_of(letters(), 2)
    assert found == expected[0] + expected[1]


@pytest.mark.parametrize("num_workers", [0, 2, 3])
@pytest.mark.parametrize("stop", [0, 1, 2])
def test_a_stateful_loader_is_saved_early_in_its_second_epoch(num_workers: int, stop: int) -> None:
    expected = epochs_of(letters(), 3)
    loader = stateful(num_workers)
    rows(loader)
    found = rows(itertools.islice(iter(loader), stop)) if stop else []
    other = stateful(num_workers)
    other.load_state_dict(pickle.loads(pickle.dumps(loader.state_dict())))
    assert found + rows(other) == expected[1]
    assert rows(other) == expected[2]


@pytest.mark.parametrize(
    "other",
    [
        lambda: letters(batch_size=3, threads=1),
        lambda: letters(rank=0, world_size=2, batch_size=4, tail="pad", threads=1),
    ],
    ids=["batch size", "ranks"],
)
def test_a_stateful_state_is_refused_where_its_count_of_batches_means_something_else(other: Any) -> None:
    """`batch.state` moves to any batch size; a worker's count of batches does not."""
    loader = stateful(0)
    first = iter(loader)
    rows(itertools.islice(first, 2))
    moved = stateful(0, iterator=other())
    moved.load_state_dict(loader.state_dict())
    with pytest.raises(StateError, match=r"batch\.state"):
        rows(moved)


def test_a_stateful_state_is_refused_under_other_weights() -> None:
    loader = stateful(0, iterator=two_sources())
    first = iter(loader)
    rows(itertools.islice(first, 2))
    parts = [letters("a", 13, seed=1), letters("b", 8, seed=2)]
    moved = stateful(0, iterator=mix(parts, [1, 5], batch_size=4, threads=1))
    moved.load_state_dict(loader.state_dict())
    with pytest.raises(StateError, match=r"batch\.state"):
        rows(moved)


def test_a_late_worker_plays_the_same_epoch_as_its_sibling() -> None:
    loader = stateful(2, iterator=letters(num=8, threads=1), worker_init_fn=late)
    assert epochs_of(loader, 3) == epochs_of(letters(num=8), 3)
