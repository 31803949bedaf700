"""The cache of whole shards: bounded, right, shared; whatever happens to the files in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pickle
import random
import resource
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.errors import ShardError, SourceError
from pipelines.storage.remote import shard_writer
from pipelines.storage.remote.cache_errors import CacheError, CacheFullError, ChecksumError
from pipelines.storage.remote.cached_files import digest_of_name
from pipelines.storage.remote.held_files import HeldFile
from pipelines.storage.remote.leases import Lease
from pipelines.storage.remote.shard_cache import ShardCache

from .remote_contents import content_of, download_of, sha256_of

SIZE = 10_000


def acquire(cache: ShardCache, name: str, *, size: int = SIZE, checked: bool = True, **settings: Any) -> Lease:
    sha256 = sha256_of(name, size) if checked else None
    return cache.acquire(name, "1", size, download_of(name, size), sha256=sha256, **settings)


def never(_: Any) -> None:
    raise AssertionError("it was to be there")


def names_in(cache: ShardCache, names: str) -> str:
    """Which of these are there, without asking for them."""
    there = {path.name.split("-")[0] for path in cache.folder.glob("*.shard")}
    return "".join(name for name in names if digest_of_name(name) in there)


@pytest.fixture
def cache(tmp_path: Path) -> ShardCache:
    return ShardCache(tmp_path / "cache", 3 * SIZE, wait_seconds=0.2)


def test_a_file_is_downloaded_once_and_then_found(cache: ShardCache) -> None:
    for turn in range(3):
        with acquire(cache, "a") as lease:
            assert lease.path.read_bytes() == content_of("a", SIZE)
            assert (cache.counts.misses, cache.counts.hits) == (1, turn)
    assert cache.used_bytes() == SIZE


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3_500_000])
@pytest.mark.parametrize("pieces", [1, 3, 200])
def test_every_size_and_way_of_writing_gives_the_bytes(tmp_path: Path, size: int, pieces: int) -> None:
    cache = ShardCache(tmp_path, 1 << 23)
    with cache.acquire("x", "1", size, download_of("x", size, pieces=pieces), sha256=sha256_of("x", size)) as lease:
        assert lease.path.read_bytes() == content_of("x", size)


def test_a_buffer_may_be_used_again_after_it_was_written(tmp_path: Path) -> None:
    content = content_of("x", 40_000)

    def download(writer: Any) -> None:
        buffer = bytearray(4_000)
        for start in range(0, 40_000, 4_000):
            buffer[:] = content[start : start + 4_000]
            writer.write(buffer)

    with ShardCache(tmp_path, 1 << 20).acquire("x", "1", 40_000, download) as lease:
        assert lease.path.read_bytes() == content


def test_another_identity_is_another_file(cache: ShardCache) -> None:
    acquire(cache, "a").release()
    cache.acquire("a", "2", SIZE, download_of("b", SIZE)).release()
    assert cache.counts.misses == 2


@pytest.mark.parametrize("writes", [[SIZE - 1], [SIZE + 1], [SIZE, 1], []])
def test_too_few_or_too_many_bytes_are_refused_and_leave_nothing(cache: ShardCache, writes: list[int]) -> None:
    def download(writer: Any) -> None:
        for size in writes:
            writer.write(b"x" * size)

    with pytest.raises(ChecksumError, match=r"^far/a\.tar: .*bytes came"):
        cache.acquire("far/a.tar", "1", SIZE, download)
    assert cache.used_bytes() == 0


def test_other_bytes_than_the_digest_says_are_refused_and_leave_nothing(cache: ShardCache) -> None:
    with pytest.raises(ShardError, match=r"^far/a\.tar: its SHA-256"):
        cache.acquire("far/a.tar", "1", SIZE, download_of("b", SIZE), sha256=sha256_of("a", SIZE))
    assert cache.used_bytes() == 0


def test_what_the_download_raises_passes_through_and_leaves_nothing(cache: ShardCache) -> None:
    def download(writer: Any) -> None:
        writer.write(b"x" * 10)
        raise ConnectionResetError("the peer went away")

    with pytest.raises(ConnectionResetError, match="the peer"):
        cache.acquire("a", "1", SIZE, download)
    assert cache.used_bytes() == 0
    acquire(cache, "a").release()


def test_what_was_used_longest_ago_goes_first(cache: ShardCache) -> None:
    for name in "abcad":
        acquire(cache, name).release()
    assert names_in(cache, "abcd") == "acd"
    assert cache.counts.evictions == 1


def test_what_is_not_due_goes_first_and_then_what_is_due_last(cache: ShardCache) -> None:
    for name in "abc":
        acquire(cache, name).release()
    cache.due("cab")
    acquire(cache, "d").release()
    assert names_in(cache, "abcd") == "acd"  # b was due last
    acquire(cache, "e").release()
    assert names_in(cache, "acde") == "ace"  # d is not due
    cache.done("c")
    cache.done("a")
    acquire(cache, "b").release()
    assert names_in(cache, "abce") == "bce"  # neither is due any more, and a was used longer ago
    cache.due(None)


def test_reading_ahead_takes_no_room_from_what_is_due_earlier(cache: ShardCache) -> None:
    cache.due("abcd")
    for name in "abc":
        acquire(cache, name).release()
    with pytest.raises(CacheFullError):
        acquire(cache, "d", ahead=True)
    with pytest.raises(CacheFullError):
        acquire(cache, "z", ahead=True)
    assert names_in(cache, "abcdz") == "abc"
    acquire(cache, "d").release()
    assert names_in(cache, "abcd") == "abd"


def test_what_is_leased_is_not_evicted_and_the_error_gives_the_numbers(cache: ShardCache) -> None:
    leases = [acquire(cache, name) for name in "abc"]
    assert cache.leased_bytes() == 3 * SIZE
    began = time.monotonic()
    with pytest.raises(SourceError, match=r"cache of 30,000 bytes holds 3 shards .* 30,000 bytes; d needs 10,000"):
        acquire(cache, "d")
    assert 0.2 <= time.monotonic() - began < 5
    for lease, name in zip(leases, "abc", strict=True):
        assert lease.path.read_bytes() == content_of(name, SIZE)
    leases[1].release()
    acquire(cache, "d").release()
    assert names_in(cache, "abcd") == "acd"
    assert cache.counts.waits == 1


def test_room_that_becomes_free_is_waited_for(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, SIZE, wait_seconds=30)
    lease = acquire(cache, "a")
    threading.Timer(0.1, lease.release).start()
    acquire(cache, "b").release()
    assert names_in(cache, "ab") == "b"


def test_a_file_larger_than_the_cache_is_refused_at_once(cache: ShardCache) -> None:
    with pytest.raises(CacheFullError, match=r"^a: its 30,001 bytes are more .* Raise cache_bytes"):
        acquire(cache, "a", size=3 * SIZE + 1)


def test_nothing_is_evicted_where_that_does_not_make_enough_room(cache: ShardCache) -> None:
    acquire(cache, "a").release()
    with acquire(cache, "b"), pytest.raises(CacheFullError):
        acquire(cache, "c", size=3 * SIZE)
    assert names_in(cache, "ab") == "ab"


def test_threads_that_want_the_same_file_download_it_once(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 10 * SIZE)

    def use(_: int) -> bytes:
        sha256 = sha256_of("a", SIZE)
        with cache.acquire("a", "1", SIZE, download_of("a", SIZE, pause=0.02), sha256=sha256) as lease:
            return lease.path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(use, range(32))) == {content_of("a", SIZE)}
    assert (cache.counts.misses, cache.counts.hits) == (1, 31)


def test_one_that_waits_takes_over_from_one_that_fails(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path, 10 * SIZE)
    has_begun = threading.Event()

    def fail(_: Any) -> None:
        has_begun.set()
        time.sleep(0.1)
        raise ConnectionResetError

    with ThreadPoolExecutor(1) as pool:
        failed = pool.submit(cache.acquire, "a", "1", SIZE, fail, sha256=sha256_of("a", SIZE))
        assert has_begun.wait(10)
        acquire(cache, "a").release()
        assert isinstance(failed.exception(), ConnectionResetError)
    assert cache.counts.waits == 1


def test_a_download_that_gets_nothing_is_not_waited_for_without_end(cache: ShardCache) -> None:
    has_begun, may_end = threading.Event(), threading.Event()

    def stall(writer: Any) -> None:
        has_begun.set()
        may_end.wait(30)
        download_of("a", SIZE)(writer)

    with ThreadPoolExecutor(1) as pool:
        stalled = pool.submit(cache.acquire, "a", "1", SIZE, stall, sha256=sha256_of("a", SIZE))
        assert has_begun.wait(10)
        with pytest.raises(CacheError, match=r"^a: another process downloads it"):
            acquire(cache, "a")
        may_end.set()
        stalled.result().release()


def test_a_slow_download_is_waited_for_as_long_as_something_comes(
    cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_writer, "LONGEST_GATHERING_SECONDS", 0.02)
    has_begun = threading.Event()

    def download(writer: Any) -> None:
        has_begun.set()
        download_of("a", SIZE, pieces=20, pause=0.04)(writer)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(cache.acquire, "a", "1", SIZE, download, sha256=sha256_of("a", SIZE))
        assert has_begun.wait(10)
        cache.acquire("a", "1", SIZE, never, sha256=sha256_of("a", SIZE)).release()
        slow.result().release()


def truncate(path: Path) -> None:
    os.truncate(path, SIZE - 1)


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"damage")


def make_longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"damage")


def link_elsewhere(path: Path) -> None:
    other = path.parent / "of somebody else"
    path.rename(other)
    path.symlink_to(other)


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("damage", [truncate, overwrite, make_longer, link_elsewhere, make_pipe, Path.unlink])
def test_a_damaged_entry_is_fetched_again(cache: ShardCache, damage: Any) -> None:
    with acquire(cache, "a") as lease:
        path = lease.path
    damage(path)
    with acquire(cache, "a") as lease:
        assert lease.path.read_bytes() == content_of("a", SIZE)
        assert not lease.path.is_symlink()
    assert cache.counts.misses == 2


def test_an_entry_from_before_a_start_of_the_machine_is_compared_with_its_digest(
    cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with acquire(cache, "good"), acquire(cache, "bad") as lease:
        path = lease.path
    status = path.stat()
    overwrite(path)  # as a crash leaves a file that was not flushed: with its times and size
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    started_again = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    monkeypatch.setattr(time, "clock_gettime_ns", lambda _: time.monotonic_ns() - started_again)
    with acquire(cache, "good") as lease:
        assert lease.path.read_bytes() == content_of("good", SIZE)
    assert cache.counts.misses == 2
    with acquire(cache, "bad") as lease:
        assert lease.path.read_bytes() == content_of("bad", SIZE)
    assert cache.counts.misses == 3


def test_what_has_no_digest_is_flushed_before_it_is_believed(
    cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed = []
    monkeypatch.setattr("pipelines.storage.remote.shard_cache._flush", lambda *what: flushed.append(what))
    acquire(cache, "a").release()
    assert not flushed
    acquire(cache, "a", checked=False).release()
    assert len(flushed) == 1


def test_a_deleted_folder_is_made_again_also_during_a_download(cache: ShardCache) -> None:
    def delete() -> None:
        for path in cache.folder.iterdir():
            path.unlink()
        cache.folder.rmdir()

    acquire(cache, "a").release()
    delete()
    turns = []

    def download(writer: Any) -> None:
        turns.append(0)
        if len(turns) == 1:
            delete()
        download_of("a", SIZE)(writer)

    with cache.acquire("a", "1", SIZE, download, sha256=sha256_of("a", SIZE)) as lease:
        assert lease.path.read_bytes() == content_of("a", SIZE)
    assert len(turns) == 2


def test_files_of_others_are_neither_counted_nor_removed(cache: ShardCache) -> None:
    cache.folder.mkdir()
    foreign = [cache.folder / name for name in ("notes.txt", "a.shard", "x" * 24 + "-" + "y" * 24 + ".part")]
    for path in foreign:
        path.write_bytes(b"x" * 5 * SIZE)
    for name in "abcde":
        acquire(cache, name).release()
    assert cache.used_bytes() == 3 * SIZE
    assert all(path.stat().st_size == 5 * SIZE for path in foreign)


def test_what_a_dead_process_left_is_removed_by_the_next_download(cache: ShardCache) -> None:
    cache.folder.mkdir()
    (cache.folder / f"{'a' * 24}-{'b' * 24}.part").write_bytes(b"x" * 3 * SIZE)
    acquire(cache, "a").release()
    assert cache.used_bytes() == SIZE


@pytest.mark.parametrize("what", ["statvfs", "write"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    cache: ShardCache, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def fail(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, what, fail)
        with pytest.raises(CacheError, match=r"No space left on device\)\. Free some space"):
            acquire(cache, "a")
    assert cache.used_bytes() == 0
    acquire(cache, "a").release()


@pytest.mark.parametrize("ahead", [False, True])
def test_on_a_full_disk_what_nobody_uses_makes_way(
    cache: ShardCache, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    """The disk has room for two files, the cache for three."""

    def statvfs(_: Any) -> Any:
        used = sum(path.stat().st_size for path in cache.folder.glob("*.shard"))
        return SimpleNamespace(f_bavail=2 * SIZE - used, f_frsize=1)

    monkeypatch.setattr(os, "statvfs", statvfs)
    acquire(cache, "a").release()
    held = acquire(cache, "b")
    cache.due("cb" if ahead else "ca")
    acquire(cache, "c", ahead=ahead).release()
    assert names_in(cache, "abc") == "bc"
    assert cache.counts.evictions == 1
    also_held = acquire(cache, "c")
    with pytest.raises(CacheFullError if ahead else CacheError, match="No space left on device"):
        acquire(cache, "d", ahead=ahead)
    assert names_in(cache, "abcd") == "bc"
    held.release()
    also_held.release()
    if ahead:  # what is due earlier stays
        cache.due(None)
        cache.due("bcd")
        with pytest.raises(CacheFullError, match="No space left on device"):
            acquire(cache, "d", ahead=True)
    acquire(cache, "d").release()
    assert cache.counts.evictions == 2


def test_too_many_open_files_are_named_and_cost_no_file(cache: ShardCache) -> None:
    acquire(cache, "a").release()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    files: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                files.append(os.open(os.devnull, os.O_RDONLY))
        with pytest.raises(CacheError, match=r"Too many open files\)\. Allow more"):
            acquire(cache, "a")
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    acquire(cache, "a").release()
    assert cache.counts.misses == 1


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CacheError, match=r"file/cache: cannot be kept in the cache \(Not a directory\)"):
        acquire(ShardCache(tmp_path / "file" / "cache", SIZE), "a")
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    with pytest.raises(CacheError, match="belongs to another user"):
        acquire(ShardCache(tmp_path, SIZE), "a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_can_only_be_read_gives_what_it_has(cache: ShardCache) -> None:
    acquire(cache, "a").release()
    cache.folder.chmod(0o500)
    acquire(cache, "a").release()
    with pytest.raises(CacheError, match="Permission denied"):
        acquire(cache, "b")


def test_files_of_another_user_are_not_believed(cache: ShardCache, monkeypatch: pytest.MonkeyPatch) -> None:
    acquire(cache, "a").release()
    true_fstat = os.fstat

    def fstat(descriptor: int) -> Any:
        status = true_fstat(descriptor)
        values = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        return SimpleNamespace(**{**values, "st_uid": status.st_uid + 1})

    with monkeypatch.context() as patched:
        patched.setattr(os, "fstat", fstat)
        acquire(cache, "a").release()
    assert cache.counts.misses == 2


def test_a_file_that_is_evicted_while_it_is_opened_is_fetched_again(
    cache: ShardCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with acquire(cache, "a") as lease:
        path = lease.path
    true_lock = HeldFile.lock

    def lock(held: HeldFile, *, shared: bool = False) -> bool:
        if shared:
            monkeypatch.undo()
            path.unlink()  # by another process, between opening and locking
        return true_lock(held, shared=shared)

    monkeypatch.setattr(HeldFile, "lock", lock)
    with acquire(cache, "a") as lease:
        assert lease.path.read_bytes() == content_of("a", SIZE)
    assert cache.counts.misses == 2


def test_a_lock_is_freed_also_where_a_copy_of_the_descriptor_lives(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    first, second = HeldFile(tmp_path / "file"), HeldFile(tmp_path / "file")
    assert first.lock()
    assert not second.lock(shared=True)
    copy = os.dup(first.descriptor)
    first.close()
    first.close()
    assert second.lock()
    os.close(copy)


def test_a_copy_from_a_pickle_shares_the_files_and_nothing_else(cache: ShardCache) -> None:
    lease = acquire(cache, "a")
    copy = pickle.loads(pickle.dumps(cache))
    copy.acquire("a", "1", SIZE, never, sha256=sha256_of("a", SIZE)).release()
    assert (copy.counts.hits, copy.counts.misses, copy.leased_bytes(), copy.max_bytes) == (1, 0, 0, cache.max_bytes)
    with pytest.raises(TypeError, match="lease"):
        pickle.dumps(lease)


def test_a_forked_process_holds_no_lease(cache: ShardCache) -> None:
    leases = [acquire(cache, name) for name in "abc"]
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.close(theirs)
        for lease in leases:
            lease.release()  # not this process's: nothing happens
        os.read(ours, 1)
        os._exit(0)
    os.close(ours)
    try:
        with pytest.raises(CacheFullError):
            acquire(cache, "d")
        leases[0].release()
        acquire(cache, "d").release()
        assert names_in(cache, "abcd") == "bcd"
    finally:
        os.close(theirs)
        os.waitpid(child, 0)


def test_a_lease_ends_when_it_is_forgotten(cache: ShardCache) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    leases = [acquire(cache, name) for name in "abc"]
    del leases
    assert cache.leased_bytes() == 0
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_lock_that_is_never_freed_is_named(cache: ShardCache) -> None:
    acquire(cache, "a").release()
    with open(cache.folder / "lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        acquire(cache, "a").release()  # what is there needs no lock
        with pytest.raises(CacheError, match="has held its lock"):
            acquire(cache, "b")


class Model:
    """What should be there, by rules written down a second time."""

    def __init__(self, most: int) -> None:
        self.most, self.sizes, self.used, self.due = most, dict[str, int](), list[str](), list[str]()

    def acquire(self, name: str, size: int, leased: set[str], *, ahead: bool) -> str:
        if name in self.sizes:
            self.used.remove(name)
            self.used.append(name)
            return "hit"
        mine = self.due.index(name) if name in self.due else None
        gone: list[str] = []
        for other in [n for n in self.used if n not in self.due] + [n for n in self._late() if n in self.used]:
            if sum(self.sizes.values()) - sum(self.sizes[n] for n in gone) + size <= self.most:
                break
            is_early = ahead and other in self.due and (mine is None or self.due.index(other) < mine)
            if other not in leased and not is_early:
                gone.append(other)
        if sum(self.sizes.values()) - sum(self.sizes[n] for n in gone) + size > self.most:
            return "full"
        for other in gone:
            self.used.remove(other)
            del self.sizes[other]
        self.sizes[name] = size
        self.used.append(name)
        return "miss"

    def _late(self) -> list[str]:
        return sorted(set(self.due), key=self.due.index, reverse=True)


@pytest.mark.parametrize("seed", range(6))
def test_any_order_of_calls_keeps_what_the_rules_say(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    names = "abcdefghij"
    sizes = {name: rng.randrange(1, 40) for name in names}
    cache, model = ShardCache(tmp_path, 100, wait_seconds=0), Model(100)
    held: list[tuple[str, Lease]] = []
    seen: list[str] = []
    for _ in range(400):
        what = rng.random()
        if what < 0.55:
            name, ahead = rng.choice(names), rng.random() < 0.3
            before = cache.counts.hits, cache.counts.misses
            expected = model.acquire(name, sizes[name], {n for n, _ in held}, ahead=ahead)
            try:
                held.append((name, acquire(cache, name, size=sizes[name], ahead=ahead)))
            except CacheFullError:
                assert expected == "full"
            else:
                found = {(1, 0): "hit", (0, 1): "miss"}[
                    cache.counts.hits - before[0], cache.counts.misses - before[1]
                ]
                assert found == expected
            seen.append(expected)
        elif what < 0.85 and held:
            held.pop(rng.randrange(len(held)))[1].release()
        elif what < 0.9:
            more = None if rng.random() < 0.3 else rng.choices(names, k=5)
            cache.due(more)
            model.due = [] if more is None else model.due + more
        elif model.due:
            name = rng.choice(model.due)
            cache.done(name)
            model.due.remove(name)
        assert set(names_in(cache, names)) == set(model.sizes)
        assert cache.used_bytes() == sum(model.sizes.values()) <= 100
        assert cache.leased_bytes() == sum(sizes[name] for name in {n for n, _ in held})
    for name, lease in held:
        assert lease.path.read_bytes() == content_of(name, sizes[name])
    assert min(map(seen.count, ("hit", "miss", "full"))) > 5
