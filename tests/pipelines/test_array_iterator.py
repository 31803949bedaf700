"""Batches of stored arrays: the array's own layout, fields beside it, and exact resume in every order."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines import ArrayIterator, ArraySource, SourceError, StateError, hold_out, mix
from pipelines.sources.arrays.zarr_chunks import LocalChunks
from pipelines.testing import assert_resumes_exactly, play_epoch
from pipelines.torch_bridge import TorchLoader
from pipelines.verify_resume import verify_resume, with_ranks_and_workers

from .array_files import LAYOUTS, numbers, write_group, write_zarr

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create .* worker processes:UserWarning"),
    pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning"),
]

ORDERS: list[dict[str, Any]] = [
    {"shuffle": False},
    {"shuffle": True},
    {"shuffle": True, "shuffle_shards": 2},
    {"shuffle": "files"},
    {"shuffle": True, "groups": 3},
    {"shuffle": True, "shuffle_shards": 2, "groups": 2},
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """70 rows in chunks of 16."""
    return Path(write_zarr(tmp_path / "x.zarr", numbers(70), chunks=(16, 5, 4)))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often each band of chunks is decoded."""
    counts: Counter[int] = Counter()
    whole = LocalChunks.read

    def read(self: LocalChunks, number: int, rows: int) -> Any:
        counts[number] += 1
        return whole(self, number, rows)

    monkeypatch.setattr(LocalChunks, "read", read)
    return counts


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("cut", [{}, {"window": 6, "hop": 4}], ids=str)
def test_an_epoch_holds_every_row_or_window_once_with_its_values(
    place: Path, order: dict[str, Any], cut: dict[str, int]
) -> None:
    batches = list(ArrayIterator(place, batch_size=12, threads=3, **cut, **order))
    indices = np.concatenate([batch.indices for batch in batches])
    data = np.concatenate([batch.data for batch in batches])
    keys = [key for batch in batches for key in batch.keys]
    window, hop = cut.get("window"), cut.get("hop", 1)
    num = 70 if window is None else (70 - window) // hop + 1
    assert sorted(indices.tolist()) == list(range(num))
    rows = numbers(70)
    for index, key, values in zip(indices.tolist(), keys, data, strict=True):
        start = index * hop
        assert key == (str(start) if window is None else f"x@{start}")
        np.testing.assert_array_equal(values, rows[start] if window is None else rows[start : start + window])


