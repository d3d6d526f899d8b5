"""The server process: socket, HTTP connections, shutdown."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from typing import Any, Final

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from export.service.batches import Batches
from export.service.front import Front
from export.service.limits import Limits
from export.service.metrics import Metrics
from export.service.models import Models
from export.service.routes import Service
from selfsyn.errors import InputError
from selfsyn.progress import say

IDLE_SECONDS: Final = 30  # for the next request on an open connection
# A client's mistakes are not logged; our own errors are, with a traceback.
LEVELS: Final = {"uvicorn.error": logging.ERROR, "python_multipart": logging.CRITICAL}


class Connection(H11Protocol):
    """uvicorn's connection, with a JSON response to what is not HTTP, and a time limit on the head of a request."""

    head_seconds = 30.0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first head."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Start or stop the timer as heads begin and end."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._head_came()
        elif self.head_timer is None:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._head_came()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Respond to what is not HTTP."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": f"{msg.rstrip('.').lower()}; expected HTTP/1.1"}).encode()
            kind = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
            for event in (h11.Response(status_code=400, headers=kind, reason=b"Bad Request"), h11.Data(body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _expect_head(self) -> None:
        self.head_timer = self.loop.call_later(self.head_seconds, self.transport.close)

    def _head_came(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None


class Announced(uvicorn.Server):
    """Logs its address once it listens: from that line on it takes requests."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the socket."""
        await super().startup(sockets)
        for listener in sockets or []:
            say(f"listening on {address(listener)}")


def bound(host: str, port: int) -> socket.socket:
    """A socket bound to the address, not yet listening. InputError when the address is taken or not local."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only if the protocol is named; without it each response waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"--host {host} --port {port}: {error.strerror or error}; choose another address, or stop the process that uses it"
        ) from error
    return listener


def address(listener: socket.socket) -> str:
    """'http://127.0.0.1:8000'."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    listener: socket.socket, models: Models, *, metrics: Metrics, limits: Limits, runs: int, images: int | None, workers: int
) -> None:
    """Serve until SIGTERM or SIGINT, then finish running requests. models: with a current model. See Batches and Service."""
    batches = Batches(runs=runs, images=images, pixels=limits.run, metrics=metrics)
    service = Service(models, batches=batches, metrics=metrics, limits=limits, workers=workers)
    application = Front(service.application, metrics=metrics, headers=service.named)
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
    configuration = uvicorn.Config(
        application,
        http=type("LimitedConnection", (Connection,), {"head_seconds": limits.read}),
        ws="none",
        lifespan="on",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=round(limits.read + limits.answer),
    )
    Announced(configuration).run(sockets=[listener])
