"""One contract of stores and blobs, for each kind there is: files, memory, the web, S3, and what fsspec reaches."""

from __future__ import annotations

import json
import os
import pickle
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import SourceError
from pipelines.storage.frame_table import frames_name, frames_path
from pipelines.storage.index import index_name, index_path
from pipelines.storage.remote.remote_store import RemoteOptions, RemoteStore
from pipelines.storage.remote.urls import join
from pipelines.storage.store import LocalStore, MemoryStore, Store
from tests.web_server import WebServer

from .moto_server import aws_settings, run_moto

CONTENT = bytes(range(256)) * 5
ODD_NAMES = ("plain.tar", "with space.tar", "hundred%20percent.tar", "münchen + köln.tar", "a=b&c,d.tar", "x#y.tar")


@dataclass
class Place:
    """A store, and how a file gets there: the name that it then has is returned."""

    store: Store
    put: Callable[[str, bytes], str]
    root: str = ""


def local(tmp_path: Path) -> Iterator[Place]:
    def put(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return str(tmp_path / name)

    yield Place(LocalStore(), put, str(tmp_path))


def memory(tmp_path: Path) -> Iterator[Place]:
    store = MemoryStore({})

    def put(name: str, content: bytes) -> str:
        store.contents[name] = content
        return name

    yield Place(store, put)


def fsspec_memory(tmp_path: Path) -> Iterator[Place]:
    fsspec = pytest.importorskip("fsspec")
    system, root = fsspec.filesystem("memory"), f"memory://{tmp_path.name}/shards"

    def put(name: str, content: bytes) -> str:
        system.pipe_file(join(root, name), content)
        return join(root, name)

    yield Place(RemoteStore(root), put, root)
    system.rm(root, recursive=True)


def fsspec_file(tmp_path: Path) -> Iterator[Place]:
    pytest.importorskip("fsspec")
    root = f"file://{tmp_path}"

    def put(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return join(root, name)

    yield Place(RemoteStore(root), put, root)


def web(tmp_path: Path) -> Iterator[Place]:
    server = WebServer()
    root = f"{server.url}/some/shards"

    def put(name: str, content: bytes) -> str:
        server.files[f"/some/shards/{name}"] = content
        return join(root, name)

    store = RemoteStore(root)
    yield Place(store, put, root)
    store.close()
    server.close()


@pytest.fixture(scope="session")
def aws() -> Iterator[tuple[str, Any]]:
    """The address of an S3 in this process, and boto3's client of it."""
    yield from run_moto()


@pytest.fixture
def aws_environment(aws: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """boto3's client; the environment leads to the S3, and to no credentials of this machine."""
    for name, value in aws_settings(aws[0]).items():
        monkeypatch.setenv(name, value)
    return aws[1]


def s3(client: Any, store: Callable[[str], Store]) -> Place:
    bucket = f"bucket-{uuid.uuid4().hex[:8]}"
    client.create_bucket(Bucket=bucket)
    root = f"s3://{bucket}/some/shards"

    def put(name: str, content: bytes) -> str:
        client.put_object(Bucket=bucket, Key=f"some/shards/{name}", Body=content)
        return join(root, name)

    return Place(store(root), put, root)


KINDS = {"files": local, "memory": memory, "memory://": fsspec_memory, "file://": fsspec_file, "http": web}


S3 = [pytest.param(name, marks=pytest.mark.heavy) for name in ("s3 by obstore", "s3 by s3fs")]


@pytest.fixture(params=[*KINDS, *S3])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Each kind of store in turn."""
    if request.param in KINDS:
        yield from KINDS[request.param](tmp_path)
        return
    client = request.getfixturevalue("aws_environment")
    if request.param == "s3 by obstore":
        pytest.importorskip("obstore")
    else:
        pytest.importorskip("s3fs")
        monkeypatch.setattr("pipelines.storage.remote.clients.is_obstore_usable", lambda: False)
    yield s3(client, RemoteStore)  # noqa: PT022 - as above


def test_a_blob_is_read_at_any_offset_and_ends_where_it_ends(place: Place) -> None:
    blob = place.store.open(place.put("blob.bin", CONTENT))
    assert blob.size == len(CONTENT)
    for offset, length in ((0, 1), (0, 0), (17, 300), (1279, 1), (1270, 100), (1280, 5), (5000, 5), (0, 5000)):
        assert blob.read(offset, length) == CONTENT[offset : offset + length]


def test_an_empty_blob_is_read_as_nothing(place: Place) -> None:
    name = place.put("empty.bin", b"")
    assert place.store.size_of(name) == 0
    assert place.store.open(name).read(0, 10) == b""


def test_large_reads_come_whole_and_from_many_threads(place: Place) -> None:
    content = os.urandom(3 << 20)
    blob = place.store.open(place.put("large.bin", content))
    spans = [(start, 100_000 + start % 777) for start in range(0, 3 << 20, 200_000)]
    with ThreadPoolExecutor(4) as pool:
        for (start, length), found in zip(spans, pool.map(lambda span: blob.read(*span), spans), strict=True):
            assert found == content[start : start + length]
    assert blob.read(0, len(content)) == content


def test_what_is_missing_has_no_size_and_is_named_when_it_is_opened(place: Place) -> None:
    name = place.put("here.bin", b"1").replace("here", "absent")
    assert place.store.size_of(name) is None
    with pytest.raises(SourceError, match=r"absent\.bin: "):
        place.store.open(name)


@pytest.mark.parametrize("odd", ODD_NAMES)
def test_names_may_hold_what_file_names_hold(place: Place, odd: str) -> None:
    name, other = place.put(odd, odd.encode()), place.put(f"{odd}.index.npy", b"index")
    assert place.store.open(name).read(0, 100) == odd.encode()
    assert index_name(name) == other
    assert place.store.open(index_name(name)).read(0, 100) == b"index"
    assert place.store.size_of(frames_name(name)) is None


def test_a_store_can_be_pickled_and_used_before_and_after(place: Place) -> None:
    name = place.put("blob.bin", CONTENT)
    assert place.store.open(name).read(3, 4) == CONTENT[3:7]
    again = pickle.loads(pickle.dumps(place.store))
    assert again.open(name).read(3, 4) == CONTENT[3:7]


def test_an_identity_changes_with_the_content_and_is_otherwise_the_same(place: Place) -> None:
    name = place.put("blob.bin", CONTENT)
    before = place.store.identity_of(name)
    again = pickle.loads(pickle.dumps(place.store)) if place.root else place.store
    assert again.identity_of(name) == before
    if before is None:
        return
    assert place.store.open(name).read(0, 5000) == CONTENT
    assert place.store.identity_of(name) == before
    assert isinstance(json.loads(before), list)
    assert place.store.identity_of(place.put("other.bin", CONTENT)) != before
    place.put("blob.bin", CONTENT[:-1] + b"x")
    assert pickle.loads(pickle.dumps(place.store)).identity_of(name) != before


def remote(place: Place) -> RemoteStore:
    if not isinstance(place.store, RemoteStore):
        pytest.skip("a store of this machine")
    return place.store


def test_a_remote_file_is_read_whole_and_handed_on_in_pieces(place: Place) -> None:
    store, content = remote(place), os.urandom((5 << 20) + 17)
    name, pieces = place.put("large.bin", content), list[bytes]()
    assert store.read_whole(name) == content
    assert store.download(name, pieces.append) == len(content)
    assert b"".join(pieces) == content
    assert all(len(piece) >= 1 << 20 for piece in pieces[:-1])
    assert store.read_whole(place.put("empty.bin", b"")) == b""
    with pytest.raises(SourceError, match=r"absent\.bin: no such file"):
        store.read_whole(join(place.root, "absent.bin"))


def test_a_remote_folder_is_listed_with_everything_below_it(place: Place) -> None:
    store = remote(place)
    if place.root.startswith("file:"):
        Path(place.root.removeprefix("file://"), "below").mkdir()
    names = {place.put(name, b"123"): 3 for name in ("b.tar", "a b.tar", "below/c.tar")}
    found = store.list()
    assert [name for name, _ in found] == sorted(names)
    assert {size for _, size in found} <= {3, None}
    for name, _ in found:
        assert store.open(name).read(0, 3) == b"123"
    assert [name for name, _ in store.list(join(place.root, "below"))] == [join(place.root, "below/c.tar")]


def test_sizes_that_are_known_cost_no_request_and_must_be_right(place: Place) -> None:
    store, name = remote(place), place.put("blob.bin", CONTENT)
    known = store.with_sizes({name: len(CONTENT), join(place.root, "absent.bin"): 7})
    blob = known.open(name)
    assert (blob.size, known.size_of(name)) == (len(CONTENT), len(CONTENT))
    assert store.counters.now().requests == 0
    assert blob.read(10, 5000) == CONTENT[10:]
    assert store.counters.now().requests == 1
    assert known.identity_of(name) == pickle.loads(pickle.dumps(store)).identity_of(name)
    with pytest.raises(SourceError, match=r"absent\.bin: no such file"):
        known.open(join(place.root, "absent.bin")).read(0, 7)


def test_a_file_of_another_size_than_was_said_is_refused(place: Place) -> None:
    store, name = remote(place), place.put("blob.bin", CONTENT)
    with pytest.raises(SourceError, match=r"blob\.bin: it has 1,280 bytes, and not 1,300"):
        store.with_sizes({name: 1300}).read_whole(name)


def test_reading_goes_on_in_a_process_that_was_forked(place: Place) -> None:
    name = place.put("blob.bin", CONTENT)
    blob = place.store.open(name)
    assert blob.read(0, 100) == CONTENT[:100]
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writes, place.store.open(name).read(0, 2000) + blob.read(700, 10))
        finally:
            os._exit(0)
    os.close(writes)
    with open(reads, "rb") as file:
        assert file.read() == CONTENT + CONTENT[700:710]
    os.waitpid(child, 0)
    assert place.store.open(name).read(0, 2000) == CONTENT


def test_names_of_neighbours_keep_urls_as_they_are() -> None:
    assert index_name("s3://bucket/a//b.tar") == "s3://bucket/a//b.tar.index.npy"
    assert frames_name("https://host/a.tar?sig=1/2#x") == "https://host/a.tar.frames.npy?sig=1/2#x"
    assert index_name("s3://bucket/what?.tar") == "s3://bucket/what?.tar.index.npy"
    assert index_path("folder//a.tar") == Path("folder/a.tar.index.npy")
    assert frames_path(Path("folder/a.tar")) == Path("folder/a.tar.frames.npy")


def test_options_are_not_shown_and_can_be_pickled() -> None:
    options = RemoteOptions(storage_options={"secret_access_key": "hush"})
    assert "hush" not in repr(options)
    assert "hush" not in repr(RemoteStore("s3://bucket", options))
    assert pickle.loads(pickle.dumps(options)) == options
