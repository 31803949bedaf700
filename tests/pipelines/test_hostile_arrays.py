"""Arrays from elsewhere: zips that lie, pipes and links for chunks, rows of nothing or of too many pieces."""

from __future__ import annotations

import io
import json
import os
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipelines import ArraySource, ExampleError, PipelineError, SourceError

from .array_files import LAYOUTS, numbers, write_group, write_zarr

CENTRAL, END = b"PK\1\2", b"PK\5\6"


def npz(path: Path, *names: str, **settings: Any) -> Path:
    """A zip of arrays of 40 numbers under these names."""
    with zipfile.ZipFile(path, "w", **settings) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there already
        for number, name in enumerate(names):
            file = io.BytesIO()
            np.save(file, numbers(10, (4,)) + 100 * number)
            archive.writestr(name, file.getvalue())
    return path


def listed(content: bytearray, offset: int, form: str, value: int) -> bytearray:
    """A zip with another number in its list's first entry."""
    struct.pack_into(form, content, content.find(CENTRAL) + offset, value)
    return content


def own_header(content: bytearray, offset: int, form: str, value: int) -> bytearray:
    """A zip with another number in its first member's own header."""
    struct.pack_into(form, content, offset, value)
    return content


@pytest.mark.parametrize(
    "change",
    [
        lambda content: listed(content, 6, "<H", 142),
        lambda content: listed(content, 8, "<H", 1),
        lambda content: listed(content, 10, "<H", 99),
        lambda content: listed(content, 20, "<I", 10),
        lambda content: listed(content, 24, "<I", 1 << 30),
        lambda content: listed(listed(content, 24, "<I", 1 << 30), 20, "<I", 1 << 30),
        lambda content: listed(content, 42, "<I", 1 << 30),
        lambda content: listed(content, 42, "<I", 7),
        lambda content: own_header(content, 0, "<I", 0),
        lambda content: own_header(content, 8, "<H", 8),
        lambda content: own_header(content, 30, "<B", 0x62),
        lambda content: own_header(content, 26, "<H", 60_000),
        lambda content: content[: content.find(END)],
        lambda content: content[100:],
        lambda content: b"",
    ],
    ids=[
        *("version", "encrypted", "method", "packed size", "size", "sizes", "offset", "inside"),
        *("no header", "own method", "own name", "own name's length", "no end", "no begin", "empty"),
    ],
)
def test_a_zip_that_lies_is_refused(tmp_path: Path, change: Callable[[bytearray], bytes]) -> None:
    place = npz(tmp_path / "x.npz", "a.npy")
    assert len(ArraySource(place, "a")) == 10
    place.write_bytes(change(bytearray(place.read_bytes())))
    for name in (None, "a"):
        with pytest.raises(SourceError) as caught:
            ArraySource(place, name)
        assert "\n" not in str(caught.value)


def test_of_two_members_of_one_name_numpys_choice_is_read(tmp_path: Path) -> None:
    place = npz(tmp_path / "x.npz", "a.npy", "a.npy")
    expected = np.load(place)["a"]
    assert ArraySource(place).read([3])[0].media == expected[3].tobytes()


def test_names_that_lead_outside_stay_names(tmp_path: Path) -> None:
    place = npz(tmp_path / "x.npz", "../../outside.npy", "b.npy")
    assert len(ArraySource(place, "../../outside")) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npz"]


def test_of_many_names_an_error_lists_a_few(tmp_path: Path) -> None:
    place = npz(tmp_path / "x.npz", *(f"{number}.npy" for number in range(500)))
    with pytest.raises(SourceError, match=r"and 480 more\.$"):
        ArraySource(place)


def replace(path: Path, kind: str) -> None:
    """Put something that is not a file where a file was."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(kind)


@pytest.mark.parametrize("kind", ["pipe", "folder", "/dev/zero"])
@pytest.mark.parametrize("layout", ["chunks", "shards", "transposed", "version_2"])
def test_a_chunk_that_is_not_a_file_is_told_and_never_waited_for(tmp_path: Path, layout: str, kind: str) -> None:
    place = tmp_path / "x.zarr"
    write_zarr(place, numbers(), **LAYOUTS[layout])
    chunks = sorted(path for path in place.rglob("*") if path.is_file() and path.name[0] in "0123456789")
    replace(chunks[0], kind)
    source = ArraySource(place)
    assert source.prefix_hash(53)
    with pytest.raises(ExampleError, match="it is not a file"):
        source.read([0])
    source.close()


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.zarr.zip"])
def test_a_pipe_is_not_an_array(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        ArraySource(tmp_path / name)


def test_a_group_whose_links_lead_in_circles_is_listed_once(tmp_path: Path) -> None:
    place = tmp_path / "g.zarr"
    arrays = write_group(place)
    for number in range(4):
        zarr.create_group(str(place / f"more{number}"))
    for number in range(4):
        for link in range(4):
            (place / f"more{number}" / f"to{link}").symlink_to(place)
    with pytest.raises(SourceError) as caught:
        ArraySource(place)
    assert all(name in str(caught.value) for name in arrays)
    assert "to0" not in str(caught.value)


def test_rows_without_values_are_refused(tmp_path: Path) -> None:
    """A file of 128 bytes would hold any number of them."""
    np.save(tmp_path / "x.npy", np.zeros((1 << 40, 0), np.float32))
    zarr.create_array(str(tmp_path / "x.zarr"), shape=(1 << 40, 0), chunks=(1, 1), dtype="f4")
    for name in ("x.npy", "x.zarr"):
        with pytest.raises(SourceError, match="its rows hold no values"):
            ArraySource(tmp_path / name)


def test_a_row_in_a_million_chunks_is_refused(tmp_path: Path) -> None:
    zarr.create_array(str(tmp_path / "x.zarr"), shape=(9, 1 << 20), chunks=(1, 1), dtype="u1")
    with pytest.raises(SourceError, match="a row lies in 1,048,576 chunks"):
        ArraySource(tmp_path / "x.zarr")


def test_a_zip_that_would_be_inflated_without_bound_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zarr.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c/0", bytes(80 << 20))
    with pytest.raises(SourceError, match="inflated to 83,886,080 bytes"):
        ArraySource(tmp_path / "x.zarr.zip")


@pytest.mark.parametrize("layout", ["chunks", "shards", "version_2", "gzip", "blosc"])
def test_any_value_anywhere_in_the_metadata_is_refused_or_read(tmp_path: Path, layout: str) -> None:
    place = tmp_path / "x.zarr"
    write_zarr(place, numbers(), **LAYOUTS[layout])
    mark = place / ("zarr.json" if (place / "zarr.json").exists() else ".zarray")
    metadata = json.loads(mark.read_text())
    for path in paths(metadata):
        for value in (None, True, -1, 0, 1, 2**40, 1.5, "", "x", [], {}, [None], {"name": None}):
            mark.write_text(json.dumps(changed(metadata, path, value)))
            assert "\n" not in verdict(place), (path, value)


def verdict(place: Path) -> str:
    """What is said of an array that is opened and read, nothing where it is read."""
    try:
        source = ArraySource(place)
        source.prefix_hash(1)
        source.read([0])
        source.close()
    except PipelineError as error:
        return str(error)
    return ""


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(found for key, each in inner for found in paths(each, (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = changed(value[path[0]], path[1:], new)
    return copied
