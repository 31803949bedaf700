"""What servers do and do not do, and how many requests reading costs."""

from __future__ import annotations

import io
import pickle
import random
import socket
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.errors import SourceError
from pipelines.storage.blob import LocalFile
from pipelines.storage.remote.remote_store import RemoteOptions, RemoteStore
from pipelines.storage.remote.retrying import RetryPolicy
from pipelines.storage.tar_index import open_index, scan_tar
from tests.web_server import WebServer

from .shard_files import write_shards

BODY = random.Random(1).randbytes(300_000)
QUICK = RemoteOptions(RetryPolicy(attempts=2, seconds=2, first_wait=0.01, longest_wait=0.02, connect_seconds=1))


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server without files."""
    server = WebServer()
    yield server
    server.close()


def tar_of(sizes: list[int]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, size in enumerate(sizes):
            info = tarfile.TarInfo(f"{number:05d}.jpg")
            info.size = size
            tar.addfile(info, io.BytesIO(bytes(size)))
    return file.getvalue()


@pytest.mark.parametrize(
    ("sizes", "most_requests", "most_share"),
    [([700] * 3000, 10, 1.5), ([20_000] * 200, 12, 1.5), ([1_000_000] * 30, 40, 0.06), ([5_000_000] * 8, 12, 0.02)],
    ids=["tiny", "small", "large", "huge"],
)
def test_scanning_a_tar_costs_few_requests_and_passes_over_large_members(
    web: WebServer, sizes: list[int], most_requests: int, most_share: float
) -> None:
    web.files["/a.tar"] = content = tar_of(sizes)
    store = RemoteStore(web.url, QUICK)
    blob = store.open(f"{web.url}/a.tar")
    assert len(scan_tar(blob.read, blob.size, where="a.tar")) == len(sizes)
    counts = store.counters.now()
    assert counts.requests <= most_requests
    assert counts.bytes <= most_share * len(content) + (1 << 20)


def test_reads_of_examples_fetch_nothing_besides(web: WebServer) -> None:
    web.files["/a.bin"] = BODY
    store = RemoteStore(web.url, QUICK)
    blob = store.open(f"{web.url}/a.bin")
    for start in (200_000, 5000, 100_000):
        assert blob.read(start, 10_000) == BODY[start : start + 10_000]
    assert store.counters.now().bytes == 30_000
    assert store.counters.now().requests == 4  # with that for its size


@pytest.mark.parametrize("beside", [True, False])
def test_an_index_of_the_web_is_that_of_the_disk(web: WebServer, beside: bool, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "shards", [3, 4])
    for path in folder.iterdir():
        if beside or path.suffix == ".tar":
            web.files[f"/{path.name}"] = path.read_bytes()
    for tar in folder.glob("*.tar"):
        store, name = RemoteStore(web.url, QUICK), f"{web.url}/{tar.name}"
        expected = open_index(tar, LocalFile(tar))
        found = open_index(name, store.open(name), store=store)
        assert len(found) == len(expected) > 0
        assert (found["offset"] == expected["offset"]).all()
        requests = store.counters.now().requests
        assert (open_index(name, store.open(name), store=store) == found).all()
        assert store.counters.now().requests - requests == 1  # for the index, or for there being none


def test_a_server_that_ignores_ranges_is_noticed_and_small_files_are_read_whole(
    web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.habits, name = {"no ranges"}, f"{web.url}/a.bin"
    web.files["/a.bin"] = BODY
    store = RemoteStore(web.url, QUICK)
    blob = store.open(name)
    for start, length in ((1000, 50), (20_000, 10_000), (299_000, 5000), (0, 300_000)):
        assert blob.read(start, length) == BODY[start : start + length]
    assert not store.supports_ranges(name)
    assert len([1 for method, _, wanted in web.asked if method == "GET" and wanted]) == 2
    assert store.counters.now().bytes == len(BODY)
    assert store.read_whole(name) == BODY
    monkeypatch.setattr("pipelines.storage.remote.remote_blob.MOST_WHOLE_BYTES", 1000)
    with pytest.raises(SourceError, match=r"a\.bin: the server ignores ranges and sends whole files\. Serve it"):
        store.open(name).read(1000, 5000)


def test_a_server_that_says_little_is_read_from_nonetheless(web: WebServer) -> None:
    web.files["/a.bin"], name = BODY, f"{web.url}/a.bin"
    for habits in ({"no tags"}, {"no head"}, {"no length"}, {"no tags", "no head"}):
        web.habits = habits
        store = RemoteStore(web.url, QUICK)
        assert store.size_of(name) == len(BODY)
        assert store.open(name).read(100, 5000) == BODY[100:5100]
        assert store.read_whole(name) == BODY
        assert (store.identity_of(name) is None) is ("no tags" in habits)
    web.habits = {"no head", "no length", "no ranges"}
    with pytest.raises(SourceError, match=r"a\.bin: the server does not say how large it is"):
        RemoteStore(web.url, QUICK).open(name)
    assert RemoteStore(web.url, QUICK).read_whole(name) == BODY


def test_addresses_that_lead_on_are_followed_and_not_without_end(web: WebServer) -> None:
    web.files["/b c.bin"] = BODY
    web.redirects = {"/a.bin": "/b%20c.bin", "/round.bin": "/round.bin", "/out.bin": "ftp://elsewhere/x"}
    store = RemoteStore(web.url, QUICK)
    assert store.read_whole(f"{web.url}/a.bin") == BODY
    with pytest.raises(SourceError, match="leads on more than 5 times"):
        store.read_whole(f"{web.url}/round.bin")
    with pytest.raises(SourceError, match="leads on to ftp://elsewhere, which is not safe"):
        store.read_whole(f"{web.url}/out.bin")


def test_a_user_of_the_address_is_sent_to_its_host_alone_and_never_shown(web: WebServer) -> None:
    other = WebServer({"/b.bin": BODY})
    web.files["/a.bin"], web.answers["/no.bin"] = BODY, (403, {})
    web.redirects["/there.bin"] = f"{other.url}/b.bin"
    root = web.url.replace("http://", "http://me:pass%20word@")
    store = RemoteStore(root, RemoteOptions(QUICK.retry, {"headers": {"X-Key": "hush"}}))
    assert store.read_whole(f"{root}/a.bin?sig=1234") == BODY
    assert web.headers[-1]["Authorization"] == "Basic bWU6cGFzcyB3b3Jk"
    assert web.headers[-1]["X-Key"] == "hush"
    assert store.read_whole(f"{root}/there.bin") == BODY
    assert not other.headers[-1].keys() & {"Authorization", "X-Key"}
    told = []
    for name in ("no.bin?sig=1234", "absent.bin?sig=1234"):
        with pytest.raises(SourceError) as error:
            store.read_whole(f"{root}/{name}")
        told.append(str(error.value))
    shown = " ".join([*told, repr(store), repr(store.open(f"{root}/a.bin?sig=1234"))])
    assert not any(secret in shown for secret in ("pass", "1234", "hush", "me:"))
    assert "access is denied" in told[0]
    assert "no such file" in told[1]
    assert "1234" not in str(store.identity_of(f"{root}/a.bin?sig=1234"))
    store.close()
    other.close()


def test_nobody_there_is_said_in_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            SourceError, match=r"a\.bin: given up after 2 tries in a row: the connection broke \(Conn"
        ):
            RemoteStore(url, QUICK).size_of(f"{url}/a.bin")


def test_connections_are_kept_and_those_that_the_server_closed_made_again(web: WebServer) -> None:
    web.files["/a.bin"] = BODY
    store = RemoteStore(web.url, QUICK)
    for _ in range(5):
        assert store.read_whole(f"{web.url}/a.bin") == BODY
    assert len(web.clients) == 1
    web.close()
    again = WebServer(web.files, port=web.port)
    assert store.read_whole(f"{web.url}/a.bin") == BODY
    assert store.counters.now().retries == 0
    store.close()
    again.close()


def test_bytes_that_come_too_slowly_end_in_time() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        ended = threading.Event()

        def drip() -> None:
            while not ended.is_set():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 1000000\r\n\r\n')
                    while not ended.wait(0.05):
                        try:
                            connection.sendall(b"x")
                        except OSError:
                            break

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        policy = RetryPolicy(attempts=5, seconds=0.5, slowest_bytes_per_second=1e7, stall_seconds=5)
        with pytest.raises(SourceError, match=r"a\.bin: given up within 1 seconds: "):
            RemoteStore(url, RemoteOptions(policy)).read_whole(f"{url}/a.bin")
        ended.set()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_listing_that_a_server_does_not_give_says_what_to_do(web: WebServer) -> None:
    web.files["/folder/"] = b"no page"
    with pytest.raises(SourceError, match=r"shows no page that lists the folder\. Name the files"):
        RemoteStore(f"{web.url}/folder", QUICK).list()
    with pytest.raises(SourceError, match="absent: no such file"):
        RemoteStore(f"{web.url}/absent", QUICK).list()


def test_a_store_that_was_pickled_holds_nothing(web: WebServer) -> None:
    web.files["/a.bin"] = BODY
    store = RemoteStore(web.url, QUICK).with_sizes({f"{web.url}/a.bin": len(BODY)})
    blob = store.open(f"{web.url}/a.bin")
    assert blob.read(0, 10) == BODY[:10]
    again = pickle.loads(pickle.dumps(blob))
    assert again.store.counters.now().requests == 0
    assert again.store.size_of(f"{web.url}/a.bin") == len(BODY)
    assert again.read(0, 10) == BODY[:10]
