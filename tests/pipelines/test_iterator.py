"""Iterating: every example once an epoch, in an order that threads cannot change, and nothing left behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipelines import Batch, DataIterator, Example, ImageIterator

Fixture = Callable[..., Any]


@pytest.fixture
def make(numbers: Fixture, decode_number: Fixture) -> Fixture:
    def build(num: int = 23, *, broken: Any = (), shards: Any = (), **settings: Any) -> DataIterator:
        settings = {"batch_size": 4, "shuffle": True, "threads": 2, **settings}
        return DataIterator(numbers(num, broken, shards), decode_number, **settings)

    return build


def played(batches: Any) -> list[int]:
    return [int(number) for batch in batches for number in batch.data[:, 0]]


def live_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("pipelines")]


def open_files() -> set[str]:
    folder = Path("/proc/self/fd")
    return {str(path.readlink()) for path in folder.iterdir() if path.is_symlink()} if folder.exists() else set()


def test_every_example_comes_once_an_epoch_and_each_epoch_has_another_order(make: Fixture) -> None:
    numbers = make()
    epochs = [played(numbers) for _ in range(4)]
    assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert numbers.epoch == 4
    assert [played(again) for again in [make()] * 2] == epochs[:2]


def test_another_seed_is_another_order_and_no_shuffle_the_stored_one(make: Fixture) -> None:
    assert played(make(seed=1)) != played(make(seed=2))
    assert played(make(shuffle=False)) == list(range(23))


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 8])
def test_any_number_of_threads_gives_the_same_batches(threads: int, picture_folder: Fixture) -> None:
    settings: dict[str, Any] = {"size": 8, "batch_size": 9, "shuffle": True, "crop": "random", "flip": True}
    folder = picture_folder(40)
    one, many = ImageIterator(folder, threads=1, **settings), ImageIterator(folder, threads=threads, **settings)
    for _ in range(2):
        for a, b in zip(one, many, strict=True):
            assert a.keys == b.keys
            assert np.array_equal(a.data, b.data)
            assert np.array_equal(a.transform, b.transform)
            assert a.state == b.state


def test_slow_threads_do_not_change_the_order(numbers: Fixture) -> None:
    def decode(example: Example, rng: np.random.Generator) -> NDArray[np.int64]:
        threading.Event().wait((int(example.media) * 7919 % 13) / 2000)
        return np.array([int(example.media)])

    orders = [
        played(DataIterator(numbers(60), decode, batch_size=8, shuffle=True, threads=threads)) for threads in (1, 7)
    ]
    assert orders[0] == orders[1]


def test_a_batch_is_what_it_says(picture_shards: Fixture) -> None:
    images = ImageIterator(picture_shards([5, 4]), size=(8, 10), batch_size=4, fields=("cls", "txt"))
    with pytest.warns(UserWarning, match=r"no example of the first batch has a field 'txt'") as warned:
        batches = list(images)
    assert len(warned) == 1, "one for the iterator, not one for each batch"
    assert [len(batch) for batch in batches] == [4, 4, 1]
    first = batches[0]
    assert first.data.shape == (4, 3, 8, 10)
    assert first.data.dtype == np.uint8
    assert first.data.transpose(0, 2, 3, 1).flags.c_contiguous
    assert first.keys == ["0000", "0001", "0002", "0003"]
    assert first.indices.tolist() == [0, 1, 2, 3]
    assert first.fields["cls"].tolist() == [0, 1, 2, 3]
    assert first.fields["txt"] == [None] * 4
    assert first.transform.shape == (4, 2, 3)
    assert (first.mask, first.lengths, first.substituted) == (None, None, None)
    assert first.state == {**batches[1].state, "position": 4}
    assert repr(first).startswith("Batch(data=(4, 3, 8, 10) uint8")
    assert batches[2].data.shape == (1, 3, 8, 10)


def test_size_none_gives_each_picture_alone_in_its_own_size(tmp_path: Path, picture_bytes: Fixture) -> None:
    for number, shape in enumerate([(5, 9), (7, 3), (1, 1)]):
        (tmp_path / f"{number}.png").write_bytes(picture_bytes(number, *shape))
    batches = list(ImageIterator(tmp_path, size=None))
    assert [batch.data.shape for batch in batches] == [(1, 3, 5, 9), (1, 3, 7, 3), (1, 3, 1, 1)]
    for number, batch in enumerate(batches):
        expected = np.asarray(Image.open(tmp_path / f"{number}.png"))
        assert np.array_equal(batch.data[0].transpose(1, 2, 0), expected)
    with pytest.raises(ValueError, match="batch_size must be 1"):
        ImageIterator(tmp_path, size=None, batch_size=2)


def test_batches_own_their_memory(make: Fixture, picture_folder: Fixture) -> None:
    for iterator in (make(30), ImageIterator(picture_folder(20), size=8, batch_size=4, threads=3)):
        kept: list[tuple[Batch, Any, list[str]]] = []
        for batch in iterator:
            assert all(not np.shares_memory(batch.data, other.data) for other, _, _ in kept)
            kept.append((batch, batch.data.copy(), list(batch.keys)))
            assert batch.data.flags.writeable
        iterator.close()
        assert all(np.array_equal(batch.data, data) and batch.keys == keys for batch, data, keys in kept)


def test_the_transform_is_keyed_by_place_and_sees_the_example(picture_folder: Fixture) -> None:
    def transform(array: NDArray[Any], rng: np.random.Generator, example: Example) -> NDArray[Any]:
        return np.array([array.sum(), rng.integers(1 << 40), int(example.key)])

    def play(threads: int, skip: int = 0) -> list[list[int]]:
        images = ImageIterator(
            picture_folder(12), size=8, batch_size=3, shuffle=True, threads=threads, transform=transform
        )
        images.reset(1, skip)
        return [row.tolist() for batch in images for row in batch.data]

    rows = play(1)
    assert rows == play(4)
    assert rows[6:] == play(2, skip=6)
    assert len({row[1] for row in rows}) == 12


def test_a_transform_may_change_the_shape_but_must_be_consistent(picture_folder: Fixture) -> None:
    folder = picture_folder(6)
    grown = ImageIterator(folder, size=8, batch_size=3, transform=lambda array, rng, example: array[:1, :4])
    assert next(iter(grown)).data.shape == (3, 1, 4, 8)
    ragged = ImageIterator(folder, size=8, batch_size=3, transform=lambda a, rng, e: a[:, : 1 + int(e.key)])
    with pytest.raises(ValueError, match="shapes"):
        next(iter(ragged))


def test_break_leaves_the_state_after_the_last_batch_and_iterating_goes_on_there(make: Fixture) -> None:
    whole, numbers = played(make()), make()
    found = []
    for batch in numbers:
        found += batch.data[:, 0].tolist()
        if len(found) >= 12:
            break
    assert numbers.position == 12
    assert numbers.state_dict() == batch.state
    assert len(numbers) == 3
    found += played(numbers)
    assert found == whole
    assert (numbers.epoch, numbers.position, len(numbers)) == (1, 0, 6)


def test_a_second_loop_ends_the_first_which_says_so(make: Fixture) -> None:
    numbers = make()
    first = iter(numbers)
    got = [next(first), next(first)]
    second = iter(numbers)
    got.append(next(second))
    with pytest.raises(RuntimeError, match="this loop was ended by another over the same iterator"):
        next(first)
    got += second
    assert played(got) == played(make())


def test_an_exhausted_loop_stays_exhausted(make: Fixture) -> None:
    loop = iter(make())
    assert len(list(loop)) == 6
    assert list(loop) == []
    with pytest.raises(StopIteration):
        next(loop)


def test_reset_jumps_anywhere_and_nowhere_else(make: Fixture) -> None:
    numbers = make()
    epochs = [played(numbers) for _ in range(3)]
    numbers.reset(2, 9)
    assert played(numbers) == epochs[2][9:]
    numbers.reset()
    assert played(numbers) == epochs[0]
    for epoch, position in ((-1, 0), (0, -1), (0, 23)):
        with pytest.raises(ValueError, match="not within"):
            numbers.reset(epoch, position)
    assert numbers.epoch == 1


@pytest.mark.parametrize(("tail", "lengths"), [("keep", [4, 4, 2]), ("pad", [4, 4, 4]), ("drop", [4, 4])])
def test_the_tail_of_an_epoch(tail: str, lengths: list[int], make: Fixture) -> None:
    numbers = make(10, tail=tail)
    for _ in range(2):
        assert len(numbers) == len(lengths)
        batches = list(numbers)
        assert [len(batch) for batch in batches] == lengths
        assert [batch.mask is None for batch in batches] == [True, True, tail != "pad"][: len(lengths)]
    if tail == "pad":
        assert batches[2].mask.tolist() == [True, True, False, False]
    assert numbers.epoch == 2
    if tail == "drop":
        numbers.reset(0, 8)
        assert len(numbers) == 2
        assert len(list(numbers)) == 2
        assert numbers.epoch == 2


def test_nothing_lives_before_the_first_batch_or_after_the_last(picture_shards: Fixture) -> None:
    folder = picture_shards([6, 6])
    gc.collect()
    before = open_files()
    images = ImageIterator(folder, size=8, batch_size=2, threads=3, shuffle=True)
    images.close()
    assert not live_threads()
    loop = iter(images)
    assert not live_threads()
    assert open_files() == before
    next(loop)
    assert len(live_threads()) == 3
    images.close()
    assert not live_threads()
    assert open_files() == before
    assert len(list(images)) == 5
    assert not live_threads()
    images.close()
    assert open_files() == before


def test_an_abandoned_loop_is_reclaimed(make: Fixture) -> None:
    numbers = make(1000)
    loop = iter(numbers)
    next(loop)
    assert live_threads()
    del loop
    gc.collect()
    assert not live_threads()
    for _ in numbers:
        break
    gc.collect()
    assert not live_threads()
    next(iter(make(1000)))
    gc.collect()
    assert not live_threads()


def test_prefetch_is_bounded_in_bytes(picture_folder: Fixture) -> None:
    decoded = []

    def transform(array: NDArray[Any], rng: np.random.Generator, example: Example) -> NDArray[Any]:
        decoded.append(example.key)
        return array

    def ahead_after_one(prefetch_bytes: int) -> int:
        decoded.clear()
        images = ImageIterator(
            picture_folder(60), size=64, batch_size=2, threads=4, prefetch_bytes=prefetch_bytes, transform=transform
        )
        next(iter_kept := iter(images))
        num = -1
        while num < len(decoded):  # until nothing has moved for a while
            num = len(decoded)
            threading.Event().wait(0.4)
        del iter_kept
        images.close()
        return num

    batch_bytes = 2 * 3 * 64 * 64
    assert ahead_after_one(0) == 2
    assert ahead_after_one(3 * batch_bytes) == 6
    assert 6 < ahead_after_one(1 << 28) <= 2 * (2 + 2 * 4 * 8 // 2)


def test_select_and_limit_choose_examples(make: Fixture) -> None:
    assert played(make(shuffle=False, select=[5, 1, 9])) == [5, 1, 9]
    assert played(make(shuffle=False, limit=6)) == [0, 1, 2, 3, 4, 5]
    assert played(make(shuffle=False, limit=100)) == list(range(23))
    assert played(make(shuffle=False, select=range(20, 3, -5), limit=2)) == [20, 15]
    assert sorted(played(make(select=[5, 1, 9]))) == [1, 5, 9]


def test_windows_of_shards_are_played_one_after_another(make: Fixture) -> None:
    numbers = make(40, shards=[10] * 4, shuffle_shards=2, batch_size=5)
    order = np.array(played(numbers)) // 10
    assert len(set(order[:20])) == 2
    assert not set(order[:20]) & set(order[20:])


def test_groups_keep_to_their_stretches_and_the_global_batch_is_the_same_for_every_world_size(
    make: Fixture,
) -> None:
    one = [set(batch.data[:, 0].tolist()) for batch in make(48, batch_size=8, groups=4)]
    for world_size in (2, 4):
        ranks = [
            list(make(48, batch_size=8 // world_size, groups=4, rank=rank, world_size=world_size, tail="drop"))
            for rank in range(world_size)
        ]
        together = [set().union(*(part.data[:, 0].tolist() for part in step)) for step in zip(*ranks, strict=True)]
        assert together == one
        for rank, batches in enumerate(ranks):
            stretch = range(48 * rank // world_size, 48 * (rank + 1) // world_size)
            assert set(played(batches)) == set(stretch)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"threads": 0}, "threads is 0"),
        ({"shuffle": "yes"}, "shuffle is 'yes'"),
        ({"shuffle_shards": 0}, "shuffle_shards"),
        ({"shuffle_shards": 2, "shuffle": False}, "shuffle_shards"),
        ({"limit": 0}, "limit is 0"),
        ({"on_error": "ignore"}, "on_error is 'ignore'"),
        ({"tail": "wrap"}, "tail is 'wrap'"),
        ({"groups": 3}, "groups is 3"),
        ({"batch_size": 100, "tail": "drop"}, "do not fill one batch of 100"),
        ({"world_size": 2}, "rank"),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(
    settings: dict[str, Any], named: str, make: Fixture
) -> None:
    with pytest.raises(ValueError, match=named):
        make(**settings)


def test_a_seed_must_be_a_whole_number(make: Fixture) -> None:
    for seed in (None, 1.5, True, "0"):
        with pytest.raises(TypeError, match="seed"):
            make(seed=seed)


def test_a_launched_process_without_a_rank_is_refused(make: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="WORLD_SIZE=2"):
        make()
    assert len(make(rank=1)) == 3


def test_fields_given_as_one_word_are_one_field(picture_shards: Fixture) -> None:
    images = ImageIterator(picture_shards([3]), size=8, fields="cls")
    assert list(next(iter(images)).fields) == ["cls"]
