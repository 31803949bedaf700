"""Damaged and hostile arrays: told by name, replaced where that is asked for, never run, never believed in size."""

from __future__ import annotations

import gzip
import json
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
import zarr
from numcodecs import Zstd

from pipelines import ArrayIterator, ArraySource, ExampleError, SourceError
from pipelines.sources.arrays import zarr_node

from .array_files import LAYOUTS, numbers, write_group, write_zarr

pytestmark = pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")

COMPRESSED = ["chunks", "shards", "blosc", "gzip", "checked", "version_2", "transposed"]


def chunk_files(place: Path) -> list[Path]:
    """The files in which chunks lie, in order."""
    files = [
        path for path in place.rglob("*") if path.is_file() and path.name not in ("zarr.json", ".zarray", ".zattrs")
    ]
    return sorted(files, key=lambda path: [int(part) for part in re.findall(r"\d+", str(path.relative_to(place)))])


def edit(place: Path, change: Callable[[dict[str, Any]], None], name: str = "zarr.json") -> None:
    """Change an array's metadata on the disk."""
    metadata = json.loads((place / name).read_text())
    change(metadata)
    (place / name).write_text(json.dumps(metadata))


def shortened(content: bytes) -> bytes:
    return content[:-1]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def garbled(content: bytes) -> bytes:
    return bytes(255 - byte for byte in content)


@pytest.mark.parametrize("layout", COMPRESSED)
@pytest.mark.parametrize("damage", [shortened, cut, emptied, garbled])
def test_a_damaged_chunk_is_told_by_array_key_and_reason_and_can_be_replaced(
    tmp_path: Path, layout: str, damage: Callable[[bytes], bytes]
) -> None:
    place = tmp_path / "x.zarr"
    write_zarr(place, numbers(), **LAYOUTS[layout])
    victim = chunk_files(place)[1]
    victim.write_bytes(damage(victim.read_bytes()))
    with pytest.raises(ExampleError) as caught:
        list(ArrayIterator(place, batch_size=4))
    lost = 16 if layout == "shards" else 8
    assert (caught.value.container, caught.value.key) == (str(place), str(lost))
    assert str(lost) in caught.value.reason or "chunk" in caught.value.reason
    batches = list(ArrayIterator(place, batch_size=4, on_error="substitute", shuffle=True))
    replaced = np.concatenate([batch.substituted for batch in batches])
    assert int(replaced.sum()) == lost
    for batch in batches:
        np.testing.assert_array_equal(batch.data, numbers()[batch.indices])


def test_a_damaged_field_is_told_by_its_array_and_replaced_with_its_example(tmp_path: Path) -> None:
    arrays = write_group(tmp_path / "g.zarr")
    victim = chunk_files(tmp_path / "g.zarr" / "label")[0]
    victim.write_bytes(garbled(victim.read_bytes()))
    settings: dict[str, Any] = {"arrays": "image", "fields": ["label"], "batch_size": 8}
    with pytest.raises(ExampleError, match=r"g.zarr/label: example '0' .*chunk c/0 cannot be read"):
        list(ArrayIterator(tmp_path / "g.zarr", **settings))
    for batch in ArrayIterator(tmp_path / "g.zarr", on_error="substitute", **settings):
        np.testing.assert_array_equal(batch.fields["label"], arrays["label"][batch.indices])


@pytest.mark.parametrize("codec", ["zstd", "gzip", "blosc"])
@pytest.mark.parametrize("factor", [0.5, 2, 4096])
def test_a_chunk_that_would_decompress_to_another_size_is_refused(
    tmp_path: Path, codec: str, factor: float
) -> None:
    place, size = tmp_path / "x.zarr", 8 * 5 * 4 * 4
    write_zarr(place, numbers(), **LAYOUTS[{"zstd": "chunks"}.get(codec, codec)])
    content = bytes(int(factor * size))
    packed = {"zstd": Zstd().encode, "gzip": gzip.compress, "blosc": numcodecs.Blosc().encode}[codec](content)
    chunk_files(place)[0].write_bytes(packed)
    with pytest.raises(ExampleError, match=f"its {codec} data"):
        ArraySource(place).read([0])


