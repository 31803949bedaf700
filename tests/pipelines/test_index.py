"""Index files: their layout is fixed, version 1 stays readable, and damage is refused in a sentence."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors import ShardError
from pipelines.storage.index import (
    INDEX_DTYPE,
    INDEX_VERSION,
    Index,
    IndexFlag,
    index_path,
    load_index,
    save_index,
    spans_of,
)

GOLDEN = Path(__file__).parent / "golden"


def make_index(num: int = 3) -> Index:
    index = np.zeros(num, INDEX_DTYPE)
    index["offset"] = np.arange(num) * 2048
    index["length"], index["data_offset"] = 2048, index["offset"] + 512
    index["data_length"], index["version"], index["table_offset"] = 1300, INDEX_VERSION, -1
    return index


def test_the_record_is_documented_byte_by_byte() -> None:
    """Written out so that a change of the format is a change of this test."""
    fields = [(name, str(INDEX_DTYPE[name]), INDEX_DTYPE.fields[name][1]) for name in INDEX_DTYPE.names or ()]  # type: ignore[index]
    assert fields == [
        ("offset", "int64", 0),
        ("length", "int64", 8),
        ("data_offset", "int64", 16),
        ("data_length", "int64", 24),
        ("frames", "int64", 32),
        ("table_offset", "int64", 40),
        ("rate_numerator", "int32", 48),
        ("rate_denominator", "int32", 52),
        ("width", "int32", 56),
        ("height", "int32", 60),
        ("channels", "int32", 64),
        ("flags", "uint32", 68),
        ("crc32", "uint32", 72),
        ("version", "uint32", 76),
    ]
    assert (IndexFlag.HAS_CRC32, IndexFlag.HAS_FIELDS, IndexFlag.NO_MEDIA) == (1, 2, 4)


def test_an_index_of_version_1_is_read() -> None:
    index = load_index(index_path(GOLDEN / "image-v1.tar"), tar_bytes=(GOLDEN / "image-v1.tar").stat().st_size)
    with tarfile.open(GOLDEN / "image-v1.tar") as tar:
        media = [member for member in tar if member.name.endswith(".png")]
    assert index["data_offset"].tolist() == [member.offset_data for member in media]
    assert index["data_length"].tolist() == [member.size for member in media]
    assert index["width"].tolist() == [5, 6, 7]
    assert index["flags"].tolist() == [3, 1, 1]


def test_spans_are_the_first_columns_and_take_no_memory(tmp_path: Path) -> None:
    save_index(tmp_path / "a.npy", make_index(5))
    index = load_index(tmp_path / "a.npy")
    columns = [index[name].tolist() for name in ("offset", "length", "data_offset", "data_length")]
    assert spans_of(index).T.tolist() == columns
    assert np.shares_memory(spans_of(index), index)
    assert spans_of(make_index(0)).shape == (0, 4)


def test_what_is_saved_is_loaded_read_only_and_saved_again_is_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / "a.npy", tmp_path / "b.npy"]
    for path in paths:
        save_index(path, make_index())
    assert paths[0].read_bytes() == paths[1].read_bytes()
    loaded = load_index(paths[0], tar_bytes=6144)
    assert np.array_equal(loaded, make_index())
    assert np.array_equal(np.load(paths[0]), make_index()), "plain NumPy reads it"
    with pytest.raises(ValueError, match="read-only"):
        loaded["offset"] = 0


def test_an_empty_index_is_an_index(tmp_path: Path) -> None:
    save_index(tmp_path / "empty.npy", make_index(0))
    assert len(load_index(tmp_path / "empty.npy", tar_bytes=1024)) == 0


def test_the_index_lies_beside_its_tar() -> None:
    assert index_path("shards/a.b.tar") == Path("shards/a.b.tar.index.npy")


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((2, 2), INDEX_DTYPE)], ids=["dtype", "shape"])
def test_anything_but_an_index_is_not_saved(wrong: Any, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="INDEX_DTYPE"):
        save_index(tmp_path / "x.npy", wrong)
    assert not (tmp_path / "x.npy").exists()


def test_a_missing_index_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_index(tmp_path / "absent.npy")


def changed(**columns: Any) -> Index:
    index = make_index()
    for name, value in columns.items():
        index[name] = value
    return index


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (changed(version=2), "version 2"),
        (changed(version=[1, 1, 9]), "version 9"),
        (changed(offset=[0, 1024, 4096]), "fit"),
        (changed(offset=[4096, 2048, 0]), "fit"),
        (changed(offset=[-2048, 0, 2048]), "fit"),
        (changed(offset=[0, 0, 2048], data_offset=[512, 512, 2560]), "fit"),
        (changed(offset=[2048, 0, 4096], data_offset=[2560, 512, 4608]), "fit"),
        (changed(offset=[-128, 2048, 4096], data_offset=[512, 2560, 4608]), "fit"),
        (changed(length=0), "fit"),
        (changed(length=[2048, 2048, 1 << 40]), "fit"),
        (changed(data_offset=0), "fit"),
        (changed(data_length=4000), "fit"),
        (changed(data_length=-1), "fit"),
        (changed(data_length=1 << 62), "fit"),
        (changed(offset=[0, 2048, (1 << 63) - 600]), "fit"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_spans_that_contradict_each_other_or_the_tar_are_refused(index: Index, reason: str, tmp_path: Path) -> None:
    save_index(tmp_path / "x.npy", index)
    with pytest.raises(ShardError, match=rf"x\.npy.*{reason}"):
        load_index(tmp_path / "x.npy", tar_bytes=6144)


def test_an_index_longer_than_its_tar_says_that_the_tar_is_cut_off(tmp_path: Path) -> None:
    save_index(tmp_path / "x.npy", make_index())
    with pytest.raises(ShardError, match=r"6,143 bytes.*cut off"):
        load_index(tmp_path / "x.npy", tar_bytes=6143)


def refused_or_sound(path: Path) -> bool:
    """True where the index is refused by a `ShardError`; anything but that or a sound index fails."""
    try:
        assert load_index(path, tar_bytes=6144).dtype == INDEX_DTYPE
    except ShardError as error:
        sentence = str(error)
    else:
        return False
    assert str(path) in sentence
    assert sentence.endswith(".")
    return True


def test_every_cut_of_an_index_is_refused(tmp_path: Path) -> None:
    save_index(tmp_path / "x.npy", make_index())
    whole = (tmp_path / "x.npy").read_bytes()
    cut = tmp_path / "cut.npy"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        assert refused_or_sound(cut), f"cut at {length}"


def test_random_damage_is_refused_or_harmless_and_never_a_traceback(tmp_path: Path) -> None:
    save_index(tmp_path / "x.npy", make_index())
    whole = (tmp_path / "x.npy").read_bytes()
    rng = np.random.default_rng(0)
    damaged, refused = tmp_path / "damaged.npy", 0
    for _ in range(700):
        content = bytearray(whole)
        for place in rng.integers(0, len(content) if rng.random() < 0.5 else 128, rng.integers(1, 4)):
            content[place] = rng.integers(0, 256)
        damaged.write_bytes(content)
        refused += refused_or_sound(damaged)
    assert refused > 300


@pytest.mark.parametrize("kind", ["pickle", "npz", "objects", "huge", "text", "empty", "other dtype"])
def test_files_of_other_kinds_are_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    stream = io.BytesIO()
    if kind == "pickle":
        stream.write(b"\x80\x04]\x94.")
    elif kind == "npz":
        np.savez(stream, a=make_index())
    elif kind == "objects":
        np.save(stream, np.array([{}], object), allow_pickle=True)
    elif kind == "huge":
        np.lib.format.write_array_header_1_0(
            stream, {"descr": np.lib.format.dtype_to_descr(INDEX_DTYPE), "fortran_order": False, "shape": (10**15,)}
        )
    elif kind == "text":
        stream.write(b"not an index at all")
    elif kind == "other dtype":
        np.save(stream, np.zeros(4))
    path.write_bytes(stream.getvalue())
    assert refused_or_sound(path)
