"""A connection of a client: limits on its time, JSON for what is not HTTP, and a close that no response is lost by."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

LAST_SECONDS: Final = 2.0  # for one more request on an open connection after SIGTERM


class Deadline:
    """Calls `passed` a number of seconds after `start`, unless `stop` comes first."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, passed: Callable[[], object]) -> None:
        self.loop, self.seconds, self.passed = loop, seconds, passed
        self.timer: asyncio.TimerHandle | None = None

    def run_while(self, condition: bool) -> None:
        """Start, unless it runs already, or stop."""
        if not condition:
            self.stop()
        elif self.timer is None:
            self.timer = self.loop.call_later(self.seconds, self.passed)

    def shorten(self, seconds: float) -> None:
        """Take at most `seconds` from now on, also if it runs already."""
        self.seconds = min(self.seconds, seconds)
        if self.timer is not None:
            self.stop()
            self.run_while(True)

    def stop(self) -> None:
        """Forget the deadline."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class LingeringTransport(asyncio.Transport):
    """A transport whose `close` waits for the rest of a request that was answered early.

    If a socket is closed while bytes of its client are unread or on their way, TCP resets the connection, and the client loses
    the response (RFC 9112, section 9.6). So `close` ends the sending half, and the rest is read and dropped until the client
    closes its half, for `rest.seconds` at most.
    """

    def __init__(
        self, transport: asyncio.Transport, *, unread: Callable[[], bool], loop: asyncio.AbstractEventLoop, seconds: float
    ) -> None:
        """unread: whether the client may still be sending."""
        super().__init__()
        self.transport, self.unread = transport, unread
        self.rest = Deadline(loop, seconds, transport.close)
        self.lingering = False

    def close(self) -> None:
        """Close, at once or after the rest of the request."""
        if self.is_closing():
            return
        if not self.unread():
            self.transport.close()
            return
        self.lingering = True
        self.rest.run_while(True)
        try:
            self.transport.write_eof()
            self.transport.resume_reading()
        except OSError:  # the client has gone
            self.transport.close()

    def is_closing(self) -> bool:
        """Whether `close` was called, or the client has gone."""
        return self.lingering or self.transport.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send, unless the sending half is closed."""
        if not self.lingering:
            self.transport.write(data)

    def pause_reading(self) -> None:
        """Read no more until `resume_reading`."""
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self.transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Facts about the socket."""
        return self.transport.get_extra_info(name, default)


class Connection(H11Protocol):
    """uvicorn's connection with four additions.

    The head of a request must come in `seconds`, and so must a body that nobody reads because the response was early. What is
    not HTTP gets a JSON response. After an early response, the connection closes as LingeringTransport does.
    On shutdown, an open connection answers one more request: closed at once, it would lose a request that is on its way.
    """

    seconds = 30.0
    transport: LingeringTransport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline of the first head."""
        self.head = Deadline(self.loop, self.seconds, transport.close)
        super().connection_made(LingeringTransport(transport, unread=self._unread, loop=self.loop, seconds=self.seconds))
        self.head.run_while(True)

    def data_received(self, data: bytes) -> None:
        """Handle a part of a request, or drop it if the connection is closing."""
        if not self.transport.lingering:
            super().data_received(data)
            self.head.run_while(self.conn.their_state is h11.IDLE)
            self._watch_rest()

    def on_response_complete(self) -> None:
        """Prepare for the rest of this request, or for the next one."""
        super().on_response_complete()
        self._watch_rest()

    def shutdown(self) -> None:
        """Close after the next response, which says so (Front), or in LAST_SECONDS; wait no longer for the rest of a request."""
        self.transport.rest.shorten(LAST_SECONDS)
        self.loop.call_later(LAST_SECONDS, self._shut)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self.head.stop()
        self.transport.rest.stop()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Respond to what is not HTTP."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": f"{msg.rstrip('.').lower()}; expected HTTP/1.1"}).encode()
            kind = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"connection", b"close")]
            for event in (h11.Response(status_code=400, headers=kind, reason=b"Bad Request"), h11.Data(body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _shut(self) -> None:
        if not self.transport.is_closing():
            super().shutdown()

    def _unread(self) -> bool:
        return self.conn.their_state in (h11.SEND_BODY, h11.ERROR)

    def _watch_rest(self) -> None:
        answered = self.cycle is not None and self.cycle.response_complete
        self.transport.rest.run_while(self.transport.lingering or (answered and self.conn.their_state is h11.SEND_BODY))
