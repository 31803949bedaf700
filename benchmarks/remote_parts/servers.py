"""Servers on this machine that the parts read from, each a process of its own that counts what it is asked."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

__all__ = ["AbsentError", "Moto", "Nginx", "find_program", "moto", "nginx", "slow_link"]

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIGURATION = """
{user} daemon off; pid {folder}/pid; error_log {folder}/errors; worker_processes 1;
events {{ worker_connections 512; }}
http {{
    log_format bytes '$request_method $uri $status $body_bytes_sent';
    access_log {folder}/asked bytes; sendfile on; tcp_nopush on; keepalive_requests 100000;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{ listen 127.0.0.1:{port}; root {files}; autoindex on; }}
}}
"""
SLOW_LINK = """
import sys, time
from tests.fault_proxy import FaultProxy
proxy = FaultProxy(int(sys.argv[1]), latency_seconds=float(sys.argv[2]), bytes_per_second=float(sys.argv[3]))
print(proxy.port, flush=True)
sys.stdin.read()
"""


class AbsentError(Exception):
    """A part cannot be measured here: why, in one sentence."""


class Nginx:
    """Files of a folder, at `url`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url, self.port, self._log = f"http://127.0.0.1:{port}", port, folder / "asked"

    def asked(self) -> list[tuple[str, int]]:
        """Paths and bytes of all requests so far."""
        time.sleep(0.1)  # the log is written after the answer
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [(line.split()[1], int(line.split()[3])) for line in lines]

    def forget(self) -> None:
        """Begin to count again."""
        time.sleep(0.1)
        os.truncate(self._log, 0)


class Moto:
    """An imitation of S3 in the memory of a process, at `url`."""

    def __init__(self, url: str, log: Path) -> None:
        self.url, self._log, self._begin = url, log, 0

    def asked(self) -> Counter[str]:
        """How often each kind of request was made since `forget`."""
        time.sleep(0.1)
        text = self._log.read_text(errors="replace")[self._begin :]
        return Counter(re.findall(r'"(GET|HEAD|PUT|POST) ', text))

    def forget(self) -> None:
        """Begin to count again."""
        time.sleep(0.1)
        self._begin = len(self._log.read_text(errors="replace"))


def find_program(name: str) -> str:
    """Where a program is. Raises `AbsentError`."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise AbsentError(f"{name} is absent.")
    return found


@contextlib.contextmanager
def nginx(files: Path, scratch: Path) -> Iterator[Nginx]:
    """nginx over a folder. Raises `AbsentError`."""
    program, port = find_program("nginx"), _free_port()
    scratch.mkdir()
    user = "user root;" if os.geteuid() == 0 else ""
    (scratch / "conf").write_text(CONFIGURATION.format(user=user, folder=scratch, files=files, port=port))
    with _running([program, "-c", str(scratch / "conf"), "-e", str(scratch / "errors")], port):
        yield Nginx(scratch, port)


@contextlib.contextmanager
def moto(scratch: Path) -> Iterator[Moto]:
    """moto's server. Raises `AbsentError`."""
    try:
        import boto3  # noqa: F401
        import moto.server  # noqa: F401
    except ImportError as error:
        raise AbsentError(f"{error.name} is absent: pip install 'moto[server]' boto3.") from error
    port, log = _free_port(), scratch / "moto.log"
    with open(log, "wb") as file, _running([sys.executable, "-m", "moto.server", "-p", str(port)], port, log=file):
        yield Moto(f"http://127.0.0.1:{port}", log)


@contextlib.contextmanager
def slow_link(port: int, *, latency_seconds: float, bytes_per_second: float) -> Iterator[str]:
    """The address of a proxy in front of a port of this machine, which delays and shares a link."""
    numbers = [str(port), str(latency_seconds), str(bytes_per_second)]
    running = subprocess.Popen(
        [sys.executable, "-c", SLOW_LINK, *numbers],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert running.stdout is not None
        yield f"http://127.0.0.1:{int(running.stdout.readline())}"
    finally:
        running.terminate()
        running.wait(10)


@contextlib.contextmanager
def _running(command: list[str], port: int, log: object = None) -> Iterator[None]:
    running = subprocess.Popen(command, stdout=log or subprocess.DEVNULL, stderr=log or subprocess.DEVNULL)  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and running.poll() is None:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            raise AbsentError(f"{Path(command[0]).name} does not start.")
        yield
    finally:
        running.terminate()
        running.wait(10)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
