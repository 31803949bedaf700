"""Arrays that grow by appending, and arrays that became others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipelines import ArrayIterator, ArraySource, StateError
from pipelines.sources.arrays.zarr_fingerprint import sampled

from .array_files import numbers, write_zarr

LAYOUTS: list[dict[str, Any]] = [{"chunks": (16, 5, 4)}, {"chunks": (8, 5, 4), "shards": (32, 5, 4)}]


def append(place: Path, rows: int) -> None:
    """Let the array grow to so many rows, as zarr does it."""
    array = zarr.open_array(place, mode="r+")
    array.append(numbers(rows)[array.shape[0] :])
    array.update_attributes({"note": f"{rows} rows"})


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("cut", [{}, {"window": 9, "hop": 7}], ids=str)
def test_the_hash_of_a_prefix_is_the_hash_it_had_before_the_array_grew(
    tmp_path: Path, layout: dict[str, Any], cut: dict[str, int]
) -> None:
    write_zarr(tmp_path / "x.zarr", numbers(75), **layout)
    before = ArraySource(tmp_path / "x.zarr", **cut)
    hashes = {num: before.prefix_hash(num) for num in range(len(before) + 1)}
    append(tmp_path / "x.zarr", 200)
    after = ArraySource(tmp_path / "x.zarr", **cut)
    assert {num: after.prefix_hash(num) for num in hashes} == hashes
    assert hashes[0] is None
    assert len(set(hashes.values())) == len(hashes)
    assert after.prefix_hash(len(after) + 1) is None


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize(
    "order", [{}, {"shuffle": True}, {"shuffle": True, "shuffle_shards": 2}, {"shuffle": "files"}], ids=str
)
def test_the_epoch_in_progress_ends_over_the_rows_it_began_with(
    tmp_path: Path, layout: dict[str, Any], order: dict[str, Any]
) -> None:
    write_zarr(tmp_path / "x.zarr", numbers(75), **layout)
    due = [key for batch in ArrayIterator(tmp_path / "x.zarr", batch_size=10, **order) for key in batch.keys]
    begun = next(iter(ArrayIterator(tmp_path / "x.zarr", batch_size=10, **order)))
    append(tmp_path / "x.zarr", 131)
    later = ArrayIterator(tmp_path / "x.zarr", batch_size=10, **order)
    later.load_state_dict(begun.state)
    rest = list(later)
    assert [*begun.keys, *(key for batch in rest for key in batch.keys)] == due
    for batch in rest:
        np.testing.assert_array_equal(batch.data, numbers(75)[batch.indices])
    following = list(later)
    assert sorted(index for batch in following for index in batch.indices.tolist()) == list(range(131))
    for batch in following:
        np.testing.assert_array_equal(batch.data, numbers(131)[batch.indices])


def test_a_shard_that_was_written_in_place_is_not_read_by_its_old_index(tmp_path: Path) -> None:
    settings = {"compressors": None, "fill_value": -1, **LAYOUTS[1]}
    write_zarr(tmp_path / "x.zarr", numbers(32), **settings)
    gap = numbers(32)
    gap[0:8] = -1  # left out of its shard, so that all other chunks move
    write_zarr(tmp_path / "gap.zarr", gap, **settings)
    source = ArraySource(tmp_path / "x.zarr", cache_bytes=0)
    assert source.read([20])[0].media == numbers(32)[20].tobytes()
    (tmp_path / "x.zarr/c/0/0/0").write_bytes((tmp_path / "gap.zarr/c/0/0/0").read_bytes())
    for row in range(32):
        assert source.read([row])[0].media == gap[row].tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float64"},
        {"chunks": (8, 5, 4)},
        {"compressors": None},
        {"fill_value": 1},
        {"array": numbers(75) + 1},
        {"array": numbers(75, (5, 3)), "chunks": (16, 5, 3)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_state_of_another_array_at_the_same_place_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    write_zarr(tmp_path / "x.zarr", numbers(75), **LAYOUTS[0])
    state = ArrayIterator(tmp_path / "x.zarr").state_dict()
    ArrayIterator(tmp_path / "x.zarr").load_state_dict(state)
    write_zarr(tmp_path / "x.zarr", **{"array": numbers(75), **LAYOUTS[0], **change})
    with pytest.raises(StateError, match="75 others"):
        ArrayIterator(tmp_path / "x.zarr").load_state_dict(state)


def test_a_copy_elsewhere_is_the_same_array_and_another_npy_is_not(tmp_path: Path) -> None:
    for kind in ("zarr", "npy"):
        hashes = []
        for number, array in enumerate([numbers(75), numbers(75), numbers(75)[::-1], numbers(76)[:75] * 2]):
            place = tmp_path / f"{number}.{kind}"
            if kind == "npy":
                np.save(place, array)
            else:
                write_zarr(place, array)
            hashes.append(ArraySource(place).data_hash)
        assert hashes[0] == hashes[1]
        assert len(set(hashes)) == 3


def test_what_is_looked_at_of_a_prefix_is_looked_at_of_the_whole() -> None:
    whole = list(sampled(100_000))
    assert whole == sorted(set(whole))
    assert 500 < len(whole) < 1000
    for num in (0, 1, 63, 64, 65, 1000, 4096, 70_001):
        assert list(sampled(num)) == [number for number in whole if number < num]
