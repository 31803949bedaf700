"""Indexes of foreign tars and copies of gzipped ones: kept in a cache that may be old, damaged, full or missing."""

from __future__ import annotations

import errno
import gzip
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.errors import ShardError
from pipelines.sources import ShardSource, open_source
from pipelines.storage import tar_index
from pipelines.storage.blob import LocalFile
from pipelines.storage.tar_index import cache_folder, open_index

from .foreign_tars import by_us, by_webdataset, ordinary, write_tar


def cached() -> list[str]:
    return sorted(path.name for path in cache_folder().iterdir()) if cache_folder().exists() else []


def test_the_headers_are_scanned_once_and_the_cache_holds_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tar(tmp_path / "secret-name.tar", ordinary())
    first = by_us(path)
    assert len(cached()) == 1
    assert "secret" not in cached()[0]
    monkeypatch.setattr(tar_index, "scan_tar", lambda *_, **__: pytest.fail("scanned again"))
    assert by_us(path) == first


def test_a_tar_that_changed_is_scanned_again(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", ordinary(5))
    assert len(ShardSource([path])) == 5
    write_tar(path, ordinary(7))
    assert len(ShardSource([path])) == 7
    os.utime(path, ns=(0, 12345))
    assert len(ShardSource([path])) == 7
    assert len(cached()) == 3


def test_a_damaged_cache_entry_is_replaced(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", ordinary(5))
    ShardSource([path])
    entry = cache_folder() / cached()[0]
    good = entry.read_bytes()
    for bad in (b"", b"nonsense", good[:-1], good[:50]):
        entry.write_bytes(bad)
        assert len(ShardSource([path])) == 5
        assert entry.read_bytes() == good
    assert len(cached()) == 1, "nothing temporary is left"


def test_a_folder_of_shards_that_is_read_only_stays_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    path = write_tar(folder / "x.tar", ordinary(3))
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert len(open_source(path)) == 3
        assert [item.name for item in folder.iterdir()] == ["x.tar"]
    finally:
        folder.chmod(stat.S_IRWXU)


@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_without_a_cache_folder_tars_are_read_all_the_same(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIRVAE_CACHE", str(tmp_path / ("file" if place == "a file" else "file/below")))
    path = write_tar(tmp_path / "x.tar", ordinary(4))
    assert by_us(path) == by_webdataset(path)
    packed = write_tar(tmp_path / "y.tar.gz", ordinary(4), packed=True)
    with pytest.raises(ShardError, match=r"y\.tar\.gz.*cannot be written to.*DIRVAE_CACHE"):
        ShardSource([packed])


def test_a_cache_that_runs_full_costs_a_scan_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tar_index, "save_index", full)
    path = write_tar(tmp_path / "x.tar", ordinary(4))
    assert len(ShardSource([path])) == 4
    assert cached() == []


def test_gzipped_tars_are_unpacked_once_and_their_errors_name_the_original(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar.gz", ordinary(), packed=True)
    assert by_us(path) == by_webdataset(path)
    entries = cached()
    assert len(entries) == 2
    assert by_us(path) == by_webdataset(path)
    assert cached() == entries
    assert ShardSource([path])[3].error("x").container == str(path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "not gzip"])
def test_damaged_gzip_is_refused_in_a_sentence(damage: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tgz", ordinary(), packed=True)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[len(content) // 2] ^= 0xFF
    else:
        content[2:] = b"garbage" * 100
    path.write_bytes(content)
    with pytest.raises(ShardError, match=r"x\.tgz: .*gzip.*\.$"):
        ShardSource([path])
    assert cached() == [], "no half of a copy is left behind"


def test_gzip_that_unpacks_to_more_than_there_is_room_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_index, "MAX_INFLATED_BYTES", 100_000)
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    with pytest.raises(ShardError, match=r"bomb\.tar\.gz.*100,000 bytes.*DIRVAE_CACHE"):
        ShardSource([path])
    assert cached() == []


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIRVAE_CACHE", "/a")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("DIRVAE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/b/dirvae")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "dirvae"


def test_an_index_beside_the_tar_is_preferred_and_must_fit(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", ordinary(5))
    file = LocalFile(path)
    index = open_index(path, file)
    np.save(tmp_path / "x.tar.index.npy", index[:3])
    assert len(open_index(path, file)) == 3
    np.save(tmp_path / "x.tar.index.npy", np.zeros(3))
    with pytest.raises(ShardError, match=r"index\.npy.*Delete"):
        open_index(path, file)


def test_an_index_of_another_tar_of_the_same_size_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.jpg", b"a" * 3000), ("b.jpg", b"b" * 100)], "ustar")
    np.save(tmp_path / "x.tar.index.npy", open_index(path, LocalFile(path)))
    write_tar(path, [("a.jpg", b"a" * 100), ("b.jpg", b"b" * 3000)], "ustar")
    with pytest.raises(ShardError, match="index does not fit"):
        ShardSource([path]).read([1])
