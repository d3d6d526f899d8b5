"""ASGI middleware: counts and times each response, and adds headers that name the served model."""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from export.service.metrics import Metrics


class Front:
    """The application with metrics and headers."""

    def __init__(self, application: ASGIApp, *, metrics: Metrics, headers: Callable[[], dict[str, str]]) -> None:
        """headers: defaults for each response."""
        self.application, self.metrics, self.headers = application, metrics, headers
        self.leaving = False  # whether each response says that its connection closes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in self.headers().items():
                    headers.setdefault(name, value)
                if self.leaving:
                    headers["connection"] = "close"
            await send(message)

        try:
            await self.application(scope, receive, sending)
        finally:
            endpoint = getattr(scope.get("endpoint"), "__name__", "none")  # not the path: a label for each path would be too many
            self.metrics.requests.labels(endpoint, str(status)).inc()
            self.metrics.seconds.labels(endpoint).observe(time.monotonic() - began)
