"""Indexes of foreign tars and copies of gzipped ones: kept in a cache that may be old, damaged, full or missing."""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections import namedtuple
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from pipelines.errors import ShardError
from pipelines.sources import ShardSource, open_source
from pipelines.storage import cache, tar_index
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

    monkeypatch.setattr(cache, "_seal", full)
    path = write_tar(tmp_path / "x.tar", ordinary(4))
    assert len(ShardSource([path])) == 4
    assert cached() == []


def test_gzipped_tars_are_unpacked_once_and_their_errors_name_the_original(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar.gz", ordinary(), packed=True)
    assert by_us(path) == by_webdataset(path)
    entries = cached()
    assert len(entries) == 3, "the copy, what it was when it was made, and its index"
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


def test_gzip_of_something_else_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "notes.tar.gz"
    path.write_bytes(gzip.compress(b"just a long text " * 2_000_000))
    with patch.object(tar_index, "store_in_cache", wraps=tar_index.store_in_cache) as storing:
        with pytest.raises(
            ShardError, match=r"notes\.tar\.gz: gzipped, and what is in it is not a tar\. Name a tar\."
        ):
            ShardSource([path])
        assert storing.call_count == 1
    assert cached() == []


def test_the_copy_of_a_tar_that_is_refused_does_not_stay(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar.gz", ordinary(3), packed=True)
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[:2000]))
    with pytest.raises(ShardError, match=r"x\.tar\.gz: cut off at byte"):
        ShardSource([path])
    assert not [name for name in cached() if name.endswith(".tar")]


def test_a_tar_that_unpacks_to_hundreds_of_times_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar_index, "FREE_INFLATED_BYTES", 1 << 20)
    path = tmp_path / "x.tar.gz"
    member = tarfile.TarInfo("a.bin")
    member.size = 30_000_000
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(member, io.BytesIO(bytes(member.size)))
    with pytest.raises(ShardError, match=r"x\.tar\.gz: unpacks to more than 200 times its [0-9,]+ bytes.*gunzip"):
        ShardSource([path])
    assert cached() == []


def test_some_room_is_left_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "x.tar.gz", ordinary(3), packed=True)
    usage = namedtuple("usage", "total used free")(1 << 40, 0, tar_index.RESERVED_BYTES + 1000)
    monkeypatch.setattr(tar_index.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ShardError, match=r"unpacks to more than the 1,000 bytes there is room for"):
        ShardSource([path])


@pytest.mark.parametrize("how", ["written to", "cut", "a link"])
def test_a_copy_that_somebody_changed_is_made_again(how: str, tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar.gz", ordinary(3), packed=True)
    expected = by_us(path)
    copy = cache_folder() / next(name for name in cached() if name.endswith(".tar"))
    good = copy.read_bytes()
    if how == "a link":
        copy.rename(tmp_path / "elsewhere")
        copy.symlink_to(tmp_path / "elsewhere")
    else:
        copy.write_bytes(good[: len(good) // 2] if how == "cut" else good.replace(b"a", b"b"))
    assert by_us(path) == expected
    assert copy.read_bytes() == good
    assert not copy.is_symlink()


def test_every_bit_of_an_entry_counts_and_so_does_its_name(tmp_path: Path) -> None:
    cache.write_entry("one", b"content")
    assert bytes(cache.read_entry("one") or b"") == b"content"
    good = (cache_folder() / "one").read_bytes()
    for at in range(len(good)):
        (cache_folder() / "one").write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert cache.read_entry("one") is None
    (cache_folder() / "two").write_bytes(good)
    assert cache.read_entry("two") is None
    (cache_folder() / "one").unlink()
    (cache_folder() / "one").symlink_to(tmp_path / "three")
    (tmp_path / "three").write_bytes(good)
    assert cache.read_entry("one") is None


def test_what_another_user_has_put_there_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "x.tar", ordinary(5))
    ShardSource([path])
    shared, first = cache_folder(), cached()
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    assert cache_folder() == shared / f"user-{mine + 1}"
    assert cache.read_entry(first[0]) is None
    monkeypatch.setenv("DIRVAE_CACHE", str(tmp_path / "new"))
    monkeypatch.setattr(os, "geteuid", lambda: mine)
    cache.write_entry("entry", b"content")
    monkeypatch.setattr(cache, "cache_folder", lambda: tmp_path / "new")
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    assert cache.read_entry("entry") is None, "in a folder of our own, too"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as two users")
def test_two_users_share_a_cache_folder() -> None:
    with tempfile.TemporaryDirectory() as place:  # pytest's own is closed to others
        two_users_share_a_cache_folder(Path(place))


def two_users_share_a_cache_folder(place: Path) -> None:
    place.chmod(0o755)
    path = write_tar(place / "x.tar", ordinary(5))
    shared = place / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    code = "import os, sys; sys.path.insert(0, sys.argv[1])\nfrom pipelines.sources import ShardSource\n"
    code += "os.setuid(int(sys.argv[3])); print(len(ShardSource([sys.argv[2]])))"
    root = Path(__file__).resolve().parents[2]
    for user in ("0", "65534", "65533", "65534"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(root), str(path), user],
            env={**os.environ, "DIRVAE_CACHE": str(shared)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "5"
    owners = {entry.name: entry.stat().st_uid for entry in shared.iterdir()}
    assert {name: owner for name, owner in owners.items() if name.startswith("user-")} == {
        "user-65533": 65533,
        "user-65534": 65534,
    }
