"""Iterators in worker processes: the same batches for every number of them, and exact wherever one goes on."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, get_worker_info

from pipelines import DataIterator, ExampleError, ImageIterator, ShardError, mix
from pipelines.testing import assert_resumes_exactly, entries
from pipelines.torch_bridge import TorchDataset, TorchLoader

from .lettered import Row, epochs_of, late, letters, rows, spell, two_sources

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),  # torchdata 0.11, torch 2.13
]

Fixture = Callable[..., Any]


def spell_late(example: Any, rng: Any) -> Any:
    """`spell` that takes its time where a worker process decodes."""
    if get_worker_info() is not None:
        time.sleep(0.01)
    return spell(example, rng)


def play(loader: Any, delivered: list[Row]) -> None:
    """One epoch; what came before an error is kept."""
    for batch in loader:
        delivered += rows([batch])


@pytest.mark.parametrize("make", [letters, two_sources])
@pytest.mark.parametrize("num_workers", range(5))
def test_every_number_of_workers_gives_the_same_batches(num_workers: int, make: Callable[..., Any]) -> None:
    whole = make()
    expected = [(entries(batch), batch.state) for _ in range(2) for batch in whole]
    loader = TorchLoader(make(), num_workers)
    assert len(loader) == len(expected) // 2
    found = []
    for _ in range(2):
        for batch in loader:
            found.append((entries(batch), batch.state))
            assert loader.state_dict() == batch.state
            assert isinstance(batch.data, torch.Tensor)
    assert found == expected


@pytest.mark.parametrize("stop", [1, 3, 5, 6])
def test_a_loop_that_is_broken_off_goes_on_with_any_other_number_of_workers(stop: int) -> None:
    expected = epochs_of(letters(), 2)
    for before, after in [(2, 0), (0, 3), (3, 1), (1, 4)]:
        loader = TorchLoader(letters(), before)
        found = rows(itertools.islice(loader, stop))
        other = TorchLoader(letters(threads=1), after)
        other.load_state_dict(json.loads(json.dumps(loader.state_dict())))
        rest = rows(other) + (rows(other) if stop < 6 else [])
        assert found + rest == expected[0] + expected[1]


@pytest.mark.parametrize("make", [letters, two_sources])
def test_workers_threads_and_ranks_change_at_every_few_batches(make: Callable[..., Any]) -> None:
    def build(*, num_workers: int | None = None, **settings: Any) -> Any:
        iterator = make(**settings)
        return iterator if num_workers is None else TorchLoader(iterator, num_workers)

    variations = [
        {"num_workers": 2},
        {"num_workers": 3, "batch_size": 5, "threads": 1},
        {"num_workers": 1, "world_size": 2, "tail": "pad", "batch_size": 3},
    ]
    assert assert_resumes_exactly(build, variations=variations, epochs=2, every=5) == 9


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_persistent_workers_go_on_where_the_loop_was_left(stop: int) -> None:
    expected = epochs_of(letters(num=40), 3)
    loader = TorchLoader(letters(num=40, threads=1), 2, persistent_workers=True)
    found = rows(itertools.islice(loader, stop))
    found += rows(itertools.islice(loader, stop)) + rows(loader)
    assert found == expected[0]
    assert epochs_of(loader, 2) == expected[1:]


@pytest.mark.parametrize("kind", ["ours", "plain"])
def test_a_worker_that_starts_when_its_sibling_has_finished_plays_the_same_epoch(kind: str) -> None:
    """The first worker has made known where the next epoch begins when the second one starts."""
    iterator = letters(num=8, threads=1)
    make = TorchLoader if kind == "ours" else lambda it, num, **settings: raw(num, iterator=it, **settings)
    loader = make(iterator, 2, worker_init_fn=late)
    assert epochs_of(loader, 3) == epochs_of(letters(num=8), 3)


def test_a_worker_that_was_late_for_a_broken_loop_joins_the_next_one_in_step() -> None:
    loader = TorchLoader(letters(num=40, threads=1), 2, persistent_workers=True, worker_init_fn=late)
    found = rows(itertools.islice(loader, 1))  # the second worker has not begun
    assert found + rows(loader) == rows(letters(num=40))


def test_workers_that_run_on_to_the_epochs_end_do_not_carry_the_next_loop_with_them() -> None:
    slow = letters(num=16, threads=1, decode=spell_late)
    loader = TorchLoader(slow, 2, persistent_workers=True, prefetch_factor=6)
    found = rows(itertools.islice(loader, 1))  # the rest is asked for already
    assert found + rows(loader) == rows(letters(num=16))
    assert loader.state_dict()["epoch"] == 1


def test_a_state_that_is_loaded_moves_persistent_workers_too() -> None:
    whole = letters(num=40)
    batches = list(whole)
    loader = TorchLoader(letters(num=40, threads=1), 2, persistent_workers=True)
    for number in (3, 8, 0, 5):
        rows(itertools.islice(loader, 2))
        loader.load_state_dict(batches[number].state)
        assert rows(itertools.islice(loader, 3)) == rows(batches[number + 1 : number + 4])


def test_an_incomplete_rest_is_dropped_alike_by_workers() -> None:
    iterator, loader = letters(tail="drop"), TorchLoader(letters(tail="drop"), 2)
    assert epochs_of(loader, 3) == epochs_of(iterator, 3)
    assert loader.state_dict() == iterator.state_dict()


def test_weights_of_a_mixture_change_between_worker_processes() -> None:
    whole = [row for iterator in (letters("a", 13, seed=1), letters("b", 8, seed=2)) for row in rows(iterator)]
    loader = TorchLoader(two_sources(), 2)
    found = rows(itertools.islice(loader, 2))
    heavier = [letters("a", 13, seed=1), letters("b", 8, seed=2)]
    other = TorchLoader(mix(heavier, [1, 9], batch_size=4, threads=1), 3)
    other.load_state_dict(json.loads(json.dumps(loader.state_dict())))
    found += rows(other) + rows(other)
    for letter, size in (("a", 13), ("b", 8)):
        mine = [row for row in found if row[0][0] == letter][:size]
        assert sorted(mine) == sorted(row for row in whole if row[0][0] == letter)[: len(mine)] or len(mine) < size
        assert len(set(mine)) == len(mine)


# Errors and substitutes


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_an_example_error_reaches_the_main_process_as_itself(num_workers: int) -> None:
    whole = letters(broken=(7,))
    delivered: list[Row] = []
    loader = TorchLoader(letters(broken=(7,)), num_workers)
    with pytest.raises(ExampleError) as caught:
        play(loader, delivered)
    error = caught.value
    assert (error.container, error.key, error.offset, error.reason) == ("a.tar", "a7", 512 * 7, "nothing in it")
    with pytest.raises(ExampleError):
        rows(whole)
    assert loader.state_dict() == whole.state_dict(), "the state before the batch with the error"
    assert len(delivered) == loader.state_dict()["position"]


def test_a_shard_error_of_a_worker_reaches_the_main_process_as_itself(picture_shards: Fixture) -> None:
    folder = picture_shards([8])
    images = ImageIterator(folder, size=8, batch_size=2, threads=1)
    with open(folder / "000.tar", "r+b") as file:
        file.truncate((folder / "000.tar").stat().st_size // 2)
    with pytest.raises(ShardError, match=r"000\.tar: cut off at byte"):
        list(TorchLoader(images, 2))


def test_a_mistake_in_the_users_own_function_keeps_its_kind_and_its_traceback() -> None:
    def decode(example: Any, rng: Any) -> Any:
        raise ZeroDivisionError("in the function of the user")

    with pytest.raises(ZeroDivisionError, match=r"in the function of the user") as caught:
        list(TorchLoader(letters(decode=decode), 2))
    assert "in decode" in str(caught.value) or any("in decode" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
def test_substitutes_are_counted_through_workers(num_workers: int) -> None:
    def make(**settings: Any) -> DataIterator:
        return letters(on_error="substitute", broken=(1, 5, 9, 20), **settings)

    whole = make()
    expected = [(entries(batch), batch.state) for _ in range(2) for batch in whole]
    loader = TorchLoader(make(), num_workers)
    found = [(entries(batch), batch.state) for _ in range(2) for batch in loader]
    assert found == expected
    assert loader.state_dict()["substitutions"] == 8


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_the_budget_of_substitutes_is_that_of_all_workers_together(num_workers: int) -> None:
    broken = tuple(range(0, 40, 4))
    settings: dict[str, Any] = {"num": 40, "on_error": "substitute", "broken": broken, "max_substitutions": 6}
    whole, found = letters(**settings), list[Row]()
    expected: list[Row] = []
    with pytest.raises(ExampleError, match="max_substitutions=6"):
        play(whole, expected)
    loader = TorchLoader(letters(**settings), num_workers)
    with pytest.raises(ExampleError, match="max_substitutions=6"):
        play(loader, found)
    assert found == expected
    assert loader.state_dict() == whole.state_dict()


# torch's own loaders around TorchDataset


def raw(num_workers: int, **settings: Any) -> DataLoader[Any]:
    iterator = settings.pop("iterator", None) or letters(threads=1)
    return DataLoader(TorchDataset(iterator), batch_size=None, num_workers=num_workers, **settings)


@pytest.mark.parametrize("settings", [{}, {"persistent_workers": True}], ids=["anew", "persistent"])
@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_a_plain_data_loader_plays_another_order_each_epoch(num_workers: int, settings: dict[str, Any]) -> None:
    loader = raw(num_workers, **(settings if num_workers else {}))
    assert epochs_of(loader, 3) == epochs_of(letters(), 3)


def test_a_generator_that_is_seeded_alike_before_each_epoch_repeats_none() -> None:
    generator = torch.Generator()
    loader = raw(2, generator=generator)
    found = []
    for _ in range(3):
        generator.manual_seed(0)
        found.append(rows(loader))
    assert found == epochs_of(letters(), 3)


@pytest.mark.parametrize("kind", ["plain", "ours"])
def test_spawned_workers_play_the_same_epochs(kind: str) -> None:
    settings = {"multiprocessing_context": "spawn", "persistent_workers": True}
    loader = raw(1, **settings) if kind == "plain" else TorchLoader(letters(threads=1), 1, **settings)
    assert epochs_of(loader, 2) == epochs_of(letters(), 2)


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_persistent_workers_stay_in_step_after_a_plain_loop_was_broken_off(num_workers: int) -> None:
    """A plain loader cannot know what was consumed; the next loop is the next epoch, whole and in order."""
    loader = raw(num_workers, iterator=letters(num=60, threads=1), persistent_workers=True)
    rows(itertools.islice(loader, 2))
    assert rows(loader) == epochs_of(letters(num=60), 2)[1]


def test_go_to_sends_a_plain_loaders_workers_to_a_state() -> None:
    iterator = letters(threads=1)
    dataset = TorchDataset(iterator)
    loader = DataLoader(dataset, batch_size=None, num_workers=2, persistent_workers=True)
    epochs = [[(rows([batch]), batch.state) for batch in loader] for _ in range(2)]
    dataset.go_to(epochs[0][2][1])
    assert [rows([batch]) for batch in loader] == [row for row, _ in epochs[0][3:]]
    assert [rows([batch]) for batch in loader] == [row for row, _ in epochs[1]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_add_to_one_quarantine_file_each_failure_once(num_workers: int, tmp_path: Path) -> None:
    listing = tmp_path / "quarantine.jsonl"
    broken = (1, 5, 9, 20)
    rows(TorchLoader(letters(on_error="substitute", broken=broken, threads=1, quarantine=listing), num_workers))
    found = [json.loads(line)["key"] for line in listing.read_text().splitlines()]
    assert sorted(found) == sorted(f"a{number}" for number in broken)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_workers_made_ahead_of_a_loop_that_was_broken_off_is_listed_once(
    num_workers: int, tmp_path: Path
) -> None:
    listing = tmp_path / "quarantine.jsonl"
    broken = (0, 4, 8, 12, 16, 20)
    settings: dict[str, Any] = {"on_error": "substitute", "broken": broken, "threads": 1, "shuffle": False}
    loader = TorchLoader(letters(quarantine=listing, **settings), num_workers)
    for _ in loader:
        break
    found = [json.loads(line)["key"] for line in listing.read_text().splitlines()]
    assert found == ["a0"], "the batches ahead were not handed over"
    rows(loader)
    found = [json.loads(line)["key"] for line in listing.read_text().splitlines()]
    assert found == [f"a{number}" for number in broken]


# Misuse


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_iterator_that_is_given_to_a_data_loader_says_what_to_give_it_instead(num_workers: int) -> None:
    with pytest.raises(TypeError, match=r"letters a: batches are iterated over, not indexed\. .*TorchDataset"):
        list(DataLoader(letters(), num_workers=num_workers))  # type: ignore[arg-type]


# Several loops


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_second_loop_over_a_loader_ends_the_first(num_workers: int) -> None:
    loader = TorchLoader(letters(threads=1), num_workers)
    first = iter(loader)
    found = rows([next(first)])
    second = iter(loader)
    found += rows([next(second)])
    with pytest.raises(RuntimeError, match="ended by another"):
        next(first)
    assert found + rows(second) == rows(letters())


def test_a_state_that_is_loaded_ends_a_loop_over_a_loader() -> None:
    loader = TorchLoader(letters(), 0)
    loop = iter(loader)
    state = next(loop).state
    next(loop)
    loader.load_state_dict(state)
    with pytest.raises(RuntimeError, match="load_state_dict"):
        next(loop)
    assert loader.state_dict() == state
