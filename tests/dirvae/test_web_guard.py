"""What a local server answers, to whom, and how much it reads: asked through real sockets."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dirvae.web import RunningServer, file_route, guarded_app, start

TOKEN = "token-of-this-test"


async def count(request: Request) -> Response:
    return JSONResponse({"bytes": len(await request.body())})


async def own_policy(request: Request) -> Response:
    return Response("x", headers={"content-security-policy": "default-src 'none'"})


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    routes = [
        file_route("/", b"<!doctype html>", "index.html"),
        Route("/count", count, methods=["POST"]),
        Route("/own", own_policy),
    ]
    with start(routes, token=TOKEN) as running:
        yield running


def ask(
    server: RunningServer, path: str, *, method: str = "GET", body: object = None, **headers: str
) -> tuple[int, str, http.client.HTTPMessage]:
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port or 0, timeout=20)
    connection.request(method, path, body=body, headers=headers)  # type: ignore[arg-type]
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, answer.headers


def cookie(server: RunningServer) -> str:
    return f"dirvae_{urlsplit(server.url).port}={TOKEN}"


def test_the_printed_address_gives_the_page_and_a_cookie_that_scripts_cannot_read(server: RunningServer) -> None:
    status, text, headers = ask(server, f"/?token={TOKEN}")
    assert (status, text) == (200, "<!doctype html>")
    given = headers["set-cookie"]
    assert given.startswith(cookie(server))
    assert "HttpOnly" in given
    assert "SameSite=Strict" in given
    assert ask(server, "/", Cookie=given.split(";")[0])[0] == 200


def test_without_the_token_nothing_is_answered(server: RunningServer) -> None:
    assert ask(server, "/")[0] == 403
    assert ask(server, "/?token=wrong")[0] == 403
    assert ask(server, "/", Cookie=f"dirvae_{urlsplit(server.url).port}=wrong")[0] == 403


def test_every_answer_has_the_headers_that_keep_other_sites_out(server: RunningServer) -> None:
    for path in (f"/?token={TOKEN}", "/", "/nothing"):
        headers = ask(server, path)[2]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


def test_a_page_may_bring_a_policy_of_its_own(server: RunningServer) -> None:
    assert ask(server, "/own", Cookie=cookie(server))[2].get_all("content-security-policy") == [
        "default-src 'none'"
    ]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "10.0.0.1"])
def test_a_foreign_name_for_this_server_is_refused(server: RunningServer, host: str) -> None:
    assert ask(server, f"/?token={TOKEN}", Host=host)[0] == 403


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1", "[::1]:80"])
def test_the_names_of_this_machine_are_known_also_with_a_forwarded_port(server: RunningServer, host: str) -> None:
    assert ask(server, f"/?token={TOKEN}", Host=host)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", "https://127.0.0.1"])
def test_a_page_of_another_origin_is_refused_although_it_has_the_cookie(server: RunningServer, origin: str) -> None:
    assert ask(server, "/", Cookie=cookie(server), Origin=origin)[0] == 403
    own = f"http://127.0.0.1:{urlsplit(server.url).port}"
    assert ask(server, "/", Cookie=cookie(server), Origin=own)[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/../../etc/passwd",
        "/%252e%252e/x",
        "//",
        "/count/",
        "/%00",
    ],
)
def test_a_path_outside_the_table_is_not_there(server: RunningServer, path: str) -> None:
    assert ask(server, path, Cookie=cookie(server))[0] == 404


def test_a_body_within_the_limit_arrives_whole(server: RunningServer) -> None:
    status, text, _ = ask(server, "/count", method="POST", body=bytes(3 << 20), Cookie=cookie(server))
    assert (status, text) == (200, '{"bytes":3145728}')


def test_200_mb_are_refused_within_a_second_before_they_are_read(server: RunningServer) -> None:
    address = urlsplit(server.url)
    started = time.monotonic()
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        head = f"POST /count HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: dirvae_80={TOKEN}\r\n"
        connection.sendall(f"{head}Content-Length: 200000000\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"32 MiB" in answer
    assert time.monotonic() - started < 1


def test_a_client_that_sends_everything_before_it_reads_sees_the_refusal(server: RunningServer) -> None:
    status, text, _ = ask(server, "/count", method="POST", body=bytes(40 << 20), Cookie=cookie(server))
    assert status == 413
    assert "larger than 32 MiB" in text


def test_a_body_of_unknown_length_is_cut_off_at_the_limit(server: RunningServer) -> None:
    chunks = (bytes(1 << 20) for _ in range(40))
    assert ask(server, "/count", method="POST", body=chunks, Cookie=cookie(server))[0] == 413


def test_a_wrong_length_is_refused(server: RunningServer) -> None:
    assert ask(server, "/count", method="POST", **{"Content-Length": "x", "Cookie": cookie(server)})[0] in (
        400,
        413,
    )


def test_a_route_with_a_parameter_cannot_be_served() -> None:
    with pytest.raises(ValueError, match="fixed paths only"):
        guarded_app([Route("/files/{name}", count)], token="t")


def test_a_stopped_server_gives_its_port_back() -> None:
    first = start([], token="t")
    port = urlsplit(first.url).port or 0
    first.stop()
    first.stop()
    assert not first.thread.is_alive()
    with start([], port=port, token="t") as second:
        assert urlsplit(second.url).port == port


def test_a_port_that_is_taken_is_an_error_at_once(server: RunningServer) -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="in use"):
        start([], port=urlsplit(server.url).port or 0)
    assert threading.active_count() == before


def test_connections_that_never_finish_a_request_do_not_take_the_places_of_others(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """120 of them are more than the server takes; a kept connection that begins a second request is one as well."""
    monkeypatch.setattr("dirvae.web.waiting.HEAD_SECONDS", 0.5)
    address = urlsplit(server.url)
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", address.port), 5)) for _ in range(120)]
        silent[0].sendall(f"GET /own HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: dirvae_80={TOKEN}\r\n\r\n".encode())
        assert silent[0].recv(4096).startswith(b"HTTP/1.1 ")
        for one in silent[:80]:
            one.sendall(b"GET / HTTP/1.1\r\nHost: 127.")
        deadline = time.monotonic() + 5
        while (status := ask(server, "/own", Cookie=cookie(server))[0]) == 503 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert status == 200
        for one in silent:
            with suppress(ConnectionResetError):
                while one.recv(4096):  # raises TimeoutError for a connection that stays open
                    pass
    assert "limit" not in capfd.readouterr().err  # a stranger cannot fill the terminal


def test_an_answer_may_take_longer_than_the_head_of_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.6)
        return Response("done")

    monkeypatch.setattr("dirvae.web.waiting.HEAD_SECONDS", 0.2)
    with start([Route("/slow", slow)], token=TOKEN) as running:
        assert ask(running, "/slow", Cookie=cookie(running))[:2] == (200, "done")
