"""Requests that are refused before their body was read, through urllib, directly or behind a real nginx."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import INFER, PATIENCE, PREDICT, half_sent

MIB = 1 << 20
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
# How nginx speaks to the server behind it: closes after each request (its default), streams the body, or keeps alive.
PROXIES = {
    "closing": "",
    "streaming": "proxy_request_buffering off; proxy_http_version 1.1;",
    "keeping": 'proxy_http_version 1.1; proxy_set_header Connection "";',
}


class Plain(urllib.request.HTTPErrorProcessor):
    """Returns every response; urllib raises an exception for an error status."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        return response


OPENER = urllib.request.build_opener(Plain, urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Early:
    """A request with a body that the server does not read, and the status that it gets."""

    status: int
    path: str
    size: int

    def status_at(self, port: int) -> int | str:
        """The status that urllib reads, or the error that it gets in place of a response. urllib sends Connection: close."""
        request = urllib.request.Request(f"http://127.0.0.1:{port}{self.path}", bytes(self.size), {"Content-Type": "image/png"})
        try:
            with OPENER.open(request, timeout=PATIENCE) as response:
                response.read()
                return int(response.status)
        except (OSError, http.client.HTTPException) as error:
            return repr(error)


def early(*, limit: int) -> list[Early]:
    """One request for each reason of an early refusal. limit: bytes that the server allows in a body."""
    return [
        Early(413, PREDICT, limit + 2 * MIB),
        Early(404, "/v2/models/other/predict", limit - MIB),
        Early(404, "/nowhere", limit - MIB),
        Early(400, PREDICT + "?view=none", limit - MIB),
        Early(405, "/v2", limit - MIB),
    ]


def full(*, limit: int) -> list[Early]:
    """The requests that a server without a free place refuses."""
    return [Early(429, PREDICT, limit - MIB), Early(429, INFER, limit - MIB)]


@contextmanager
def occupied(port: int) -> Iterator[None]:
    """The only place of a server with --queue 1 is taken while the block runs."""
    connection = half_sent(port, PREDICT, bytes(1000))
    time.sleep(0.3)
    try:
        yield
    finally:
        connection.close()
        time.sleep(0.3)


def lost(requests: Sequence[Early], *, port: int, count: int) -> list[tuple[Early, int | str]]:
    """Send `count` requests in turn -> those that got another status than they should, with what they got."""
    asked = [requests[position % len(requests)] for position in range(count)]
    return [(request, got) for request in asked if (got := request.status_at(port)) != request.status]


@contextmanager
def nginx(port: int, folder: Path, *, proxy: str) -> Iterator[int]:
    """A real nginx in front of the server at `port`, with a line of PROXIES -> its own port. folder: for its files."""
    assert NGINX
    front = free_port()
    folder.mkdir(parents=True)
    (folder / "nginx.conf").write_text(CONFIGURATION.format(folder=folder, front=front, port=port, proxy=PROXIES[proxy]))
    process = subprocess.Popen([NGINX, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        wait_for(front)
        yield front
    finally:
        process.terminate()
        process.wait(PATIENCE)


CONFIGURATION = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 0; client_body_buffer_size 64k;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream teacher {{ server 127.0.0.1:{port} max_fails=0; keepalive 4; }}
  server {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://teacher; {proxy} }} }}
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until something listens there."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except ConnectionRefusedError:
            assert time.monotonic() < end, f"nothing listens on port {port}"
            time.sleep(0.05)
