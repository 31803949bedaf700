"""Sizes that a file claims, or that a view hides: bounded, told, or not believed."""

from __future__ import annotations

import os
import time
import tracemalloc
from concurrent.futures import Future
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipelines import ArrayIterator, AudioIterator, ExampleError, PipelineError
from pipelines.decode.audio.curves import cut_curve
from pipelines.decode.errors import UndecodableError
from pipelines.sources.arrays.chunk_cache import ChunkCache
from pipelines.sources.located import Member
from pipelines.storage.tar_index import cache_folder

from .recordings import encoded, melody, reader, write_folder


def test_chunks_that_overhang_the_array_do_not_outgrow_the_cache(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "x.zarr", shape=(64, 3), chunks=(1, 1 << 20), dtype="u1")
    array[...] = np.arange(192, dtype=np.uint8).reshape(64, 3)
    tracemalloc.start()
    rows = ArrayIterator(tmp_path / "x.zarr", cache_bytes=4 << 20, batch_size=16, threads=1)
    assert np.concatenate([batch.data for batch in rows]).tolist() == array[...].tolist()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 << 20


def test_a_chunk_file_that_cannot_be_read_is_told_and_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "x.zarr", shape=(4, 2), chunks=(2, 2), dtype="f4")
    array[...] = 5
    chunk = tmp_path / "x.zarr" / "c" / "1" / "0"
    chunk.unlink()
    chunk.symlink_to(chunk)
    with pytest.raises(PipelineError, match="cannot be read"):
        list(ArrayIterator(tmp_path / "x.zarr", batch_size=2))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_chunks_that_its_parents_threads_load() -> None:
    cache = ChunkCache(1000)
    cache._loading["a"] = Future()
    child = os.fork()
    if not child:
        os._exit(int(cache.get("a", lambda: np.ones(3))[0]) + 6)
    deadline = time.monotonic() + 20
    while not (done := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            pytest.fail("the child waits for ever")
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(done[1]) == 7


@pytest.mark.parametrize(
    ("shape", "descr"),
    [("(250, 100000000)", "<f8"), ("(250,)", "<U500000000"), ("(250, -1)", "<f8"), (f"(250, {10**30})", "<f8")],
)
def test_a_curve_whose_header_lies_is_refused_and_nothing_is_read_for_it(shape: str, descr: str) -> None:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(2000)
    log: list[tuple[int, int]] = []
    with pytest.raises(UndecodableError):
        cut_curve(Member(reader(content, log), len(content)), range(10), whole=Fraction(250))
    assert all(length <= len(content) for _, length in log)


def test_a_sample_rate_too_far_from_the_one_asked_for_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a.wav": encoded(melody(600, 8), rate=1)})
    with pytest.raises(ExampleError, match="its sample rate of 1 Hz is too far from 48,000 Hz"):
        next(iter(AudioIterator(tmp_path, window=1000, sample_rate=48_000)))


def test_without_a_home_folder_there_is_a_cache_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("DIRVAE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert cache_folder().name.startswith("dirvae-")
