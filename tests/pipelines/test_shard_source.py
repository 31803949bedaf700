"""Examples of shards at random: by index and key, from many threads, through pickle, after growth."""

from __future__ import annotations

import copy
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pipelines import hold_out, open_source
from pipelines.errors import ShardError
from pipelines.sources import Selection, shards

from .shard_files import JPEG, keys, put, write_manifest, write_shard, write_shards


def test_indices_and_keys_find_the_same_examples(tmp_path: Path) -> None:
    source = open_source(write_shards(tmp_path, [3, 4]))
    assert source.find("000005") == 5
    assert source[-1].key == "000006"
    assert [example.index for example in source.read([6, 0, 3, 3])] == [6, 0, 3, 3]
    assert source.read([]) == []
    with pytest.raises(KeyError, match="nobody"):
        source.find("nobody")
    for index in (7, -8):
        with pytest.raises(IndexError, match=str(index)):
            source[index]


def open_files() -> int:
    """Open file descriptors of this process; 0 where the system does not tell."""
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.exists() else 0


def test_more_shards_than_may_be_open_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "OPEN_SHARDS", 4)
    folder, before = write_shards(tmp_path, [2] * 12), open_files()
    source = open_source(folder)
    order = np.random.default_rng(0).permutation(24)
    assert [example.key for example in source.read(order.tolist())] == [f"{number:06d}" for number in order]
    assert open_files() <= before + 2 * 4, "a tar and its mapped index for each of four shards"
    source.close()
    assert open_files() == before
    assert source[23].key == "000023"


def test_many_threads_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "OPEN_SHARDS", 3)
    source = open_source(write_shards(tmp_path, [5] * 8))
    rng = np.random.default_rng(0)
    asked = [rng.integers(0, 40, 20).tolist() for _ in range(60)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda rows: [example.media for example in source.read(rows)], asked))
    assert found == [[JPEG + str(number).encode() for number in rows] for rows in asked]


def test_an_empty_file_whose_header_is_cut_off_after_opening_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    source = open_source(path)
    assert source[0].media == b""
    os.truncate(path, 100)
    with pytest.raises(ShardError, match=r"s\.tar: cut off at byte 0"):
        source[0]


def test_every_source_survives_pickle_and_copy_before_and_after_it_was_read(tmp_path: Path) -> None:
    folder = put(tmp_path / "plain", *(f"{number:02d}.jpg" for number in range(9)))
    shard_source = open_source(write_shards(tmp_path / "shards", [20, 20]))
    rest, held = hold_out(shard_source, 0.2)
    for source in (
        open_source(folder),
        shard_source,
        rest,
        held,
        Selection(shard_source, [3, 1]),
        Selection(rest, range(4)),
    ):
        for remake in (lambda s: pickle.loads(pickle.dumps(s)), copy.copy, copy.deepcopy):
            for _ in range(2):
                again = remake(source)
                assert keys(again) == keys(source)
                assert again.data_hash == source.data_hash
                assert repr(again) == repr(source)


def test_appended_shards_leave_the_hash_of_every_earlier_length_alone(tmp_path: Path) -> None:
    for manifest in (False, True):
        folder = write_shards(tmp_path / str(manifest), [3, 2], manifest=manifest)
        before = open_source(folder)
        write_shard(folder / "s-0002.tar", 5, 4)
        if manifest:
            write_manifest(folder)
        after = open_source(folder)
        assert after.prefix_hash(5) == before.data_hash != after.data_hash
        assert after.prefix_hash(3) == before.prefix_hash(3) is not None
        assert [after.prefix_hash(num) for num in (0, 1, 4, 6, 10)] == [None] * 5


def test_an_appended_shard_without_examples_changes_nothing(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, [3, 2])
    before = open_source(folder).data_hash
    with tarfile.open(folder / "s-0002.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("README"))
    assert open_source(folder).prefix_hash(5) == before