def test_batches_keep_the_arrays_layout_and_type(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", numbers(20, (3, 100), "int16"))
    rows = next(iter(ArrayIterator(tmp_path / "x.npy", batch_size=4)))
    assert (rows.data.shape, rows.data.dtype, rows.data.flags.owndata) == ((4, 3, 100), np.int16, True)
    assert rows.to("cpu").data.shape == (4, 3, 100)
    windows = next(iter(ArrayIterator(tmp_path / "x.npy", batch_size=4, window=5)))
    assert windows.data.shape == (4, 5, 3, 100)
    along_time = next(iter(ArrayIterator(tmp_path / "x.npy", batch_size=4, axis=2, window=10)))
    assert along_time.data.shape == (4, 20, 3, 10)


def test_an_array_of_single_numbers_gives_batches_of_them(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(30) * 2)
    write_zarr(tmp_path / "x.zarr", np.arange(30) * 2)
    for name in ("x.npy", "x.zarr"):
        batch = next(iter(ArrayIterator(tmp_path / name, batch_size=7, shuffle=True)))
        assert batch.data.shape == (7,)
        np.testing.assert_array_equal(batch.data, batch.indices * 2)
        batch = next(iter(mix([ArrayIterator(tmp_path / name), ArrayIterator(tmp_path / name)], batch_size=7)))
        np.testing.assert_array_equal(batch.data, batch.indices * 2)


def test_a_stored_type_of_another_byte_order_reaches_torch(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", numbers(20, (3,), ">f4"))
    batch = next(iter(ArrayIterator(tmp_path / "x.npy", batch_size=20)))
    assert batch.to("cpu").data.tolist() == numbers(20, (3,)).tolist()


def test_other_arrays_of_the_group_come_as_fields(tmp_path: Path) -> None:
    arrays = write_group(tmp_path / "g.zarr")
    names = ["label", "inside/embedding", "cls"]
    for cut, order in (({}, {"shuffle": True}), ({"window": 4, "hop": 3}, {"shuffle": False})):
        iterator = ArrayIterator(tmp_path / "g.zarr", arrays="image", fields=names, batch_size=10, **cut, **order)
        for batch in iterator:
            starts = batch.indices * cut.get("hop", 1)
            for name, found in {"image": batch.data, **batch.fields}.items():
                expected = [
                    arrays[name][start : start + cut["window"]] if cut else arrays[name][start] for start in starts
                ]
                np.testing.assert_array_equal(found, np.stack(expected))
                assert found.dtype == arrays[name].dtype, name
                assert found.base is None, "a batch keeps no chunk alive"
    assert ArrayIterator(tmp_path / "g.zarr", arrays="label", fields="image").recipe.fields == ("image",)


def test_a_mixture_delivers_fields_as_arrays_of_their_own_type(tmp_path: Path) -> None:
    arrays = write_group(tmp_path / "g.zarr")
    names = ["label", "depth.cls"]
    parts = [ArrayIterator(tmp_path / "g.zarr", arrays="image", fields=names, seed=seed) for seed in range(2)]
    batch = next(iter(mix(parts, batch_size=8)))
    for name in names:
        np.testing.assert_array_equal(batch.fields[name], arrays[name][batch.indices])
        assert batch.fields[name].dtype == arrays[name].dtype


def test_a_missing_or_unequal_field_is_refused_when_the_iterator_is_made(tmp_path: Path) -> None:
    write_group(tmp_path / "g.zarr")
    write_zarr(tmp_path / "g.zarr", numbers(9), "short")
    with pytest.raises(SourceError, match=r"no 'depth' in it\. It holds cls, depth.cls, image"):
        ArrayIterator(tmp_path / "g.zarr", arrays="image", fields=["depth"])
    with pytest.raises(SourceError, match=r"image has 53 rows, but .*short has 9"):
        ArrayIterator(tmp_path / "g.zarr", arrays="image", fields=["short"])


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("cut", [{}, {"window": 6, "hop": 4}], ids=str)
def test_it_resumes_exactly_in_every_order(place: Path, order: dict[str, Any], cut: dict[str, int]) -> None:
    def make(**changes: Any) -> ArrayIterator:
        return ArrayIterator(place, **{"batch_size": 6, "threads": 1, **cut, **order, **changes})

    variations = [{}, {"threads": 3, "batch_size": 12}, {"world_size": 2, "tail": "pad"}]
    ordered = order.get("groups", 1) == 1
    assert assert_resumes_exactly(make, variations=variations, every=3, ordered=ordered) > 8


def test_it_resumes_exactly_with_fields_from_a_part_and_from_a_mixture(tmp_path: Path) -> None:
    write_group(tmp_path / "g.zarr")
    np.save(tmp_path / "x.npy", numbers(31) + 10_000)
    rest, _ = hold_out(ArraySource(tmp_path / "g.zarr", "image"), 0.2)

    def part(**changes: Any) -> ArrayIterator:
        return ArrayIterator(rest, fields=["label"], shuffle=True, **{"batch_size": 7, **changes})

    def mixture(**changes: Any) -> Any:
        sources = [
            ArrayIterator(rest, shuffle=True, shuffle_shards=2),
            ArrayIterator(tmp_path / "x.npy", shuffle=True),
        ]
        return mix(sources, [2, 1], **{"batch_size": 9, **changes})

    for make in (part, mixture):
        assert_resumes_exactly(make, variations=[{}, {"threads": 3}, {"world_size": 3, "tail": "pad"}], every=2)


@pytest.mark.parametrize("workers", [0, 2, 4])
def test_worker_processes_bring_the_same_batches(place: Path, workers: int) -> None:
    def make() -> ArrayIterator:
        return ArrayIterator(place, batch_size=8, shuffle=True, shuffle_shards=2, threads=1)

    whole = [examples for examples, _ in play_epoch([make()])]
    loader = TorchLoader(make(), workers)
    live = iter(loader)
    begun = [next(live) for _ in range(3)]
    del live
    later = TorchLoader(make(), workers)
    later.load_state_dict(begun[-1].state)
    found = [list(batch.keys) for batch in (*begun, *later)]
    assert found == [[key for key, _ in examples] for examples in whole]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_can_be_forked_after_zarrs_own_threads_have_run_here(tmp_path: Path) -> None:
    write_zarr(tmp_path / "x.zarr", numbers(70), **LAYOUTS["transposed"])
    iterator = ArrayIterator(tmp_path / "x.zarr", batch_size=8, shuffle=True, threads=2)
    here = list(iterator)
    iterator.reset()
    there = list(TorchLoader(iterator, 2, multiprocessing_context="fork"))
    for expected, found in zip(here, there, strict=True):
        assert found.keys == expected.keys
        np.testing.assert_array_equal(found.data, expected.data)


@pytest.mark.slow
def test_killed_at_random_it_goes_on_exactly(tmp_path: Path) -> None:
    write_zarr(tmp_path / "x.zarr", numbers(400), chunks=(16, 5, 4), shards=(64, 5, 4))

    def make(**changes: Any) -> ArrayIterator:
        settings = {"batch_size": 8, "shuffle": True, "shuffle_shards": 3, "window": 4, "hop": 2}
        return ArrayIterator(tmp_path / "x.zarr", **{**settings, **changes})

    variations = [{"threads": 1}, {"threads": 3}, {"num_workers": 2}, {"world_size": 2}]
    verdict = verify_resume(with_ranks_and_workers(make), kills=12, variations=variations)
    assert (verdict.is_exact, verdict.kills >= 12, verdict.failure) == (True, True, None)
    assert verdict.state_bytes < 1024


def test_a_state_of_other_windows_is_refused_by_name(place: Path) -> None:
    state = ArrayIterator(place, window=6, hop=4).state_dict()
    assert state["clips"] == {"kind": "rows", "window": 6, "hop": 4, "axis": 0}
    assert ArrayIterator(place).state_dict()["clips"] is None
    with pytest.raises(StateError, match=r"clips=.*'hop': 4.*'hop': 3"):
        ArrayIterator(place, window=6, hop=3).load_state_dict(state)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("order", [ORDERS[0], ORDERS[2], ORDERS[3], ORDERS[5]], ids=str)
def test_orders_by_chunk_decode_each_chunk_once_with_no_more_cache_than_they_need(
    tmp_path: Path, decoded: Counter[int], order: dict[str, Any], threads: int
) -> None:
    rows = 20 * 64
    write_zarr(tmp_path / "x.zarr", numbers(rows), chunks=(64, 5, 4))
    chunk = 64 * 5 * 4 * 4
    spare = 8 * chunk  # threads stand in two windows at once where one ends
    iterator = ArrayIterator(
        tmp_path / "x.zarr", batch_size=32, threads=threads, cache_bytes=4 * chunk + spare, **order
    )
    assert sum(len(batch) for batch in iterator) == rows
    assert decoded == dict.fromkeys(range(20), 1)


def test_rows_at_random_of_an_array_within_the_cache_decode_each_chunk_once(
    place: Path, decoded: Counter[int]
) -> None:
    iterator = ArrayIterator(place, batch_size=8, shuffle=True, threads=4)
    for _ in range(3):
        list(iterator)
    assert decoded == dict.fromkeys(range(5), 1)
    iterator.close()
    list(iterator)
    assert decoded == dict.fromkeys(range(5), 2)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("part", [False, True], ids=["whole", "training part"])
def test_rows_at_random_beyond_the_cache_decode_a_chunk_once_for_all_that_are_due_soon(
    tmp_path: Path, decoded: Counter[int], threads: int, part: bool
) -> None:
    rows, chunk = 40 * 64, 64 * 5 * 4 * 4
    array = numbers(rows)
    write_zarr(tmp_path / "x.zarr", array, chunks=(64, 5, 4))
    source = ArraySource(tmp_path / "x.zarr", cache_bytes=25 * chunk)
    iterator = ArrayIterator(
        hold_out(source, 0.05)[0] if part else source, batch_size=16, shuffle=True, threads=threads
    )
    for _ in range(2):
        decoded.clear()
        for batch in iterator:
            np.testing.assert_array_equal(batch.data, array[batch.indices])
            assert source._reader.cache.kept_bytes <= 25 * chunk
        assert 40 <= decoded.total() <= 4 * 40, "of about 2,400 rows"


def test_read_in_order_the_next_chunk_is_decoded_ahead_of_time(place: Path, decoded: Counter[int]) -> None:
    source = ArraySource(place)
    source.expect(None, order="stored")
    source.read([0, 1])
    assert decoded == {0: 1, 1: 1}
    source.read([69])
    assert decoded == {0: 1, 1: 1, 4: 1}
    source.expect(None, order="by_shard")
    source.read([33])
    assert decoded == {0: 1, 1: 1, 4: 1, 2: 1}


def test_rows_of_which_nothing_is_foretold_are_read_all_the_same(tmp_path: Path, decoded: Counter[int]) -> None:
    array = numbers(320)
    write_zarr(tmp_path / "x.zarr", array, chunks=(32, 5, 4))
    source = ArraySource(tmp_path / "x.zarr", cache_bytes=2 * 32 * 80)
    source.expect(np.array([5, 6, 300, 200]), order="random")
    read = [7, 5, 301, 6, 300, 6, 5]
    for row, example in zip(read, source.read(read), strict=True):
        assert example.media == array[row].tobytes()
    assert decoded == {0: 2, 9: 2}, "6 came with 5; 7 and 301 were not expected"
    assert source._reader.cache.kept_bytes == 0, "what was due has been read"
    source.close()
    assert source._reader.cache.kept_bytes == 0
    assert not source._reader.due


def test_a_cache_too_small_for_the_windows_is_refused_with_the_numbers(place: Path) -> None:
    chunk = 16 * 5 * 4 * 4
    ArrayIterator(place, shuffle=True, shuffle_shards=3, cache_bytes=3 * chunk)
    with pytest.raises(ValueError, match="Give cache_bytes=3,840"):
        ArrayIterator(place, shuffle=True, shuffle_shards=3, cache_bytes=3 * chunk - 1)
    with pytest.raises(ValueError, match="Give cache_bytes=7,680"):
        ArrayIterator(place, shuffle=True, shuffle_shards=3, groups=2, cache_bytes=4 * chunk)


def test_a_source_that_is_open_already_takes_no_more_settings(place: Path, numbers_source: Any) -> None:
    source = ArraySource(place, window=4)
    assert next(iter(ArrayIterator(source, batch_size=2))).data.shape == (2, 4, 5, 4)
    for settings in ({"window": 4}, {"arrays": "x"}, {"axis": 1}, {"cache_bytes": 9}):
        with pytest.raises(ValueError, match=f"Give {next(iter(settings))} to the ArraySource"):
            ArrayIterator(source, **settings)
    with pytest.raises(TypeError, match="reads an ArraySource or part of one"):
        ArrayIterator(numbers_source)


@pytest.fixture
def numbers_source(numbers: Callable[[int], Any]) -> Any:
    """A source of another kind."""
    return numbers(5)


def test_an_iterator_is_pickled_and_copied_with_nothing_live(place: Path) -> None:
    iterator = ArrayIterator(place, batch_size=16, shuffle=True)
    first = next(iter(iterator))
    iterator.close()
    other = pickle.loads(pickle.dumps(iterator))
    assert other.state_dict() == iterator.state_dict()
    second, again = next(iter(iterator)), next(iter(other))
    np.testing.assert_array_equal(second.data, again.data)
    assert first.keys != again.keys


def test_a_transform_gets_each_array_and_its_place(place: Path) -> None:
    def halve(array: Any, rng: np.random.Generator, example: Any) -> Any:
        return array[:2] / 2 + int(example.key)

    batch = next(iter(ArrayIterator(place, batch_size=5, shuffle=True, transform=halve)))
    expected = numbers(70)[batch.indices][:, :2] / 2 + batch.indices[:, None, None]
    np.testing.assert_array_equal(batch.data, expected)


def test_what_names_no_array_is_refused_in_one_sentence(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    with pytest.raises(TypeError, match=r"^arrays is \['x', 'y'\]; it must name one array"):
        ArrayIterator(tmp_path / "x.npy", arrays=["x", "y"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^source is 3; it must be a path"):
        ArrayIterator(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^ArrayIterator has no setting 'widow'\. Did you mean window\?"):
        ArrayIterator(tmp_path / "x.npy", widow=2)  # type: ignore[call-arg]