def test_a_frame_that_does_not_say_its_size_is_bounded_all_the_same(tmp_path: Path) -> None:
    """zstd frames of unknown size: magic, no content size, a 1 KB window, and blocks that repeat one byte."""
    place, size = tmp_path / "x.zarr", 8 * 5 * 4 * 4
    write_zarr(place, numbers(), **LAYOUTS["chunks"])

    def frame(*lengths: int) -> bytes:
        last = len(lengths) - 1
        blocks = [((n << 3) | (1 << 1) | (i == last)).to_bytes(3, "little") + b"\7" for i, n in enumerate(lengths)]
        return b"\x28\xb5\x2f\xfd" + bytes([0b0000_0000, 0b0000_0000]) + b"".join(blocks)

    chunk_files(place)[0].write_bytes(frame(size))
    assert ArraySource(place).read([0])[0].media == b"\7" * (5 * 4 * 4)
    chunk_files(place)[0].write_bytes(frame(*[1000] * 10_000))
    with pytest.raises(ExampleError, match="its zstd data is damaged"):
        ArraySource(place).read([0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shape": [10**30, 5, 4]}, "cannot be real"),
        ({"shape": [-1, 5, 4]}, "cannot be opened as zarr"),
        ({"shape": [0, 5, 4]}, "nothing along axis 0"),
        ({"shape": [], "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": []}}}, "no axis 0"),
        ({"shape": [53, 5, 10**10]}, "a chunk of 8 rows, each whole, holds"),
        (
            {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**10, 5, 4]}}},
            "holds 800,000,000,000",
        ),
        (
            {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [0, 5, 4]}}},
            "x.zarr: c",  # "chunks … hold nothing"; newer zarr refuses them first: "cannot be opened"
        ),
        (
            {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8, 10**10, 4]}}},
            "a chunk of (8, 10000000000, 4) holds",
        ),
        ({"chunk_grid": {"name": "magic"}}, "cannot be opened as zarr"),
        ({"codecs": [{"name": "bytes"}, {"name": "magic"}]}, "cannot be opened as zarr"),
        ({"data_type": "string", "fill_value": "", "codecs": [{"name": "vlen-utf8"}]}, "never Python objects"),
        ({"zarr_format": 9}, "cannot be opened as zarr"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_metadata_that_cannot_be_true_is_refused_before_anything_is_allocated(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    write_zarr(tmp_path / "x.zarr", numbers(), **LAYOUTS["chunks"])
    edit(tmp_path / "x.zarr", lambda metadata: metadata.update(change))
    with pytest.raises(SourceError) as caught:
        ArraySource(tmp_path / "x.zarr")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"node_type": "array"}', '{"a": ' * 100_000])
def test_metadata_that_is_no_metadata_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "x.zarr" / "zarr.json").write_text(text)
    with pytest.raises(SourceError):
        ArraySource(tmp_path / "x.zarr")


def test_a_shard_whose_index_lies_is_refused(tmp_path: Path) -> None:
    place = tmp_path / "x.zarr"
    write_zarr(place, numbers(), **LAYOUTS["shards"], compressors=None)
    edit(
        place,
        lambda metadata: metadata["codecs"][0]["configuration"].update(
            index_codecs=[{"name": "bytes", "configuration": {"endian": "little"}}]
        ),
    )
    for path in chunk_files(place):
        path.write_bytes(path.read_bytes()[:-4])  # without the checksum any index is believed at first
    np.testing.assert_array_equal(ArraySource(place).read([5])[0].media, numbers()[5].tobytes())
    victim = chunk_files(place)[0]
    for offset, length in ((2**63, 320), (0, 2**62), (320, 2**40), (victim.stat().st_size - 10, 320)):
        content = bytearray(victim.read_bytes())
        content[-64:-48] = offset.to_bytes(8, "little") + length.to_bytes(8, "little")
        victim.write_bytes(content)
        with pytest.raises(ExampleError, match=r"chunk c/0/0/0 cannot be read: .* cannot be right"):
            ArraySource(place).read([0])


@pytest.mark.parametrize("where", ["chunk", "index"])
def test_a_flipped_bit_under_a_checksum_is_found(tmp_path: Path, where: str) -> None:
    codecs = [zarr.codecs.Crc32cCodec()] if where == "chunk" else None
    settings = LAYOUTS["chunks"] if where == "chunk" else LAYOUTS["shards"]
    write_zarr(tmp_path / "x.zarr", numbers(), **{**settings, "compressors": codecs})
    victim = chunk_files(tmp_path / "x.zarr")[0]
    content = bytearray(victim.read_bytes())
    content[5 if where == "chunk" else -20] ^= 1
    victim.write_bytes(content)
    with pytest.raises(ExampleError, match="it fails its checksum"):
        ArraySource(tmp_path / "x.zarr").read([0])


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "exploded",)

    objects = np.array([Bomb()] * 20, object)
    np.save(tmp_path / "x.npy", objects, allow_pickle=True)
    np.savez(tmp_path / "x.npz", a=objects)
    write_zarr(tmp_path / "compressor.zarr", numbers(20), zarr_format=2)
    edit(
        tmp_path / "compressor.zarr",
        lambda metadata: metadata.update(compressor={"id": "pickle", "protocol": 5}),
        ".zarray",
    )
    write_zarr(tmp_path / "filter.zarr", numbers(20), zarr_format=2)
    edit(
        tmp_path / "filter.zarr",
        lambda metadata: metadata.update(filters=[{"id": "pickle"}], dtype="|O", fill_value=0),
        ".zarray",
    )
    for path in (*chunk_files(tmp_path / "compressor.zarr"), *chunk_files(tmp_path / "filter.zarr")):
        path.write_bytes(numcodecs.Pickle().encode(objects))
    for name in ("x.npy", "x.npz", "compressor.zarr", "filter.zarr"):
        with pytest.raises(SourceError, match="never"):
            ArraySource(tmp_path / name).read([0])
    assert not (tmp_path / "exploded").exists()
    pickle.loads(chunk_files(tmp_path / "compressor.zarr")[0].read_bytes())
    assert (tmp_path / "exploded").exists(), "it would have"


