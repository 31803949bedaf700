"""A real web server in front: nginx, for http and, as it answers alike, for obstore without signatures."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import socket
import subprocess
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.storage.remote.remote_store import RemoteOptions, RemoteStore
from pipelines.storage.remote.urls import join

pytestmark = pytest.mark.heavy

PLAIN = """
daemon off; pid {folder}/pid; error_log {folder}/errors; worker_processes 1;
events {{ worker_connections 256; }}
http {{
    access_log off; sendfile on; tcp_nopush on;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; root {folder}/files; autoindex on; }}
}}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Its address, and the folder of its files."""
    program = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        pytest.skip("nginx is absent: apt-get install nginx-light")
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "files" / "bucket").mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    user = "user root;\n" if os.geteuid() == 0 else ""  # who may look into the folders of pytest
    (folder / "conf").write_text(user + PLAIN.format(folder=folder, port=port))
    running = subprocess.Popen([program, "-c", str(folder / "conf"), "-e", str(folder / "errors")])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as tried:
            if tried.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}", folder / "files" / "bucket"
    running.terminate()
    running.wait(10)


def store_of(kind: str, url: str) -> RemoteStore:
    if kind == "http":
        return RemoteStore(f"{url}/bucket")
    pytest.importorskip("obstore")
    return RemoteStore("s3://bucket", RemoteOptions(storage_options={"endpoint": url, "skip_signature": True}))


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_files_of_nginx_are_read_by_ranges_and_whole(kind: str, nginx: tuple[str, Path]) -> None:
    url, folder = nginx
    content, dice = random.Random(3).randbytes(20_000_000), random.Random(4)
    (folder / "a b+ü.tar").write_bytes(content)
    store = store_of(kind, url)
    name = join(store.root_url, "a b+ü.tar")
    blob = store.open(name)
    for _ in range(200):
        start, length = dice.randrange(len(content)), dice.randrange(1, 300_000)
        part = content[start : start + length]
        assert zlib.crc32(blob.read(start, length)) == zlib.crc32(part)
    digest = hashlib.sha256(content).hexdigest()
    assert len(store.read_whole(name, sha256=digest)) == len(content)
    assert store.counters.now().retries == 0
    if kind == "http":
        assert [entry.name for entry in store.list()] == [name]
    (folder / "a b+ü.tar").unlink()


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_receiving_costs_a_part_of_a_core_at_400_megabytes_per_second(kind: str, nginx: tuple[str, Path]) -> None:
    """In CPU time, which other programs change little. SHA-256 and writing a file come on top."""
    url, folder = nginx
    num_bytes, block = 1 << 30, random.Random(5).randbytes(1 << 20)
    with open(folder / "big.tar", "wb") as file:
        for _ in range(num_bytes >> 20):
            file.write(block)
    store, used = store_of(kind, url), list[float]()
    for _ in range(3):
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
        assert store.download(f"{store.root_url}/big.tar", len) == num_bytes
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF)
        used.append((after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / num_bytes * 1e9)
        print(f"{kind}: {num_bytes / seconds / 1e6:.0f} MB/s, {used[-1]:.2f} CPU seconds per GB")
    (folder / "big.tar").unlink()
    assert min(used) <= 1.25
