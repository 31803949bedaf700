"""Rows and windows of stored arrays are what zarr and NumPy say they are, in every layout."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from pipelines import ArraySource, SourceError, open_source
from pipelines.sources.arrays.zarr_array import ZarrArray

from .array_files import LAYOUTS, READ_BY_ZARR, numbers, write_group, write_zarr

pytestmark = pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")


def rows_of(source: ArraySource, indices: list[int] | None = None) -> NDArray[Any]:
    """What the source reads, in the order that was asked for."""
    examples = source.read(list(range(len(source))) if indices is None else indices)
    return np.stack([np.frombuffer(each.media, source.dtype).reshape(source.shape) for each in examples])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_of_every_layout_are_those_that_were_written(tmp_path: Path, layout: str) -> None:
    settings = LAYOUTS[layout]
    array = numbers(dtype=settings.get("dtype", "float32"))
    write_zarr(tmp_path / "x.zarr", array, **settings)
    source = ArraySource(tmp_path / "x.zarr")
    assert isinstance(source.array, ZarrArray)
    assert (source.array._chunks is None) == (layout in READ_BY_ZARR), "past zarr wherever that is possible"
    assert (source.shape, source.dtype, len(source)) == ((5, 4), array.dtype.newbyteorder("="), 53)
    np.testing.assert_array_equal(rows_of(source), array)
    np.testing.assert_array_equal(rows_of(source), zarr.open_array(tmp_path / "x.zarr", mode="r")[:])
    scattered = [52, 0, 7, 8, 7, 31]
    np.testing.assert_array_equal(rows_of(source, scattered), array[scattered])


@pytest.mark.parametrize("layout", ["chunks", "cut_on_every_axis", "shards_cut_on_every_axis", "transposed"])
@pytest.mark.parametrize(("window", "hop"), [(1, 1), (5, 5), (20, 3), (53, 1), (3, 10)])
def test_windows_are_stretches_of_rows(tmp_path: Path, layout: str, window: int, hop: int) -> None:
    array = numbers()
    write_zarr(tmp_path / "x.zarr", array, **LAYOUTS[layout])
    source = ArraySource(tmp_path / "x.zarr", window=window, hop=hop)
    starts = range(0, 53 - window + 1, hop)
    assert source.keys() == [f"x@{start}" for start in starts]
    np.testing.assert_array_equal(rows_of(source), np.stack([array[start : start + window] for start in starts]))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("kind", ["zarr", "npy", "fortran"])
def test_rows_and_windows_lie_along_any_axis_and_keep_the_arrays_layout(
    tmp_path: Path, axis: int, kind: str
) -> None:
    array = numbers(11, (12, 10))
    if kind == "zarr":
        place = write_zarr(tmp_path / "x.zarr", array, chunks=(4, 5, 3))
    else:
        place = tmp_path / "x.npy"
        np.save(place, array if kind == "npy" else np.asfortranarray(array))
    np.testing.assert_array_equal(rows_of(ArraySource(place, axis=axis)), np.moveaxis(array, axis, 0))
    windows = ArraySource(place, axis=axis, window=4, hop=3)
    expected = [np.take(array, range(start, start + 4), axis) for start in range(0, array.shape[axis] - 3, 3)]
    np.testing.assert_array_equal(rows_of(windows), np.stack(expected))


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int16", ">u4", "int64", "float16", ">f8", "complex64", "<U5", "S3"]
)
def test_every_type_of_a_fixed_size_keeps_its_values(tmp_path: Path, dtype: str) -> None:
    array = numbers(20, (3,), "int64").astype(dtype)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", a=array)
    places = [tmp_path / "x.npy", tmp_path / "x.npz"]
    places += [write_zarr(tmp_path / f"v{version}.zarr", array, zarr_format=version) for version in (2, 3)]
    for place in places:
        source = ArraySource(place)
        assert source.dtype == array.dtype.newbyteorder("="), place
        np.testing.assert_array_equal(rows_of(source), array)


def test_chunks_that_were_never_written_hold_the_fill_value(tmp_path: Path) -> None:
    for shards in (None, (16, 3)):
        created = zarr.create_array(
            tmp_path / f"{shards}.zarr", shape=(40, 3), chunks=(8, 3), shards=shards, dtype="int16", fill_value=7
        )
        created[9:12] = 1
        np.testing.assert_array_equal(rows_of(ArraySource(tmp_path / f"{shards}.zarr")), created[:])


def test_urls_and_zips_are_read_through_zarrs_own_stores(tmp_path: Path) -> None:
    array = numbers()
    held = zarr.open_group("memory://arrays/held", mode="a")  # newer zarr drops a memory store that nothing holds
    write_zarr("memory://arrays/x.zarr", array, **LAYOUTS["shards"])
    write_zarr("memory://arrays/g.zarr", array, "inside/image")
    with zarr.storage.ZipStore(tmp_path / "x.zarr.zip", mode="w") as store:
        zarr.create_array(store, data=array, chunks=(8, 5, 4))
    for place, name in (
        ("memory://arrays/x.zarr", None),
        ("memory://arrays/g.zarr", None),
        ("memory://arrays/g.zarr", "inside/image"),
        (tmp_path / "x.zarr.zip", None),
    ):
        source = ArraySource(place, name)
        np.testing.assert_array_equal(rows_of(source), array)
        assert len(source.data_hash) == 32
        source.close()
    assert isinstance(open_source("memory://arrays/x.zarr"), ArraySource)
    del held


def test_what_names_an_array_is_opened_as_one(tmp_path: Path) -> None:
    array = numbers()
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", only=array)
    write_zarr(tmp_path / "x.zarr", array)
    write_zarr(tmp_path / "without_suffix", array)
    write_zarr(tmp_path / "group.zarr", array, "only")
    for name in ("x.npy", "x.npz", "x.zarr", "without_suffix", "group.zarr", "group.zarr/only"):
        source = open_source(tmp_path / name)
        assert isinstance(source, ArraySource), name
        np.testing.assert_array_equal(rows_of(source), array)


def test_the_keys_are_row_numbers_and_are_found_again(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", numbers())
    rows, windows = ArraySource(tmp_path / "x.npy"), ArraySource(tmp_path / "x.npy", window=4, hop=3)
    assert rows.keys() == [str(row) for row in range(53)]
    assert (rows.find("52"), windows.find("x@9")) == (52, 3)
    for source, key in ((rows, "53"), (rows, "07"), (rows, "x@3"), (windows, "x@8"), (windows, "9"), (rows, "²")):
        with pytest.raises(KeyError):
            source.find(key)


def test_the_shards_are_the_chunks_and_small_ones_are_taken_together(tmp_path: Path) -> None:
    def counts(layout: dict[str, Any], **windows: int) -> list[int]:
        write_zarr(tmp_path / "x.zarr", numbers(100), **layout)
        return ArraySource(tmp_path / "x.zarr", **windows).shard_counts.tolist()

    assert counts({"chunks": (32, 5, 4)}) == [32, 32, 32, 4]
    assert counts({"chunks": (32, 5, 4), "shards": (64, 5, 4)}) == [32, 32, 32, 4]
    assert counts({"chunks": (6, 5, 4)}) == [18, 18, 18, 18, 18, 10]
    assert counts({"chunks": (32, 5, 4)}, window=10) == [4, 3, 3]
    assert counts({"chunks": (32, 5, 4)}, window=10, hop=7) == [5, 5, 3]
    assert counts({"chunks": (16, 5, 4)}, window=5, hop=40) == [1, 1, 1]
    np.save(tmp_path / "x.npy", numbers(100))
    assert ArraySource(tmp_path / "x.npy").shard_counts.tolist() == [100]


def test_the_fields_of_an_example_are_the_rows_of_the_other_arrays(tmp_path: Path) -> None:
    arrays = write_group(tmp_path / "g.zarr")
    source = ArraySource(tmp_path / "g.zarr", "image", window=7, hop=5)
    for name in ("label", "inside/embedding"):
        source.field(name)
    example = source.read([3])[0]
    assert list(example.fields) == ["inside/embedding", "label"]
    assert example.fields["label"] == arrays["label"][15:22].tobytes()
    np.testing.assert_array_equal(
        source.values(source.field("inside/embedding"), 3), arrays["inside/embedding"][15:22]
    )


def test_opening_a_billion_rows_reads_nothing_but_metadata(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "x.zarr", shape=(10**9, 64, 64), chunks=(256, 64, 64), dtype="uint8")
    source = ArraySource(tmp_path / "x.zarr")
    assert (len(source), source.shard_counts.sum(), len(source.shard_counts)) == (10**9, 10**9, 3_906_250)
    assert len(source.data_hash) == 32
    assert source.read([10**9 - 1])[0].media == bytes(64 * 64)


def test_nothing_is_live_before_the_first_read_or_after_close(tmp_path: Path) -> None:
    write_zarr(tmp_path / "x.zarr", numbers(), **LAYOUTS["shards"])
    np.save(tmp_path / "x.npy", numbers())
    before = threading.active_count()
    for place in (tmp_path / "x.zarr", tmp_path / "x.npy"):
        source = ArraySource(place)
        opened = len(pickle.dumps(source))
        rows_of(source)
        assert (source._reader.cache.kept_bytes > 0) == source.array.cached
        assert len(pickle.dumps(source)) < opened + 200
        for other in (pickle.loads(pickle.dumps(source)), copy.deepcopy(source)):
            assert other._reader.cache.kept_bytes == 0
            np.testing.assert_array_equal(rows_of(other), numbers())
        open_files = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.exists()]
        assert any(str(place) in name for name in open_files)
        source.close()
        assert source._reader.cache.kept_bytes == 0
    del other
    open_files = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.exists()]
    assert not any(str(tmp_path) in name for name in open_files)
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("absent.zarr",), "no such file or folder"),
        (("absent.npy",), "no such file or folder"),
        (("g.zarr",), "name one of its arrays. It holds cls, depth.cls, image, inside/embedding, label."),
        (("g.zarr", "depth"), "no 'depth' in it. It holds cls, depth.cls, image"),
        (("g.zarr", "inside"), "no 'inside' in it"),
        (("g.zarr/inside",), None),
        (("g.zarr/image", "label"), "Name the group it lies in"),
        (("x.npz", "c"), "It holds a, b"),
        (("packed.npz",), "it is compressed"),
        (("x.npy", "a"), "holds one array"),
        (("s3://bucket/x.npy",), "only local .npy files"),
        ((".",), "not a zarr array or group"),
    ],
)
def test_an_array_that_is_not_there_is_refused_with_what_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], reason: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    write_group(tmp_path / "g.zarr")
    np.save("x.npy", numbers())
    np.savez("x.npz", a=numbers(), b=numbers())
    np.savez_compressed("packed.npz", a=numbers())
    if reason is None:
        assert len(ArraySource(*arguments)) == 53
        return
    with pytest.raises(SourceError) as caught:
        ArraySource(*arguments)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"window": 54}, "53 rows do not fill one window of 54"),
        ({"window": 0}, "window is 0"),
        ({"hop": 2}, "there is no window"),
        ({"window": 2, "hop": 0}, "hop is 0"),
        ({"axis": 3}, "has no axis 3"),
        ({"cache_bytes": -1}, "cache_bytes is -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, settings: dict[str, int], reason: str) -> None:
    np.save(tmp_path / "x.npy", numbers())
    with pytest.raises((SourceError, ValueError), match=reason):
        ArraySource(tmp_path / "x.npy", **settings)


def test_arrays_of_other_lengths_are_no_fields(tmp_path: Path) -> None:
    write_group(tmp_path / "g.zarr")
    write_zarr(tmp_path / "g.zarr", numbers(52), "short")
    with pytest.raises(SourceError, match=r"image has 53 rows, but .*short has 52"):
        ArraySource(tmp_path / "g.zarr", "image").field("short")
