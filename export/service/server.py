"""The server process: socket, server, shutdown."""

from __future__ import annotations

import logging
import socket
from typing import Final

import uvicorn

from export.service.batches import Batches
from export.service.connection import Connection
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


class Announced(uvicorn.Server):
    """Logs its address once it listens: from that line on it takes requests. Tells its clients when it stops."""

    def __init__(self, configuration: uvicorn.Config, front: Front) -> None:
        super().__init__(configuration)
        self.front = front

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the socket."""
        await super().startup(sockets)
        for listener in sockets or []:
            say(f"listening on {address(listener)}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, and wait for the last responses."""
        self.front.leaving = True
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # a request that is cut off now is no fault
        await super().shutdown(sockets)


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
    front = Front(service.application, metrics=metrics, headers=service.named)
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
    configuration = uvicorn.Config(
        front,
        http=type("LimitedConnection", (Connection,), {"seconds": limits.read}),
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
    Announced(configuration, front).run(sockets=[listener])
