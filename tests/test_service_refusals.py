"""Refusals that come before the request's body: the client gets them, whatever it still sends."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from refusing import MIB, NGINX, PROXIES, Early, early, full, lost, nginx, occupied
from serving import PATIENCE, PREDICT, Server, answered, put, server
from tiny_teacher import tiny_onnx

LIMIT = 4 * MIB
COUNT = 40  # of each kind of client; a reset lost 15 of 15
SECONDS = 3


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a single place."""
    repository = tmp_path_factory.mktemp("repository")
    put(repository, tiny_onnx(), version=1)
    with server(repository, "--request-mib", 4, "--queue", 1) as process:
        yield process


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that gives a body SECONDS."""
    repository = tmp_path_factory.mktemp("hasty")
    put(repository, tiny_onnx(), version=1)
    with server(repository, "--request-mib", 1, "--timeout", SECONDS) as process:
        yield process


def head(path: str, *, size: int, connection: str = "close") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Connection: {connection}", f"Content-Length: {size}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def send_for(seconds: float, connection: socket.socket) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection.sendall(bytes(1000))
        time.sleep(0.01)


def test_urllib_gets_each_early_refusal(running: Server) -> None:
    assert lost(early(limit=LIMIT), port=running.port, count=COUNT) == []
    with occupied(running.port):
        assert lost(full(limit=LIMIT), port=running.port, count=COUNT) == []
    assert not any("Traceback" in line for line in running.lines), running.lines


@pytest.mark.skipif(NGINX is None, reason="needs nginx")
@pytest.mark.parametrize("proxy", PROXIES)
def test_a_client_behind_nginx_gets_each_early_refusal(running: Server, tmp_path: Path, proxy: str) -> None:
    with nginx(running.port, tmp_path / "nginx", proxy=proxy) as port:
        assert lost(early(limit=LIMIT), port=port, count=COUNT) == []
        with occupied(running.port):
            assert lost(full(limit=LIMIT), port=port, count=COUNT) == []


@pytest.mark.parametrize(
    "request_head", [head("/nowhere", size=LIMIT), head(PREDICT, size=LIMIT + 1), b"POST / FTP/1.0\r\nHost: test\r\n\r\n"]
)
def test_a_client_that_sends_on_after_the_response_gets_it(running: Server, request_head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE) as connection:
        connection.sendall(request_head)
        time.sleep(0.3)  # the response is there, and the server has closed its half
        for _ in range(8):
            connection.sendall(bytes(LIMIT // 8))
        assert answered(connection).status in (400, 404, 413)
        assert connection.recv(1) == b""


def test_a_kept_connection_takes_the_next_request_after_the_rest_of_a_refused_one(running: Server) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE) as connection:
        for _ in range(3):
            connection.sendall(head("/nowhere", size=LIMIT, connection="keep-alive") + bytes(LIMIT))
            assert answered(connection).status == 404
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: test\r\n\r\n")
        assert answered(connection).status == 200


@pytest.mark.parametrize("kind", ["close", "keep-alive"])
def test_a_client_that_never_ends_its_body_is_cut_off(hasty: Server, kind: str) -> None:
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=PATIENCE) as connection:
        connection.sendall(head(PREDICT, size=1 << 40, connection=kind))
        began = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            send_for(PATIENCE, connection)
        assert SECONDS - 1 < time.monotonic() - began < 10 * SECONDS


def test_a_stopped_server_does_not_wait_for_a_body_without_end(tmp_path: Path) -> None:
    put(tmp_path, tiny_onnx(), version=1)
    with server(tmp_path, "--timeout", SECONDS) as running:
        connection = socket.create_connection(("127.0.0.1", running.port), timeout=PATIENCE)
        connection.sendall(head("/nowhere", size=1000))
        assert answered(connection).status == 404
        assert running.terminated() == 143
        connection.close()
    assert not any("Traceback" in line for line in running.lines), running.lines


def test_the_test_client_tells_a_reset_from_a_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert "refused" in str(Early(404, "/", 10).status_at(port))