@pytest.mark.parametrize("kind", ["npy", "npz", "fortran"])
def test_a_numpy_file_that_is_cut_off_is_refused_and_one_that_is_cut_later_is_told(
    tmp_path: Path, kind: str
) -> None:
    place = tmp_path / ("x.npz" if kind == "npz" else "x.npy")
    if kind == "npz":
        np.savez(place, a=numbers())
    else:
        np.save(place, np.asfortranarray(numbers()) if kind == "fortran" else numbers())
    source, content = ArraySource(place), place.read_bytes()
    assert source.read([52])[0].media == numbers()[52].tobytes()
    source.close()
    place.write_bytes(content[:3000])
    with pytest.raises(ExampleError, match=r"ends|mapped"):
        source.read([52])
    with pytest.raises(SourceError, match=r"missing|not a readable .npz"):
        ArraySource(place)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 16)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-5, 4)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (4,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': ()}",
        "__import__('os').system('true')",
        "{" * 5000,
    ],
    ids=lambda header: header[:60],
)
def test_an_npy_header_that_lies_is_refused(tmp_path: Path, header: str) -> None:
    text = header.encode().ljust(118, b" ") + b"\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64))
    with pytest.raises(SourceError):
        ArraySource(tmp_path / "x.npy")


def test_hostile_sizes_stay_within_little_memory(tmp_path: Path) -> None:
    """With 40 MB to spare: a bomb in each codec."""
    for codec, encode in (("chunks", Zstd().encode), ("gzip", gzip.compress)):
        write_zarr(tmp_path / f"{codec}.zarr", numbers(), **LAYOUTS[codec])
        chunk_files(tmp_path / f"{codec}.zarr")[0].write_bytes(encode(bytes(60 << 20)))
    code = """
import resource, sys
from pipelines import ArraySource, PipelineError
import zarr, numcodecs
sources = [ArraySource(place) for place in sys.argv[1:]]
for source in sources:
    source.read([40])
used = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (used + (40 << 20), used + (40 << 20)))
for source in sources:
    try:
        source.read([0])
        print("read")
    except PipelineError as error:
        print("refused")
"""
    places = [str(tmp_path / f"{name}.zarr") for name in ("chunks", "gzip")]
    done = subprocess.run(
        [sys.executable, "-c", code, *places], capture_output=True, text=True, timeout=60, check=False,
        env={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.stdout.split() == ["refused"] * 2, done.stderr[-2000:]


def test_a_shard_index_of_gigabytes_is_refused(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "x.zarr", shape=(1 << 28, 1), chunks=(1, 1), shards=(1 << 27, 1), dtype="u1")
    with pytest.raises(SourceError, match="a shard's index of 2,147,483,648 bytes"):
        ArraySource(tmp_path / "x.zarr")


def test_without_zarr_the_command_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zarr(tmp_path / "x.zarr", numbers())
    np.save(tmp_path / "x.npy", numbers())
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r"pip install 'zarr>=3'"):
        ArraySource(tmp_path / "x.zarr")
    assert len(ArraySource(tmp_path / "x.npy")) == 53


def test_huge_metadata_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_zarr(tmp_path / "x.zarr", numbers())
    monkeypatch.setattr(zarr_node, "METADATA_BYTES", 100)
    with pytest.raises(SourceError, match="at most 100 are read"):
        ArraySource(tmp_path / "x.zarr")
    shutil.rmtree(tmp_path / "x.zarr")
    with pytest.raises(SourceError, match="no such file or folder"):
        ArraySource(tmp_path / "x.zarr")
